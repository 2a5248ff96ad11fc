"""The pipeline's last step: one attempt to get the service's answer. Only here does I/O to services start.

Whatever goes wrong becomes a response with `failure` set, so that policies look at responses only:
refused, reset, garbage → 502; too slow → 504; no free connection, marked down → 503.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from lab.model import NO_BODY, Body, BodyGone, BodyTooLarge, Clock, Exchange, Headers, Response, problem
from lab.proxy import websocket
from lab.proxy.connection import NoAnswer, Request, Timeouts
from lab.proxy.headers import request_headers, response_headers
from lab.proxy.services import Directory, Service
from lab.proxy.upstream import Upstream
from lab.settings import LimitsSettings

IDLE = 60.0
"""Seconds a response's body may pause before its connection is given up."""


class _Upload(httpx.AsyncByteStream):
    """A request's body as httpx wants it."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()


class Forward:
    """Hands an exchange to its service's connection pool and the service's answer back."""

    def __init__(
        self, services: Directory, limits: LimitsSettings, clock: Clock, admin_token: str | None = None
    ) -> None:
        self._services = services
        self._limits = limits
        self._clock = clock
        self._token = admin_token.encode() if admin_token else None

    async def __call__(self, exchange: Exchange) -> Response:
        service = self._services.get(exchange.service)
        if service is None:  # taken out since the edge matched it
            return problem(404, "no-such-service", f"there is no service '{exchange.service}'")
        if service.down:
            return problem(
                503,
                "service-down",
                f"{exchange.service} fails its health check",
                service=exchange.service,
                retry_after=Directory.RETRY_EVERY,
                failure="destination_unavailable",
            )
        now = self._clock()
        if exchange.deadline is None:
            exchange.deadline = now + service.settings.timeout
        remaining = exchange.deadline - now
        if remaining <= 0:
            return _too_slow(exchange)
        exchange.attempts += 1
        headers = request_headers(exchange, service.host, self._token)
        target = service.prefix + exchange.rest
        if exchange.query:
            target += b"?" + exchange.query
        try:
            if exchange.kind == "websocket":
                response = await websocket.connect_service(
                    exchange,
                    service.settings.url,
                    target=target,
                    headers=headers,
                    open_timeout=remaining,
                    max_message=self._limits.max_message,
                )
                response.headers = response_headers(response.headers)
                return response
            return await self._http(exchange, service, service.upstream, target, headers, remaining)
        except (httpx.HTTPError, OSError, TimeoutError, BodyTooLarge, BodyGone) as error:
            return failure_response(exchange, error)
        finally:
            service.durations.observe(self._clock() - now)

    async def _http(
        self,
        exchange: Exchange,
        service: Service,
        upstream: httpx.AsyncBaseTransport,
        target: bytes,
        headers: Headers,
        remaining: float,
    ) -> Response:
        body = None if exchange.body is NO_BODY else exchange.body
        replay = body.__aiter__ if body is not None and body.replayable else None
        connect = min(service.connect_timeout, remaining)
        if isinstance(upstream, Upstream):
            answer = await upstream.send(
                Request(exchange.method, target, headers, stream=body, replay=replay),
                Timeouts(connect=connect, head=remaining, read=IDLE, write=remaining, pool=remaining),
            )
            response = Response(answer.status, response_headers(answer.headers))
            # Small bodies are here by now.
            whole = answer.stream.take_all()
            if whole is not None:
                response.content = whole
            else:
                response.stream = _Download(answer.stream)
            return response
        return await _through_httpx(exchange, service, target, headers, connect, remaining, replay)


async def _through_httpx(
    exchange: Exchange,
    service: Service,
    target: bytes,
    headers: Headers,
    connect: float,
    remaining: float,
    replay: Callable[[], AsyncIterator[bytes]] | None,
) -> Response:
    """The same through any httpx transport that somebody has put in our pool's place."""
    request = httpx.Request(
        exchange.method,
        service.url,
        headers=headers,
        stream=httpx.ByteStream(b"") if exchange.body is NO_BODY else _Upload(exchange.body),
        extensions={
            "target": target,
            "timeout": {
                "connect": connect,
                "head": remaining,
                "pool": remaining,
                "read": IDLE,
                "write": remaining,
            },
            "replay": replay,
        },
    )
    async with asyncio.timeout(remaining):  # `head` is a limit that other transports do not know
        answer = await service.upstream.handle_async_request(request)
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    return Response(answer.status_code, response_headers(answer.headers.raw), stream=_Download(answer.stream))


class _Download:
    """The service's body piece by piece. No generator: closing one that was not begun would close nothing."""

    __slots__ = ("_pieces", "_stream")

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._pieces = aiter(stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return anext(self._pieces)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _too_slow(exchange: Exchange, failure: str = "http_response_timeout") -> Response:
    return problem(
        504,
        "service-too-slow",
        f"{exchange.service} did not answer in time",
        service=exchange.service,
        failure=failure,
    )


def failure_response(exchange: Exchange, error: BaseException) -> Response:
    """The answer for an attempt that failed, with the error type of RFC 9209 §2.3 as its `failure`."""
    name = exchange.service
    if isinstance(error, BodyTooLarge):
        return problem(
            413,
            "body-too-large",
            "the request's body is larger than this gateway takes",
            failure="http_request_error",
        )
    if isinstance(error, httpx.LocalProtocolError):
        return problem(
            400, "bad-request", "the request cannot be forwarded as it is", failure="http_request_error"
        )
    if isinstance(error, httpx.PoolTimeout):
        return problem(
            503,
            "no-free-connection",
            f"all connections to {name} are busy",
            service=name,
            retry_after=1,
            failure="connection_limit_reached",
        )
    if isinstance(error, httpx.ConnectTimeout):
        return _too_slow(exchange, "connection_timeout")
    if isinstance(error, httpx.WriteTimeout):
        return _too_slow(exchange, "connection_write_timeout")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return _too_slow(exchange)
    failure, detail = "connection_terminated", f"{name} closed the connection before it answered"
    if isinstance(error, httpx.ConnectError | OSError):
        failure, detail = "connection_refused", f"{name} does not accept connections"
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, socket.gaierror):
                failure, detail = "dns_error", f"the address of {name} cannot be resolved"
            elif isinstance(cause, ssl.SSLCertVerificationError):
                failure, detail = "tls_certificate_error", f"{name} shows a certificate that is not trusted"
            elif isinstance(cause, ssl.SSLError):
                failure, detail = "tls_protocol_error", f"no TLS connection with {name}"
            cause = cause.__cause__ or cause.__context__
    elif isinstance(error, httpx.RemoteProtocolError) and not isinstance(error, NoAnswer):
        failure, detail = "http_protocol_error", f"{name} did not answer in valid HTTP"
    return problem(502, "bad-gateway", detail, service=name, failure=failure)
