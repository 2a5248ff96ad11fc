"""The pipeline's last step: one attempt to get the service's answer. Only here does I/O to services start.

Whatever goes wrong becomes a response with `failure` set, so that policies look at responses only:
refused, reset, garbage → 502; too slow → 504; no free connection, marked down → 503.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable

import httpx

from lab.model import NO_BODY, Body, BodyGone, BodyTooLarge, Clock, Exchange, Response, problem
from lab.proxy import websocket
from lab.proxy.headers import request_headers, response_headers
from lab.proxy.services import Directory, Service
from lab.settings import LimitsSettings

IDLE = 60.0
"""Seconds a body may pause, either way, before its connection is given up."""


class _Upload(httpx.AsyncByteStream):
    """A request's body as httpx wants it."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()


_NO_BODY = httpx.ByteStream(b"")


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
            return await self._http(exchange, service, target, headers, remaining)
        except (httpx.HTTPError, OSError, TimeoutError, BodyTooLarge, BodyGone) as error:
            return failure_response(exchange, error)
        finally:
            service.durations.observe(self._clock() - now)

    async def _http(
        self,
        exchange: Exchange,
        service: Service,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        remaining: float,
    ) -> Response:
        body = exchange.body
        connect = min(service.connect_timeout, remaining)
        request = httpx.Request(
            exchange.method,
            service.url,
            headers=headers,
            stream=_NO_BODY if body is NO_BODY else _Upload(body),
            extensions={
                "target": target,
                "timeout": {
                    "connect": connect,
                    "head": remaining,
                    "pool": remaining,
                    "read": IDLE,
                    "write": IDLE,
                },
                "replay": None if body is NO_BODY or not body.replayable else body.__aiter__,
            },
        )
        answer = await service.upstream.handle_async_request(request)
        stream = answer.stream
        response = Response(answer.status_code, response_headers(answer.headers.raw))
        assert isinstance(stream, httpx.AsyncByteStream)
        # Our own pool may have the whole body by now; another httpx transport in its place cannot tell.
        take_all = getattr(stream, "take_all", None)
        whole = take_all() if take_all is not None else None
        if whole is not None:
            response.content = whole
        else:
            response.stream = _Download(stream)
        return response


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
    elif isinstance(error, httpx.RemoteProtocolError):
        failure, detail = "http_protocol_error", f"{name} did not answer in valid HTTP"
    return problem(502, "bad-gateway", detail, service=name, failure=failure)
