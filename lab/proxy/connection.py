"""One HTTP/1.1 connection to a service: a request goes out, a response comes in, one after the other.

    idle ──exchange──▶ waiting for the head ──▶ receiving the body ──▶ idle, or closed

httptools (llhttp, the parser of Node.js) reads; what is written here by hand is the request, the time limits,
the backpressure in both directions, and the question that decides everything else: is the connection fit for
another request? RFC 9112 is the standard for all of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import NamedTuple, Protocol, cast

import httptools
import httpx

from lab.model import Headers
from lab.proxy.headers import Plain

MAX_HEAD = 65_536
"""Bytes of a response's head, 1xx responses before it included; also of a trailer section."""
MAX_FIELDS = 256
"""Header fields in a response."""
HIGH_WATER = 65_536
"""Bytes of an unread body at which the connection stops reading. One read (up to 256 KiB) may lie above."""


class Timeouts(NamedTuple):
    """Time limits of one request, in seconds; None is for ever."""

    connect: float | None = 2.0
    """To open a connection, the TLS handshake included."""
    head: float | None = 10.0
    """To the end of the response head. Waiting for a connection counts, streaming a request body does not."""
    read: float | None = 60.0
    """Silence between two pieces of the response body, counted while somebody waits for one."""
    write: float | None = 60.0
    """That the service takes nothing of the request body that is ready to go."""
    pool: float | None = 10.0
    """To wait for a free connection."""

    def after(self, seconds: float) -> Timeouts:
        """What is left when the request has waited so long for a connection."""
        return self._replace(
            head=None if self.head is None else max(0.0, self.head - seconds),
            pool=None if self.pool is None else max(0.0, self.pool - seconds),
        )


class NoAnswer(httpx.RemoteProtocolError):
    """The service closed the connection in good order before its response's head was here.

    That is a breach of the protocol to httpx; a client is told that the connection ended (RFC 9209 §2.3).
    """


class Owner(Protocol):
    """Where the connection reports: its pool."""

    def release(self, connection: Connection, *, reusable: bool) -> None: ...
    def forget(self, connection: Connection) -> None: ...


# -- the request ---------------------------------------------------------------------------------------------

# Everything that leaves is held against this, or looked through for what ends a line, so that no byte from a
# client, such as a CR or LF that was percent-decoded on the way, can start a second field or request.
_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\x00-\x20\x7f]+ HTTP/1\.1")
_PLAIN = Plain(frozenset((b"host", b"content-length", b"transfer-encoding")))


class Request(NamedTuple):
    """A request as a connection sends it: what `httpx.Request` says, at a fifth of its cost."""

    method: str
    target: bytes
    """The request target, as it goes out."""
    headers: Headers
    content: bytes = b""
    stream: AsyncIterable[bytes] | None = None
    """The body where it is not `content`."""
    replay: Callable[[], AsyncIterator[bytes]] | None = None
    """Gives the body anew; None where that cannot be done."""
    switch: Callable[[Headers, asyncio.Transport, bytes], None] | None = None
    """Takes the connection over after a 101, with what came behind its head; raises `ValueError` where that
    101 is no answer to this request. None: no other protocol was asked for."""
    host: bytes = b""
    """For the Host field, where `headers` has none."""
    origin: httpx.Request | None = None
    """What it was made of, which errors name as their request."""


class Answer(NamedTuple):
    """A response whose head is here."""

    status: int
    headers: Headers
    """Names in lower case."""
    stream: BodyStream
    version: str
    reason: bytes


class Outgoing(NamedTuple):
    """A request, ready to be written."""

    head: bytes
    content: bytes
    """The body where all of it is known, framed."""
    stream: AsyncIterable[bytes] | None
    """The body where it is still to come."""
    length: int | None
    """What Content-Length promises for `stream`; None is a chunked body."""


def outgoing(request: Request, body: AsyncIterator[bytes] | None = None) -> Outgoing:
    """The bytes of `request`.

    Header fields go out as they are, in their order; only what HTTP/1.1 cannot do without is added: Host,
    and the framing of a body that has none. `body` replaces the request's stream. Raises
    `httpx.LocalProtocolError` for what must not be sent.
    """
    hosts = 0
    length: int | None = None
    chunked = False
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("latin-1", "replace"), request.target)]
    wrong = _LINE.fullmatch(lines[0]) is None
    for field in request.headers:
        lines.append(b": ".join(field))
        if field[0] in _PLAIN:
            continue
        name, value = field
        try:
            special = _PLAIN.check(name)
        except ValueError:
            wrong = True
            continue
        if special == b"host":
            hosts += 1
        elif special == b"content-length":
            if length is not None or not value.isdigit():
                raise httpx.LocalProtocolError(
                    "Content-Length is repeated or no number", request=request.origin
                )
            length = int(value)
        elif special is not None:
            if chunked or value.strip().lower() != b"chunked":
                raise httpx.LocalProtocolError("Transfer-Encoding other than chunked", request=request.origin)
            chunked = True
    if chunked and length is not None:
        raise httpx.LocalProtocolError(
            "Content-Length and Transfer-Encoding together", request=request.origin
        )
    if hosts != 1:
        if hosts > 1:
            raise httpx.LocalProtocolError("more than one Host", request=request.origin)
        lines.insert(1, b"Host: " + request.host)

    content, stream = request.content, request.stream if body is None else body

    if stream is not None:
        if length is None and not chunked:
            lines.append(b"Transfer-Encoding: chunked")
    elif chunked:
        content = (_chunk(content) if content else b"") + b"0\r\n\r\n"
    elif length is None:
        if content:
            lines.append(b"Content-Length: %d" % len(content))
    elif length != len(content):
        raise httpx.LocalProtocolError(
            "the body is not as long as Content-Length says", request=request.origin
        )

    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    if wrong or head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise httpx.LocalProtocolError(
            "a character in the request head that must not be sent", request=request.origin
        )
    return Outgoing(head, content, stream, length)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


# -- the response's body -------------------------------------------------------------------------------------


class BodyStream(httpx.AsyncByteStream):
    """A response body as it arrives: raw bytes, content codings untouched, chunked framing removed.

    Iterating raises `httpx.RemoteProtocolError` where the body ends too early, `httpx.ReadError` where the
    connection breaks, `httpx.ReadTimeout` where the service falls silent. Whoever does not read to the end
    calls `aclose`.
    """

    def __init__(self, connection: Connection, silence: float | None) -> None:
        self._connection: Connection | None = connection  # None once all of the body is here
        self._silence = silence
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._touched = False

    def take_all(self) -> bytes | None:
        """The whole body where it is already here and nobody has begun to read it; else None."""
        if self._connection is not None or self._error is not None or self._touched:
            return None
        self._touched = True
        return self._take()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._touched = True
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._connection is None:
                raise StopAsyncIteration
            await self._wait(self._connection)
        return self._take()

    def close(self) -> None:
        """Let go of the body; the connection is closed where some of it is still to come."""
        self._pieces.clear()
        if self._connection is not None:
            self._connection.break_off()

    async def aclose(self) -> None:
        self.close()

    # The connection's side.

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > HIGH_WATER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        self._connection = None
        self._error = error
        self._wake()

    def _take(self) -> bytes:
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._connection is not None:
            self._connection.resume()
        return piece

    async def _wait(self, connection: Connection) -> None:
        self._arrival = connection.loop.create_future()
        connection.watch(self._silence, httpx.ReadTimeout, "the service fell silent in the response body")
        try:
            await self._arrival
        except BaseException:
            self.close()
            raise
        finally:
            self._arrival = None

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


# -- the connection ------------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One connection; asyncio calls its methods as things happen on the socket, httptools the `on_…` ones.

    `exchange` may be called while the connection is idle. When an exchange is over, well or badly, the owner
    hears `release` exactly once; when the connection is lost while idle, it hears `forget`.
    """

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self.loop = asyncio.get_running_loop()
        self.stale = False
        """True where a reused connection was closed by the service before it said anything: the request and
        the end of the service's patience crossed on the wire (RFC 9112 §9.3.1)."""
        self._owner = owner
        self._open = False
        self._parser = httptools.HttpResponseParser(self)
        self._exchanges = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline: float | None = None
        self._late: tuple[type[httpx.TimeoutException], str] = (httpx.ReadTimeout, "")
        self._drained: asyncio.Future[None] | None = None  # there while the write buffer is full
        self._paused = False
        self._request: Request | None = None  # None: idle
        self._upload: asyncio.Task[None] | None = None
        self._begin(None, Timeouts())

    def _begin(self, request: Request | None, timeouts: Timeouts) -> None:
        self._request = request
        self._timeouts = timeouts
        self._head: asyncio.Future[Answer] = self.loop.create_future()
        self._reason = b""
        self._headers: Headers = []
        self._body: BodyStream | None = None  # None: the head is not here yet
        self._heard = False  # has the service said anything?
        self._quiet = 0  # bytes since the last that led to something
        self._complete = False
        self._keep_alive = False
        self._fault: str | None = None

    async def exchange(self, request: Request, out: Outgoing, timeouts: Timeouts) -> Answer:
        """Send the request and wait for the response's head; the body follows in `answer.stream`.

        A response may come before the request body is sent. An error (400 and above) stops the upload, since
        nobody wants the rest (RFC 9112 §9.5); otherwise both go on side by side. Raises httpx's exceptions,
        and whatever the request's stream raises. Cancellation closes the connection.
        """
        self._begin(request, timeouts)
        self._exchanges += 1
        head = self._head
        self.transport.write(out.head + out.content)
        if not self.usable:  # closed by the service before we could say a word
            self._lost(None)
        elif out.stream is None:
            self.watch(timeouts.head, httpx.ReadTimeout, "the service did not answer in time")
        else:
            self._upload = self.loop.create_task(self._send(out.stream, out.length))
        try:
            return await head
        except BaseException:
            if head.cancel() or head.cancelled():
                self.break_off()
            elif head.exception() is None:
                # Cancelled after the head came: the connection may already serve somebody else.
                head.result().stream.close()
            raise

    @property
    def usable(self) -> bool:
        """True from the moment it is open until either side closes it."""
        return self._open and not self.transport.is_closing()

    def break_off(self) -> None:
        """Nobody wants the rest of this exchange: close the connection now."""
        self._fail(httpx.ReadError("the exchange was broken off on this side"))

    def abort(self) -> None:
        """Close the connection at once; what is unsent stays unsent."""
        if self._open:
            self._open = False
            self.transport.abort()

    # -- sending -----------------------------------------------------------------------------------------

    async def _send(self, stream: AsyncIterable[bytes], length: int | None) -> None:
        sent = 0
        try:
            async for piece in stream:
                sent += len(piece)
                if length is None:
                    if piece:  # an empty chunk would be the last one
                        self.transport.write(_chunk(piece))
                elif sent <= length:
                    self.transport.write(piece)
                else:
                    raise httpx.LocalProtocolError("the request body is longer than Content-Length says")
                if self._drained is not None:
                    if self._body is None:
                        late = "the service does not take the request body"
                        self.watch(self._timeouts.write, httpx.WriteTimeout, late)
                    await self._drained
                    if self._body is None:
                        self._deadline = None
            if length is None:
                self.transport.write(b"0\r\n\r\n")
            elif sent < length:
                raise httpx.LocalProtocolError("the request body is shorter than Content-Length says")
        except Exception as error:
            self._upload = None
            self._fail(error)
        else:
            self._upload = None
            if self._body is None:
                self.watch(self._timeouts.head, httpx.ReadTimeout, "the service did not answer in time")

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- receiving -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._request is None:  # nobody asked
            self._lost(None)
            return
        self._heard = True
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._fault is None:
                self._switch(data[upgrade.args[0] :])
                return
        except httptools.HttpParserError as error:
            self._fault = f"the service does not speak HTTP/1.1: {error}"
        if self._complete:
            self._finish()
        elif self._fault is not None:
            self._fail(httpx.RemoteProtocolError(self._fault))
        elif self._quiet > MAX_HEAD:
            self._fail(httpx.RemoteProtocolError("the service's response head or trailer is too large"))

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep_alive = False  # a second response to one request

    def on_status(self, reason: bytes) -> None:
        self._reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:  # else a trailer field, which stops here
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._body is not None or self._fault is not None:
            return
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        headers, reason = self._headers, self._reason
        if status == 101:
            assert self._request is not None
            if self._request.switch is None:
                self._fault = "the service switched protocols without being asked"
            return
        if 100 <= status < 200:
            self._headers, self._reason = [], b""
            return
        if not 200 <= status < 600:
            self._fault = f"the service sent the status {status}"
        elif version not in ("1.1", "1.0"):
            self._fault = f"the service answered in HTTP/{version}"
        elif len(headers) > MAX_FIELDS or (
            self._quiet > MAX_HEAD and sum(len(n) + len(v) + 4 for n, v in headers) > MAX_HEAD
        ):
            self._fault = "the service's response head is too large"
        for name, value in headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                # The field stops here, and with it the only word on how the bytes are coded.
                self._fault = "the service used a transfer coding that nobody asked for"
        if self._fault is not None:
            return
        assert self._request is not None
        self._quiet = 0
        self._deadline = None
        self._body = BodyStream(self, self._timeouts.read)
        if not self._head.done():
            self._head.set_result(Answer(status, headers, self._body, version, reason))
        if self._upload is not None and status >= 400:
            self._upload.cancel()
        if self._request.method == "HEAD":
            # The parser cannot know that no body follows; it is replaced before the next response.
            self._complete = True
            self._keep_alive = version == "1.1" and not _says_close(headers)

    def _switch(self, rest: bytes) -> None:
        """The service speaks another protocol from `rest` on: hand the connection over."""
        request = self._request
        assert request is not None
        assert request.switch is not None
        try:
            request.switch(self._headers, self.transport, rest)
        except ValueError as error:
            self._fail(httpx.RemoteProtocolError(str(error)))
            return
        self._request = None
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        nothing = BodyStream(self, None)
        nothing.end()
        self._head.set_result(Answer(101, self._headers, nothing, "1.1", self._reason))

    def on_body(self, piece: bytes) -> None:
        if self._complete:
            self._keep_alive = False  # a body after a response to HEAD
        elif self._body is not None:
            self._quiet = 0
            self._deadline = None
            self._body.feed(piece)

    def on_message_complete(self) -> None:
        if self._body is not None and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def pause(self) -> None:
        """Stop reading: the body is not being taken."""
        if not self._paused and self.usable:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self.usable:
                self.transport.resume_reading()

    # -- time ----------------------------------------------------------------------------------------------

    def watch(self, seconds: float | None, late: type[httpx.TimeoutException], text: str) -> None:
        """Fail the exchange with `late(text)` unless something happens within so many seconds.

        A request costs no timer of its own: one timer per connection looks at the deadline when it fires,
        and goes to sleep again where that has moved on.
        """
        if seconds is None:
            self._deadline = None
            return
        self._deadline = deadline = self.loop.time() + seconds
        self._late = late, text
        if self._timer is None or deadline < self._timer_at:
            self._set_timer(deadline)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() + 0.001 < self._deadline:  # event loops count in milliseconds
            self._set_timer(self._deadline)
        else:
            late, text = self._late
            self._fail(late(text))

    # -- the beginning and the end -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self._open = True

    def eof_received(self) -> None:
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lost(self, error: Exception | None) -> None:
        """The service closed the connection: with `error`, or in good order."""
        if self._request is None:
            self._owner.forget(self)
            self.abort()
        elif self._body is None:
            self.stale = self._exchanges > 1 and not self._heard
            text = "the service closed the connection without an answer"
            self._fail(NoAnswer(text) if error is None else httpx.ReadError(text), error)
        elif error is None and _until_close(self._headers):
            self._finish()
        else:
            text = "the service closed the connection in the middle of the body"
            self._fail(httpx.RemoteProtocolError(text) if error is None else httpx.ReadError(text), error)

    def _finish(self) -> None:
        """The response is complete: the connection is free, though the body may still wait to be read."""
        request, body = self._request, self._body
        assert request is not None
        assert body is not None
        self._request = None
        self._deadline = None
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
            self._keep_alive = False
        if self._fault is not None:  # bytes after the response
            self._keep_alive = False
        self.resume()
        if request.method == "HEAD":
            self._parser = httptools.HttpResponseParser(self)
        body.end()
        self._owner.release(self, reusable=self._keep_alive and self.usable)

    def _fail(self, error: Exception, cause: Exception | None = None) -> None:
        """The exchange is over without a complete response. Does nothing where it is over already."""
        request = self._request
        if request is None:
            return
        self._request = None
        self._deadline = None
        if isinstance(error, httpx.RequestError) and request.origin is not None:
            error.request = request.origin
        if cause is not None:
            error.__cause__ = cause
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
        if self._body is not None:
            self._body.end(error)
        elif not self._head.done():
            self._head.set_exception(error)
        self._owner.release(self, reusable=False)


def _says_close(headers: Headers) -> bool:
    return any(name == b"connection" and b"close" in value.lower() for name, value in headers)


def _until_close(headers: Headers) -> bool:
    """True where nothing but the end of the connection ends the body (RFC 9112 §6.3)."""
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return not codings[-1].lower().rstrip().endswith(b"chunked")
    return all(name != b"content-length" for name, _ in headers)
