"""The client's side of the wire: HTTP/1.1 as strict as a gateway must be, under plain `uvicorn gateway:app`.

uvicorn keeps what it is good at (sockets, signals, reload, lifespan); how bytes become requests is ours.
`install` puts `GatewayProtocol` in uvicorn's configuration at lifespan start, before the listeners exist.

A connection is in one of five states, and each has its time limit:

    IDLE ──first byte──▶ HEAD ──head complete──▶ BODY ──body complete──▶ ANSWER ──response complete──▶ IDLE
      └──────────────── any of them ──refused, or nothing may follow──▶ LINGER ──▶ closed
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from enum import IntEnum
from functools import partial
from typing import Any, NoReturn, cast
from urllib.parse import unquote

import httptools

from lab.model import Headers, Response, problem
from lab.proxy.cycle import CYCLE, STATUS_LINE, Cycle
from lab.proxy.headers import date
from lab.proxy.session import WebSocketSession
from lab.settings import LimitsSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Refusals = Callable[[str, str, Response], None]
"""Hears of an answer that is no application's: the client's address, the request id, the answer."""

logger = logging.getLogger("gateway")

_ABSOLUTE = re.compile(rb"https?://[^/?#@]+(/[^?#]*)?(?:\?([^#]*))?", re.IGNORECASE)
_NOT_HTTP = frozenset(
    b"SOURCE DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN "
    b"GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH".split()
)
"""Methods of RTSP and ICE, which the parser knows as well."""

_HIGH_WATER = 65_536
"""Bytes of a request's body that are held for an application that is not reading."""

_READ_AHEAD = 8
"""Pipelined requests that are read before the one in front is answered. Reading goes on for a while, since
only who reads notices that the client has gone."""


class State(IntEnum):
    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWER = 3
    LINGER = 4


class Refused(Exception):
    """The request is turned away before there is an exchange; raised inside the parser's callbacks."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


KEEP_ALIVE = 75.0
"""Seconds that an idle connection is kept: nginx's value, in place of uvicorn's default of 5."""


def install(
    receive: Any, app: ASGIApp, limits: LimitsSettings, refused: Refusals = lambda *_: None
) -> Front | None:
    """Make the uvicorn that is just starting speak through `GatewayProtocol`; `app` is what it calls.

    `refused` hears of those who were turned away before there was a request for the application.

    `receive` is the lifespan's: under uvicorn it belongs to an object that holds the configuration, and the
    listeners are made after the lifespan's start. uvicorn's access log, its Server and Date fields and its
    ProxyHeadersMiddleware are out of the way with that. Under another server nothing changes, and the answer
    is None.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not hasattr(config, "http_protocol_class"):
        logger.warning(
            "not started by uvicorn: max_connections, drain, the limits on heads and on slow clients, "
            "and the strict parser are missing"
        )
        return None
    raise_file_limit(limits.max_connections)
    config = cast("Any", config)
    config.loaded_app = app
    # A value other than uvicorn's default is the wish of whoever started it.
    keep_alive = KEEP_ALIVE if config.timeout_keep_alive == 5 else config.timeout_keep_alive
    front = Front(app, limits, keep_alive, refused)
    config.http_protocol_class = partial(GatewayProtocol, front=front)
    config.timeout_graceful_shutdown = limits.drain
    return front


def raise_file_limit(connections: int) -> None:
    """Let this process hold `connections` from clients and as many to services, as far as the system allows.

    Many systems start a process with 256 or 1024 open files. Windows has no such limit on sockets.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            logger.warning("only %d files may be open: too few for limits.max_connections", soft)


class Front:
    """What all connections of a server share: the application, the limits, the clock that enforces them.

    One timer looks at every connection's deadline once per `Front.sweep` seconds. A timer per request would
    cost each request more than the whole sweep of two thousand connections costs a second.
    """

    sweep = 0.5

    def __init__(
        self, app: ASGIApp, limits: LimitsSettings, keep_alive: float, refused: Refusals = lambda *_: None
    ) -> None:
        self.app = app
        self.refused = refused
        self.limits = limits
        self.keep_alive = keep_alive
        self.connections: set[GatewayProtocol] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._heads: list[Cycle] = []

    def flush_later(self, cycle: Cycle) -> None:
        """Send the cycle's head a turn of the loop later, unless the body has taken it along by then.

        One callback serves all that come in a turn.
        """
        if not self._heads:
            cycle.protocol.loop.call_soon(self._flush)
        self._heads.append(cycle)

    def _flush(self) -> None:
        heads, self._heads = self._heads, []
        for cycle in heads:
            cycle.flush()

    def add(self, connection: GatewayProtocol) -> None:
        self.connections.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.sweep, self._look, connection.loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.out_of_time(now)
        self._timer = loop.call_later(self.sweep, self._look, loop) if self.connections else None


class GatewayProtocol(asyncio.Protocol):
    """One client's connection: bytes in, requests out, one after the other.

    llhttp parses and refuses most of what is malformed (RFC 9112 §§2–7). What it lets pass and a gateway must
    not is refused here: a target with a fragment, HTTP/0.9 and 2.0, chunked framing from HTTP/1.0, methods of
    other protocols, a body on a WebSocket handshake. Host and the framing fields are checked by the edge.

    A client that closes its side is taken to have gone: a FIN does not say whether anyone still reads, and
    waiting for more would keep the service busy for nobody. Its request is cancelled at once.
    """

    max_head = 65_536
    """Bytes of a request head (or of trailers): 431."""
    max_fields = 128
    """Header fields: 431."""
    max_target = 16_384
    """Bytes of a request target: 414."""
    head_timeout = 10.0
    """Seconds from a head's first byte (or the connection's start) to its end: 408."""
    body_timeout = 30.0
    """Seconds without a byte of a body that is being waited for: 408."""
    write_timeout = 60.0
    """Seconds in which a client takes nothing of a response that is waiting for it: cut."""
    linger_timeout = 2.0
    """Seconds that a refused client gets to read its answer before the connection goes."""

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        front: Front,
    ) -> None:
        self.front = front
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser: Any = httptools.HttpRequestParser(self)
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme = "http"

        self.state = State.IDLE
        self.deadline = math.inf
        self.last = False
        """True when no further request may follow on this connection."""
        self.draining = False
        self.lost = False
        self.cycle: Cycle | None = None
        """The request that the parser is in, or the latest one."""
        self.pipeline: deque[Cycle] = deque()
        """Requests that came before the answer to an earlier one was out; the front one is being answered."""
        self.refusal: Refused | None = None

        self.url = b""
        self.headers: Headers = []
        self.upgrade: str | None = None
        self.read = 0
        """Bytes of the read that is being parsed."""
        self.unbroken = 0
        """Bytes of further reads that neither ended the head nor brought any body."""

        self.read_paused = False
        self.writable: asyncio.Event | None = None
        """Set when the transport takes more; None while it does."""
        self.write_left = 0

    # -- asyncio ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server = _address(transport.get_extra_info("sockname"))
        self.client = cast("tuple[str, int] | None", _address(transport.get_extra_info("peername")))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.front.add(self)
        if len(self.server_state.connections) >= self.front.limits.max_connections:
            self._answer_and_go(
                problem(503, "too-many-connections", "this gateway has no connection left", retry_after=1)
            )
            return
        self.server_state.connections.add(self)
        self.deadline = self.loop.time() + self.head_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.deadline = math.inf
        self.front.connections.discard(self)
        self.server_state.connections.discard(self)
        self.resume_writing()
        for cycle in self.pipeline:
            cycle.client_gone()
        self.pipeline.clear()
        self.parser = None

    def eof_received(self) -> None:
        """Returning None makes the transport close: see the class on why half-closed clients are gone."""

    def pause_writing(self) -> None:
        if self.writable is None:
            self.writable = asyncio.Event()
            self.write_left = self.transport.get_write_buffer_size()
            self.deadline = self.loop.time() + self.write_timeout

    def resume_writing(self) -> None:
        if self.writable is not None:
            self.writable.set()
            self.writable = None
            self._wait_for_client()

    def data_received(self, data: bytes) -> None:
        if self.last and self.state != State.BODY and self.state != State.HEAD:
            return  # bytes after the last request, or from a client that was refused
        in_head = self.state == State.HEAD
        self.read = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if self.last and self.state == State.ANSWER:
                return  # "data after Connection: close": nobody will answer it
            self._refuse(self.refusal or Refused(400, str(error) or "this is not HTTP"))
            return
        if self.state == State.HEAD:
            if in_head:
                self.unbroken += self.read
                if self.unbroken > self.max_head:
                    self._refuse(Refused(431, f"the head is larger than {self.max_head} bytes"))
            else:
                self.unbroken = 0
                if self.cycle is not None:
                    self.deadline = self.loop.time() + self.head_timeout
        elif self.state == State.BODY:
            self.unbroken += self.read
            if self.unbroken > self.max_head:
                self._refuse(Refused(431, f"trailers are larger than {self.max_head} bytes"))
            self._wait_for_client()

    # -- the parser's callbacks ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.last:
            raise Refused(400, "a request after the last one")
        self.state = State.HEAD
        self.url = b""
        self.headers = []
        self.upgrade = None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.max_target:
            self._stop(414, f"the target is longer than {self.max_target} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state != State.HEAD:
            return  # a trailer; nothing here waits for one, and it must not pass as a field of the head
        headers = self.headers
        headers.append((name.lower(), value.rstrip(b" \t")))
        if len(headers) > self.max_fields:
            self._stop(431, f"more than {self.max_fields} header fields")

    def on_headers_complete(self) -> None:
        parser = self.parser
        headers = self.headers
        if self.unbroken or self.read > self.max_head:
            if len(self.url) + sum(len(n) + len(v) + 4 for n, v in headers) > self.max_head:
                self._stop(431, f"the head is larger than {self.max_head} bytes")
            self.unbroken = 0
        method: bytes = parser.get_method()
        version: str = parser.get_http_version()
        keep_alive: bool = parser.should_keep_alive()
        expects = False
        upgrade: bytes | None = None
        for name, value in headers:
            if name == b"upgrade":
                upgrade = value
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
        if version != "1.1":
            if version != "1.0":
                self._stop(400, f"HTTP/{version} is not spoken here")
            if any(name == b"transfer-encoding" for name, _ in headers):
                self._stop(400, "HTTP/1.0 has no transfer codings")
            keep_alive = expects = False
        if method in _NOT_HTTP or method == b"CONNECT":
            self._stop(400, f"{method.decode()} is not for this gateway")
        if upgrade is not None and parser.should_upgrade():
            self._check_upgrade(method, version, upgrade)
            return
        scope = self._scope(method, version)
        cycle = Cycle(self, scope, version, keep_alive, expects)
        scope["extensions"][CYCLE] = cycle
        self.cycle = cycle
        self.state = State.BODY
        self.last = not keep_alive
        self.pipeline.append(cycle)
        if len(self.pipeline) == 1:
            cycle.start()
        elif len(self.pipeline) > _READ_AHEAD:
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        self.unbroken = -self.read
        cycle = self.cycle
        if cycle is not None and cycle.take(body) > _HIGH_WATER:
            self.pause_reading()

    def on_message_complete(self) -> None:
        if self.upgrade is not None:
            return
        self.state = State.ANSWER
        self.deadline = math.inf
        self.unbroken = 0
        assert self.cycle is not None
        self.cycle.end_body()

    # -- requests --------------------------------------------------------------------------------------------

    def _scope(self, method: bytes, version: str) -> Scope:
        url = self.url
        if url.startswith(b"/"):
            raw_path, _, query = url.partition(b"?")
            if b"#" in url:
                self._stop(400, "a target has no fragment")
        elif match := _ABSOLUTE.fullmatch(url):
            # The absolute form names a host of its own; which service is meant is in the path alone.
            raw_path, query = match[1] or b"/", match[2] or b""
        elif url == b"*" and method == b"OPTIONS":
            raw_path, query = url, b""
        else:
            self._stop(400, "the target is no path")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method.decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {},
        }

    def _next(self) -> None:
        """The front request is read and answered: what now?"""
        if self.pipeline:
            self.pipeline[0].start()
        elif self.refusal is not None:
            self._refuse(self.refusal)
        else:
            if self.state == State.ANSWER:
                self.state = State.IDLE
                self.deadline = self.loop.time() + self.front.keep_alive
            if self.read_paused:
                self.resume_reading()

    def answered(self, cycle: Cycle) -> None:
        """`cycle`'s response is out."""
        self.server_state.total_requests += 1
        if self.lost:
            return
        self.pipeline.popleft()
        if not cycle.keep_alive:
            self.last = True
            self.pipeline.clear()
            self._linger(unread=self.state != State.ANSWER)
        else:
            self._next()

    def _check_upgrade(self, method: bytes, version: str, upgrade: bytes) -> None:
        # The parser takes any upgrade for the end of HTTP and would skip the body: `_upgrade` mends that.
        if upgrade.lower() == b"websocket" and method == b"GET" and version == "1.1":
            for name, value in self.headers:
                if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
                    self._stop(400, "a WebSocket handshake has no body")
            self.upgrade = "websocket"
        else:
            self.upgrade = "ignored"

    def _upgrade(self, rest: bytes) -> None:
        """The parser stopped after a head that asks for another protocol; `rest` came behind it."""
        method = self.parser.get_method()
        if self.upgrade == "websocket":
            if self.pipeline:
                self._refuse(Refused(400, "a WebSocket handshake behind a request that is still open"))
                return
            scope = self._scope_or_none(method)
            if scope is None:
                return
            session = WebSocketSession(
                self.front.app,
                scope,
                self.transport,
                self.server_state,
                self.front.limits.max_message,
                self.loop,
            )
            if (wrong := session.refusal()) is not None:
                self._answer_and_go(wrong)
                return
            self.front.connections.discard(self)
            self.server_state.connections.discard(self)
            self.deadline = math.inf
            session.start(rest)
            return
        # Any other protocol is not spoken here (RFC 9110 §7.8 lets a server ignore the field): the same
        # request is parsed again without it, so that its body is a body.
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        head.append(b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join(head) + rest)

    def _scope_or_none(self, method: bytes) -> Scope | None:
        try:
            scope = self._scope(method, "1.1")
        except Refused as refused:
            self._refuse(refused)
            return None
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if self.scheme == "https" else "ws"
        scope["extensions"] = {"websocket.http.response": {}}
        return scope

    # -- turning away ----------------------------------------------------------------------------------------

    def _stop(self, status: int, detail: str) -> NoReturn:
        self.refusal = Refused(status, detail)
        raise self.refusal

    def _refuse(self, refused: Refused) -> None:
        """Answer what cannot become a request, after the requests that came before it."""
        self.last = True
        if self.state == State.BODY and self.cycle is not None and self.cycle in self.pipeline:
            # The broken one has a task already: it must not see the end of a body that never ended.
            self.pipeline.remove(self.cycle)
            self.cycle.client_gone()
            if self.cycle.started:
                self.cut()
                return
        self.state = State.ANSWER
        if self.pipeline:
            self.refusal = refused
            self.deadline = math.inf
            return
        self._answer_and_go(
            problem(refused.status, _NAMES.get(refused.status, "bad-request"), refused.detail)
        )

    def _answer_and_go(self, response: Response) -> None:
        if self.lost:
            return
        name = secrets.token_hex(16)
        self.front.refused(self.client[0] if self.client else "", name, response)
        headers = [
            *response.headers,
            (b"x-request-id", name.encode()),
            (b"date", date()),
            (b"connection", b"close"),
        ]
        lines = [
            STATUS_LINE[response.status],
            *(b": ".join(field) for field in headers),
            b"",
            response.content,
        ]
        self.transport.write(b"\r\n".join(lines))
        self._linger(unread=True)

    def _linger(self, *, unread: bool) -> None:
        """Close so that the answer arrives: a socket closed with bytes unread resets, and takes it along.

        Our side is closed at once; what the client still sends is thrown away until it closes its own, or
        `linger_timeout` is over (RFC 9112 §9.6). Where nothing is `unread`, closing is enough.
        """
        self.last = True
        self.state = State.LINGER
        self.write_left = self.transport.get_write_buffer_size()
        if not unread or not self.transport.can_write_eof():
            self.transport.close()
            self.deadline = self.loop.time() + self.write_timeout
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.resume_reading()
            self.deadline = self.loop.time() + self.linger_timeout

    def cut(self, *, reset: bool = False) -> None:
        """Break the connection off, so that what the client has is seen not to be the whole.

        `reset` is for a body that ends with the connection: only a RST tells it from a complete one.
        """
        self.last = True
        self.state = State.LINGER
        if self.lost:
            return
        if reset:
            if (sock := self.transport.get_extra_info("socket")) is not None:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
            self.transport.abort()
        else:
            self.transport.close()
            self.deadline = self.loop.time() + self.write_timeout

    def out_of_time(self, now: float) -> None:
        """The deadline of the present state has passed."""
        left = self.transport.get_write_buffer_size()
        if left:
            if left < self.write_left:  # slow, but reading
                self.write_left = left
                self.deadline = now + self.write_timeout
            else:
                self.transport.abort()
        elif self.state == State.IDLE:
            self.transport.close()
        elif self.state == State.LINGER:
            self.transport.abort()
        elif self.state in (State.HEAD, State.BODY):
            what = "head" if self.state == State.HEAD else "body"
            self._refuse(Refused(408, f"the {what} of the request did not arrive in time"))

    def shutdown(self) -> None:
        """uvicorn stops: close if nothing is going on, else after the response that is on its way."""
        if self.pipeline:
            for cycle in self.pipeline:
                cycle.keep_alive = False
        elif self.state == State.IDLE:
            self.last = True
            self.transport.close()
        else:
            self.draining = True

    # -- flow ------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.deadline = math.inf
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused and not self.lost:
            self.read_paused = False
            self.transport.resume_reading()
            self._wait_for_client()

    def _wait_for_client(self) -> None:
        """In the middle of a body that somebody reads, the client's next byte is due in `body_timeout`."""
        if self.writable is not None:
            return
        if self.state == State.BODY and not self.read_paused:
            self.deadline = self.loop.time() + self.body_timeout
        elif self.state == State.ANSWER:
            self.deadline = math.inf


_ASGI = {"version": "3.0", "spec_version": "2.4"}

_NAMES = {408: "request-timeout", 414: "target-too-long", 431: "head-too-large"}


def _address(value: Any) -> tuple[str, int | None] | None:
    if isinstance(value, tuple):
        return str(value[0]), int(value[1])
    return (value, None) if value and isinstance(value, str) else None
