"""Light, exact traffic for scenarios: requests at known moments, each with its outcome.

    client = Client("http://127.0.0.1:8000", timeout=5.0)
    outcomes = await asyncio.gather(*(client.send(Request("/service-a/items/1")) for _ in range(50)))

HTTP/1.1 over plain sockets in the asyncio loop of the caller; a few thousand requests a second at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import httptools

Failure = Literal["refused", "reset", "truncated", "timeout", "garbage"]

MAX_KEPT = 65_536
"""Bytes of an answer's body that an outcome keeps."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tag: str = ""
    """For the caller to tell one sort of request from another."""


@dataclass(slots=True)
class Outcome:
    """What became of a request."""

    request: Request
    status: int | None = None
    """None where no whole answer came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case; of repeated fields the last."""
    body: bytes = b""
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether a 2xx or 3xx came whole."""
        return self.status is not None and self.status < 400


class Client:
    """Sends requests to one server over as many kept-alive connections as there are requests at a time.

    `source` is the address of this machine from which it connects, None the usual one.
    """

    def __init__(self, url: str, timeout: float, source: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"http://HOST:PORT was expected, got {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._name = parts.netloc
        self._timeout = timeout
        self._local = None if source is None else (source, 0)
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def send(self, request: Request) -> Outcome:
        """Send a request now; the outcome also where it failed. Raises nothing but cancellation."""
        outcome = Outcome(request)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._timeout):
                connection, reused = await self._connection()
                await connection.ask(self._bytes(request), request.method == "HEAD")
                if connection.stale and reused:  # the server closed it while it lay idle (RFC 9112 §9.3.1)
                    self._give_back(connection)
                    connection, _ = await self._connection(fresh=True)
                    await connection.ask(self._bytes(request), request.method == "HEAD")
                outcome.failure = connection.failure
                outcome.headers, outcome.body = connection.headers, bytes(connection.body)
                outcome.status = connection.status if connection.failure is None else None
        except TimeoutError:
            outcome.failure = "timeout"
        except OSError:
            outcome.failure = "refused"
        finally:
            if connection is not None:
                self._give_back(connection)
        return outcome

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.transport.abort()
        self._open.clear()
        self._idle.clear()

    async def _connection(self, fresh: bool = False) -> tuple[Connection, bool]:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection, True
        _, connection = await self._loop.create_connection(
            Connection, self._host, self._port, local_addr=self._local
        )
        self._open.add(connection)
        return connection, False

    def _give_back(self, connection: Connection) -> None:
        if connection.done and connection.keep and not connection.transport.is_closing():
            self._idle.append(connection)
        else:
            connection.transport.abort()
            self._open.discard(connection)

    def _bytes(self, request: Request) -> bytes:
        lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body:
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._answered: asyncio.Future[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False
        self._bytes_seen = False
        self._in_body = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.failure: Failure | None = None
        self.done = False
        self.keep = False
        self.stale = False
        """It was closed, orderly, before a byte of an answer came."""

    async def ask(self, data: bytes, head_only: bool) -> None:
        """Send a request and wait until there is an answer or a failure."""
        self._reset()
        self._head_only = head_only
        self._answered = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self.stale, self.failure = True, "reset"
            return
        self.transport.write(data)
        try:
            await self._answered
        finally:
            self._answered = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self.transport.abort()  # nobody asked
            return
        self._bytes_seen = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.done:
                self._finish("garbage")

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is None or self.done:
            return
        until_close = not {"content-length", "transfer-encoding"} & self.headers.keys()
        if self._in_body and until_close and error is None:
            self._finish(None)  # a body that ends with the connection (RFC 9112 §6.3)
        elif self._in_body:
            self._finish("truncated")
        else:
            self.stale = error is None and not self._bytes_seen
            self._finish("reset")

    # -- httptools -------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self.keep = self._parser.should_keep_alive()
        self._in_body = True
        if self._head_only:  # the parser does not know and would wait for a body
            self.keep = self.keep and self.headers.get("content-length", "0") == "0"
            self._finish(None)

    def on_body(self, data: bytes) -> None:
        self.body += data[: MAX_KEPT - len(self.body)]

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self._finish(None)
        else:
            self.headers = {}

    def _finish(self, failure: Failure | None) -> None:
        self.failure = failure
        self.done = True
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
