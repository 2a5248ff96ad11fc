"""One HTTP request and its response, as ASGI: the `receive` and `send` that the application gets."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lab.model import problem
from lab.policies.request_id import shown
from lab.proxy.headers import Plain, date

if TYPE_CHECKING:
    from lab.proxy.server import GatewayProtocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

logger = logging.getLogger("gateway")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode("ascii")


STATUS_LINE = {status: _status_line(status) for status in range(100, 600)}

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGone(OSError):
    """Written to a client that is no longer there."""


CYCLE = "lab.cycle"
"""The name under which a scope's extensions hold its cycle. An application that finds it may `answer` in one
call, and need not watch for the client's going: the task that runs it is cancelled then."""


class Cycle:
    """One request and its response: the `receive` and `send` that the application gets."""

    __slots__ = (
        "_chunked",
        "_delivered",
        "_expects",
        "_head",
        "_parts",
        "_remaining",
        "_size",
        "_task",
        "_waiter",
        "bodiless",
        "complete",
        "gone",
        "keep_alive",
        "protocol",
        "scope",
        "started",
        "version",
        "whole",
    )

    def __init__(
        self, protocol: GatewayProtocol, scope: Scope, version: str, keep_alive: bool, expects: bool
    ) -> None:
        self.protocol = protocol
        self.scope = scope
        self.version = version
        self.keep_alive = keep_alive and not protocol.draining
        self.whole = False
        """The request has been read to its end."""
        self.started = False
        """The response's head has been handed over."""
        self.complete = False
        self.gone = False
        self.bodiless = False
        self._expects = expects
        self._delivered = False
        """The application has been told of the end of the body."""
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        """A head that waits to go out together with the first of the body."""
        self._chunked = False
        self._remaining: int | None = None

    def start(self) -> None:
        protocol = self.protocol
        self._task = task = protocol.loop.create_task(self._run())
        protocol.server_state.tasks.add(task)

    async def _run(self) -> None:
        protocol = self.protocol
        try:
            await protocol.front.app(self.scope, self.receive, self.send)
        except BaseException as error:  # whatever it is, this client must get an answer or an end
            if not self.gone and not isinstance(error, asyncio.CancelledError):
                logger.error("an exception came out of the application", exc_info=error)
        finally:
            # It leads back here, and a ring is work for the garbage collector.
            self.scope["extensions"].clear()
            if self._task is not None:
                protocol.server_state.tasks.discard(self._task)
        if self.gone or self.complete:
            return
        if self.started or (self._task is not None and self._task.cancelling()):
            # Half a response, or none in the drain time: cut, never completed.
            until_close = self._remaining is None and not self._chunked
            self.flush()  # a head that came together with the break is shown all the same
            protocol.cut(reset=self.started and until_close and not self.bodiless)
        else:
            response = problem(500, "internal-error", "the gateway failed at this request")
            self.keep_alive = False
            named = (shown(self.scope["headers"]) or secrets.token_hex(16)).encode()
            self._start(500, [*response.headers, (b"x-request-id", named), (b"date", date())])
            self._body(response.content, False)

    # -- the request's body ----------------------------------------------------------------------------------

    def take(self, body: bytes) -> int:
        """Keep a piece of the body for the application; gives the bytes that it has not read yet."""
        if self.complete or self.gone:
            return 0
        self._parts.append(body)
        self._size += len(body)
        self._wake()
        return self._size

    def end_body(self) -> None:
        self.whole = True
        self._wake()

    def client_gone(self) -> None:
        self.gone = True
        self._head = None
        if self._task is not None and not self._task.done() and not self.complete:
            # A task that never ran does not get to its `finally`.
            self._task.add_done_callback(self.protocol.server_state.tasks.discard)
            self._task.cancel()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> Message:
        protocol = self.protocol
        while not (self._parts or self.gone or self.complete or (self.whole and not self._delivered)):
            if self._expects and not self.whole:
                self._expects = False
                protocol.transport.write(_CONTINUE)
            protocol.resume_reading()
            self._waiter = protocol.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        parts, self._parts, self._size = self._parts, [], 0
        self._delivered = self.whole
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    # -- the response ----------------------------------------------------------------------------------------

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response at once: what two calls of `send` would do, for less. Raises the same."""
        if self.gone:
            raise ClientGone("the client went away")
        self._head = self._make_head(status, headers)
        self._body(body, False)

    async def send(self, message: Message) -> None:
        """Raises `ClientGone` where nobody is left to hear, RuntimeError or ValueError for no HTTP."""
        if self.gone:
            raise ClientGone("the client went away")
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"{kind} does not belong here")
        writable = self.protocol.writable
        if writable is not None and not self.complete:
            await writable.wait()
            if self.gone:
                raise ClientGone("the client went away")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._head = self._make_head(status, headers)
        # Head and first piece go out in one write if they come together; a head alone goes a turn later.
        self.protocol.front.flush_later(self)

    def _make_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head; from here on it is settled how the body ends, and whether the connection lives on."""
        if not 200 <= status <= 599:
            raise RuntimeError(f"{status} is not the status of an answer")
        lines = [STATUS_LINE[status]]
        length: bytes | None = None
        for field in headers:
            if field[0] in _PLAIN:
                lines.append(b": ".join(field))
                continue
            name, value = field
            special = _PLAIN.check(name)
            if special is None:
                lines.append(b": ".join(field))
            elif special == b"content-length":
                length = value
            elif special == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        self.bodiless = status == 204 or status == 304 or self.scope["method"] == "HEAD"
        if length is not None and status != 204:
            self._remaining = 0 if self.bodiless else int(length)
            lines.append(b"content-length: " + length)
        elif not self.bodiless:
            if self.version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
            else:
                self.keep_alive = False  # HTTP/1.0 knows no chunks: the body ends with the connection
        if not self.whole:
            # The rest of the request may be long, or (with Expect) may never come: what follows is unclear.
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header field holds a line break or a NUL")
        self.started = True
        return head

    def flush(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self.protocol.transport.write(head)

    def _body(self, body: bytes, more: bool) -> None:
        if self.bodiless:
            body = b""
        elif self._chunked:
            if body:
                body = (
                    b"%x\r\n%b\r\n" % (len(body), body)
                    if more
                    else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                )
            elif not more:
                body = b"0\r\n\r\n"
        elif self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError("the body is not as long as Content-Length says")
        head, self._head = self._head, None
        if head is not None:
            body = head + body
        if body:
            self.protocol.transport.write(body)
        if not more:
            self.complete = True
            self._wake()
            self.protocol.answered(self)


_PLAIN = Plain(frozenset({b"content-length", b"transfer-encoding", b"connection"}))
"""The exceptions say where a message ends; the server writes them itself, so that they never disagree."""
