"""ASGI in, exchange out: where a client's request becomes an exchange and a response goes back to it.

The edge decides three things by itself: whether the request is one at all (400), whom it is for (a service,
the gateway's own API, or nobody: 404), and whether its body may come in (413). All else is for the policies.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, NamedTuple
from urllib.parse import quote

from lab.model import NO_BODY, Body, Clock, Exchange, Handler, Headers, Response, problem
from lab.proxy import websocket
from lab.proxy.cycle import CYCLE, Cycle
from lab.proxy.headers import client_address, date, looped, trusted
from lab.settings import RESERVED, LimitsSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_UNRESERVED = re.compile(r"%(?:4[1-9a-fA-F]|5[0-9aA]|6[1-9a-fA-F]|7[0-9aA]|3[0-9]|2[dDeE]|5[fF]|7[eE])")
_DOTS = re.compile(r"(?:^|[/\\]|%2f|%5c)\.\.?(?:$|[/\\;]|%2f|%5c)", re.IGNORECASE)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_BODILESS = (204, 304)


def normalise(raw_path: bytes) -> str:
    """The path that policies match: escapes of unreserved characters are decoded (RFC 3986 §6.2.2.2).

    To a service `/%69tems` and `/items` are the same; to a rule written for one of them they must be too.
    """
    path = raw_path.decode("latin-1")
    if "%" in path:
        path = _UNRESERVED.sub(lambda match: chr(int(match[0][1:], 16)), path)
    return path


class Target(NamedTuple):
    """What a request's raw path says, read once."""

    path: str
    """For the policies: escapes of unreserved characters decoded."""
    first: str
    """The first segment, which names the service."""
    rest: bytes
    """The raw path after it: what the service is asked for."""
    ambiguous: bool
    """Whether it may be matched here as one path and read by the service as another."""


def read_target(raw_path: bytes) -> Target:
    path = normalise(raw_path)
    slash = raw_path.find(b"/", 1)
    return Target(
        path,
        path[1:].partition("/")[0],
        raw_path[slash:] if slash > 0 else b"/",
        ("/." in path or "%" in path or "\\" in path) and _DOTS.search(path) is not None,
    )


_read_again = lru_cache(maxsize=1000)(read_target)
"""The same few paths are asked for over and over. Long ones are read anew: they would fill the memory."""
_SHORT = 256


class Edge:
    """The ASGI application that everything enters through.

    `pipeline` takes exchanges that are for a service; `outer` those that the edge has decided itself (it
    runs the stages that see everything, then answers `exchange.refusal`); `own` is the gateway's own API.
    """

    def __init__(
        self,
        pipeline: Handler,
        outer: Handler,
        own: ASGIApp,
        services: Mapping[str, object],
        limits: LimitsSettings,
        trusted_proxies: list[str],
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._outer = outer
        self._own = own
        self._services = services
        self._limits = limits
        self._networks = tuple(ip_network(network, strict=False) for network in trusted_proxies)
        self._clock = clock
        self.websockets = 0
        """Open WebSockets."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        exchange = self._exchange(scope, receive)
        cycle: Cycle | None = scope.get("extensions", _NONE).get(CYCLE)
        if cycle is not None and exchange.service and exchange.kind == "http" and exchange.refusal is None:
            return self._http(self._pipeline, exchange, send, cycle)
        return self._other(exchange, cycle, scope, receive, send)

    async def _other(
        self, exchange: Exchange, cycle: Cycle | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """All but the plain case of an HTTP request for a service, under our own server."""
        if exchange.refusal is None and not exchange.service:
            if exchange.kind == "websocket":
                await self._own(scope, receive, send)
                return
            try:
                exchange.refusal = await _call(self._own, scope, receive)
            except Exception as error:
                exchange.refusal = await self._broken(exchange, error)
        handler = self._pipeline if exchange.refusal is None else self._outer
        if exchange.kind == "websocket":
            await self._websocket(handler, exchange, scope, receive, send)
        elif cycle is not None:
            # Our server protocol cancels this very task when the client goes away: nothing to watch.
            await self._http(handler, exchange, send, cycle)
        else:
            await self._watched(handler, exchange, receive, send)

    # -- in --------------------------------------------------------------------------------------------------

    def _exchange(self, scope: Scope, receive: Receive) -> Exchange:
        """The request as an exchange; `refusal` is set where the edge answers it by itself."""
        headers: Headers = scope["headers"]
        raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        kind = "websocket" if scope["type"] == "websocket" else "http"
        peer = scope.get("client")
        path, first, rest, ambiguous = (_read_again if len(raw_path) < _SHORT else read_target)(raw_path)
        exchange = Exchange(
            scope.get("method", "GET"),
            raw_path,
            path=path,
            query=scope.get("query_string", b""),
            headers=headers,
            peer=peer[0] if peer else "",
            scheme=_SCHEMES.get(scope.get("scheme", "http"), "http"),
            http_version=scope.get("http_version", "1.1"),
            kind=kind,  # type: ignore[arg-type]
            started=self._clock(),
        )
        if first in self._services:
            exchange.service = first
            exchange.rest = rest
        refusal = self._read_head(exchange, receive)
        if refusal is None:
            if ambiguous:  # refused instead of guessed
                refusal = _bad("a path with '.' or '..' segments is ambiguous; send it resolved")
            if not raw_path.startswith(b"/") and (raw_path, exchange.method) != (b"*", "OPTIONS"):
                refusal = _bad("the target must be a path")
        if refusal is None and not exchange.service:
            if raw_path == b"*":
                refusal = Response(204, [_ALLOW])
            elif first not in RESERVED:
                refusal = problem(404, "no-such-service", f"no service is called '{first[:64]}'")
        elif refusal is None:
            refusal = self._refuse_method(exchange)
        exchange.refusal = refusal
        return exchange

    def _read_head(self, exchange: Exchange, receive: Receive) -> Response | None:
        """Check and take in what the header fields say about host, framing, client and loops."""
        hosts = 0
        length: int | None = None
        framed = chunked = False
        loop = False
        forwarded_for: list[bytes] = []
        forwarded_proto = forwarded_host = None
        for name, value in exchange.headers:
            if name not in _TOLD:
                continue
            if name == b"host":
                hosts += 1
                exchange.host = value
            elif name == b"content-length":
                if framed or not value.isdigit():
                    return _bad("Content-Length must stand once and be a number")
                framed, length = True, int(value)
            elif name == b"transfer-encoding":
                chunked = True
                if value.lower() != b"chunked":
                    return _bad("only the transfer coding 'chunked' is understood")
            elif name == b"via":
                loop = loop or looped([(name, value)])
            elif name == b"x-forwarded-for":
                forwarded_for.append(value)
            elif name == b"x-forwarded-proto":
                forwarded_proto = value
            elif name == b"x-forwarded-host":
                forwarded_host = value
        if framed and chunked:
            return _bad("Content-Length and Transfer-Encoding exclude each other")
        if hosts > 1 or (hosts == 0 and exchange.http_version not in ("1.0", "2")):
            return _bad("exactly one Host is required")
        if not _HOST.fullmatch(exchange.host):
            return _bad("Host is not a host")
        if loop:
            return problem(508, "loop-detected", "this request has already been through this gateway")
        if self._networks and trusted(exchange.peer, self._networks):
            exchange.trusted = True
            exchange.client = client_address(exchange.peer, forwarded_for, self._networks)
            if forwarded_proto in (b"http", b"https"):
                exchange.scheme = forwarded_proto.decode("ascii")
            if forwarded_host and _HOST.fullmatch(forwarded_host):
                exchange.host = forwarded_host
        if framed or chunked:
            if length is not None and length > self._limits.max_body:
                exchange.body = Body(_nothing(), length=length)
                return problem(
                    413,
                    "body-too-large",
                    f"the body is larger than {self._limits.max_body} bytes",
                    headers=[(b"connection", b"close")],
                )
            exchange.body = Body(_chunks(receive), length=length, limit=self._limits.max_body)
        return None

    def _refuse_method(self, exchange: Exchange) -> Response | None:
        """TRACE would show the client what the gateway added (keys of others included): refused.

        OPTIONS with Max-Forwards: 0 is for this hop (RFC 9110 §7.6.2); a larger number is counted down.
        """
        if exchange.method == "TRACE" or exchange.method == "CONNECT":
            return problem(405, "method-not-allowed", f"{exchange.method} is not forwarded", headers=[_ALLOW])
        if exchange.method == "OPTIONS":
            for i, (name, value) in enumerate(exchange.headers):
                if name == b"max-forwards" and value.isdigit() and len(value) < 10:
                    if int(value) == 0:
                        return Response(204, [_ALLOW])
                    exchange.headers[i] = (name, b"%d" % (int(value) - 1))
        return None

    # -- out -------------------------------------------------------------------------------------------------

    async def _http(
        self, handler: Handler, exchange: Exchange, send: Send, cycle: Cycle | None = None
    ) -> None:
        response: Response | None = None
        try:
            try:
                response = await handler(exchange)
            except Exception as error:
                response = await self._broken(exchange, error)
            headers = response.headers
            if exchange.service:
                headers.append((b"x-gateway-service", exchange.service.encode("ascii")))
                if exchange.cache is None and exchange.attempts and exchange.method in ("GET", "HEAD"):
                    # Forwarded past a cache that is switched off: that is to be seen, too.
                    exchange.cache = "BYPASS"
                    headers += _BYPASS
            if response.header(b"date") is None:
                headers.append((b"date", date()))
            status = response.status
            stream = response.stream
            if stream is None:
                content = b"" if exchange.method == "HEAD" or status in _BODILESS else response.content
                exchange.bytes_out = len(content)
                if cycle is not None:
                    cycle.answer(status, headers, content)
                else:
                    await send({"type": "http.response.start", "status": status, "headers": headers})
                    await send({"type": "http.response.body", "body": content})
            else:
                await send({"type": "http.response.start", "status": status, "headers": headers})
                async for chunk in stream:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    exchange.bytes_out += len(chunk)
                await send({"type": "http.response.body", "body": b""})
            if stream is None:
                response.end()
            else:
                await response.aclose()
        except asyncio.CancelledError as error:
            if response is not None:
                await response.aclose(error)
        except Exception as error:
            # After the head there is no status left to change: the connection is cut, so that what came is
            # not taken for the whole. Returning early makes the server do that.
            if response is None:
                raise
            await response.aclose(error)

    async def _broken(self, exchange: Exchange, error: Exception) -> Response:
        """A stage raised: a mistake of ours or of a plugged-in class, which the client gets no trace of."""
        report(exchange, error)
        return problem(
            500,
            "internal-error",
            "the gateway failed at this request",
            headers=[(b"x-request-id", exchange.request_id.encode("ascii"))],
        )

    async def _watched(self, handler: Handler, exchange: Exchange, receive: Receive, send: Send) -> None:
        """`_http` under a server that does not cancel: `receive` is watched for the disconnect."""
        work = asyncio.ensure_future(self._http(handler, exchange, send))
        watch: asyncio.Future[None] | None = None
        if exchange.body is NO_BODY:
            watch = asyncio.ensure_future(_until_gone(receive))
            watch.add_done_callback(lambda done: done.cancelled() or work.cancel())
        try:
            await work
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def _websocket(
        self, handler: Handler, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        response: Response | None = None
        self.websockets += 1
        try:
            try:
                response = await handler(exchange)
            except Exception as error:
                response = await self._broken(exchange, error)
            if exchange.service:
                response.headers.append((b"x-gateway-service", exchange.service.encode("ascii")))
            if response.tunnel is not None:
                ended = await websocket.serve_websocket(scope, receive, send, response)
                exchange.bytes_out = ended.bytes_down
            else:
                await _send_refusal(response, send)
            response.end()
        except asyncio.CancelledError as error:
            if response is not None:
                await response.aclose(error)
        except Exception as error:
            if response is None:
                raise
            await response.aclose(error)
        finally:
            self.websockets -= 1


_TOLD = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    )
)
"""The fields that `_read_head` reads."""
_NONE: dict[str, Any] = {}
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_BYPASS = ((b"x-cache", b"BYPASS"), (b"cache-status", b"gateway-lab; fwd=bypass"))
_ALLOW = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


def _bad(detail: str) -> Response:
    return problem(400, "bad-request", detail, headers=[(b"connection", b"close")])


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as the server hands it on; the client's going away ends it as a cancellation."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError("the client went away")
        if body := message.get("body"):
            yield body
        if not message.get("more_body"):
            return


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _call(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """What an ASGI application answers, collected: the gateway's own API speaks in small documents."""
    response = Response(500)
    parts: list[bytes] = []

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    if scope["method"] == "HEAD":
        scope = {**scope, "method": "GET"}
    await app(scope, receive, collect)
    response.content = b"".join(parts)
    return response


async def send_response(response: Response, send: Send) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.content})


async def refuse_websocket(response: Response, receive: Receive, send: Send) -> None:
    """Answer a WebSocket handshake with an ordinary response instead of an upgrade."""
    await receive()
    await _send_refusal(response, send)


async def _send_refusal(response: Response, send: Send) -> None:
    content = response.content
    if response.stream is not None:
        content = b"".join([chunk async for chunk in response.stream])
    headers = [field for field in response.headers if field[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": content})


def report(exchange: Exchange, error: Exception) -> None:
    """Tell the operator, on the log, what the client must not see."""
    logging.getLogger("gateway").error("exchange %s failed", exchange.request_id, exc_info=error)
