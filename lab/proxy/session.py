"""A client's WebSocket as ASGI sees it: the handshake, then messages, on top of `Endpoint`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from lab.model import Response, problem
from lab.policies.request_id import shown
from lab.proxy.endpoint import Closed, Endpoint, library_headers
from lab.proxy.endpoint import logger as quiet
from lab.proxy.headers import date

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

logger = logging.getLogger("gateway")


class WebSocketSession:
    """What an upgrade request becomes: one task of the application, and one `Endpoint` for the client.

    uvicorn's `websockets` protocol does not fit here: on a stop it closes without waiting for the client's
    part of the closing handshake, a pong that waits behind unread messages costs a healthy client its
    connection, and each connection carries a compressor.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        transport: asyncio.Transport,
        server_state: Any,
        max_message: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._app = app
        self._scope = scope
        self._transport = transport
        self._server_state = server_state
        self._loop = loop
        # A handshake request that llhttp has parsed needs no second parser: frames from the first byte on.
        self._frames = ServerProtocol(state=State.OPEN, max_size=max_message, logger=quiet)
        self._endpoint = Endpoint(self._frames, loop)
        self._endpoint.on_lost = self._lost
        self._task: asyncio.Task[None] | None = None
        self._connect_told = False
        self._accepted = False
        self._refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._refusal_body = b""
        self._answered = False
        self._shutting = False

    def refusal(self) -> Response | None:
        """The answer to a handshake that is none (RFC 6455 §4.2.1); asked for once, before `start`."""
        scope, headers = self._scope, library_headers(self._scope["headers"])
        self._handshake = self._frames.accept(Request(scope["path"], headers))
        if self._handshake.status_code == 101:
            return None
        why = str(self._frames.handshake_exc)
        if headers.get_all("Sec-WebSocket-Version") == ["13"] and self._handshake.status_code != 426:
            return problem(400, "bad-handshake", why)
        # RFC 6455 §4.4: the versions that are spoken here; RFC 9110 §15.5.22: the protocol.
        wanted = [(b"sec-websocket-version", b"13"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        return problem(426, "bad-handshake", why, headers=wanted)

    def start(self, rest: bytes) -> None:
        """Take the connection over; `rest` came behind the handshake request."""
        self._server_state.connections.add(self)
        self._endpoint.attach(self._transport)
        if rest:
            self._endpoint.data_received(rest)
        scope = self._scope
        scope["subprotocols"] = [
            token.strip()
            for name, value in scope["headers"]
            if name == b"sec-websocket-protocol"
            for token in value.decode("latin-1").split(",")
            if token.strip()
        ]
        self._task = self._loop.create_task(self._run())
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._server_state.tasks.discard)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            if not self._endpoint.lost:  # the drain time is over
                self._endpoint.abort()
            return
        except Closed:
            pass
        except BaseException as error:
            logger.error("an exception came out of the application", exc_info=error)
            if self._accepted:
                self._endpoint.begin_close(1011)
        if self._accepted:
            self._endpoint.begin_close(1000)
        elif not self._answered and not self._endpoint.lost:
            response = problem(500, "internal-error", "the gateway failed at this request")
            self._answer(500, response.headers, response.content)

    def _lost(self) -> None:
        self._server_state.connections.discard(self)
        if self._task is not None and not self._accepted and not self._answered:
            self._task.cancel()  # nobody waits for the handshake any more

    def shutdown(self) -> None:
        """uvicorn stops: tell the client to come back (1012), and the application that its client leaves."""
        self._shutting = True
        if self._accepted:
            self._endpoint.begin_close(1012, "the gateway stops", told=Closed(1001, "the gateway stops"))

    # -- ASGI ------------------------------------------------------------------------------------------------

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        try:
            message = await self._endpoint.receive()
        except Closed as closed:
            return {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def _send(self, message: Message) -> None:
        """Raises `Closed` (an OSError) where the client is gone, RuntimeError for messages out of order."""
        kind = message["type"]
        if self._accepted:
            if kind == "websocket.send":
                text = message.get("text")
                await self._endpoint.send(message["bytes"] if text is None else text)
            elif kind == "websocket.close":
                self._endpoint.begin_close(message.get("code", 1000), message.get("reason") or "")
            else:
                raise RuntimeError(f"{kind} does not belong here")
        elif self._endpoint.lost:
            raise Closed(1006)
        elif self._refusal is not None:
            if kind != "websocket.http.response.body" or self._answered:
                raise RuntimeError(f"{kind} does not belong here")
            self._refusal_body += message.get("body", b"")
            if not message.get("more_body", False):
                self._answer(*self._refusal, self._refusal_body)
        elif self._answered:
            raise RuntimeError(f"{kind} does not belong here")
        elif kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.http.response.start":
            self._refusal = (message["status"], list(message.get("headers", ())))
        elif kind == "websocket.close":
            response = problem(403, "forbidden", "this WebSocket is not accepted")
            self._answer(403, response.headers, response.content)
        else:
            raise RuntimeError(f"{kind} does not belong here")

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        fields = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
        fields.append((b"sec-websocket-accept", self._handshake.headers["Sec-WebSocket-Accept"].encode()))
        if subprotocol:
            fields.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        fields += [field for field in headers if field[0].lower() not in _OURS]
        self._name(fields)
        self._transport.write(_head(101, fields))
        self._accepted = True
        self._endpoint.start()
        if self._shutting:
            self.shutdown()

    def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """A response instead of the upgrade; the connection ends with it."""
        self._answered = True
        fields = [field for field in headers if field[0].lower() not in _OURS]
        if status in (204, 304):
            body = b""  # and no length of it: RFC 9110 §8.6
        else:
            fields.append((b"content-length", b"%d" % len(body)))
        if not any(field[0].lower() == b"date" for field in fields):
            fields.append((b"date", date()))
        self._name(fields)
        fields.append((b"connection", b"close"))
        self._transport.write(_head(status, fields) + body)
        self._transport.close()

    def _name(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Give an answer that was made without an exchange its request id."""
        if not any(field[0].lower() == b"x-request-id" for field in fields):
            request_id = shown(self._scope["headers"]) or secrets.token_hex(16)
            fields.append((b"x-request-id", request_id.encode("ascii")))


_OURS = frozenset(
    {
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    }
)


def _head(status: int, fields: list[tuple[bytes, bytes]]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode("ascii"), *(b"%b: %b" % field for field in fields)]
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise RuntimeError("a header field holds a line break or a NUL")
    return b"\r\n".join(lines) + b"\r\n\r\n"
