# rejected by: test_response_headers_come_back
# recognised as: response-headers
# Makes a dict of the answer's fields: of several cookies one is left.
from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from lab.model import Body, Exchange, Headers, Response, problem

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that speak of one connection only (RFC 9110 §7.6.1)."""


class Upload(httpx.AsyncByteStream):
    """A request's body as httpx wants it."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)


class Forward:
    """The last step: sends a request on to the service at `url` and brings its answer back."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        # The transport and not a client: no cookies, no redirects, no decoding, no fields of its own.
        self._transport = httpx.AsyncHTTPTransport()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __call__(self, exchange: Exchange) -> Response:
        target = exchange.rest + b"?" + exchange.query if exchange.query else exchange.rest
        headers = [(b"host", self._url.netloc), *end_to_end(exchange.headers)]
        request = httpx.Request(
            exchange.method,
            self._url,
            headers=headers,
            stream=Upload(exchange.body),
            extensions={"target": target},  # byte for byte, whatever a URL would make of it
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.ConnectError:
            return problem(502, "bad-gateway", "No connection.", failure="connection_refused")
        except httpx.TransportError:
            return problem(502, "bad-gateway", "No answer.", failure="http_protocol_error")
        fields = list({name.lower(): value for name, value in response.headers.raw}.items())
        return Response(response.status_code, end_to_end(fields), stream=response.aiter_raw())


def end_to_end(headers: Headers) -> Headers:
    """The fields that are for the other end, in their order. Host is not: it names this end."""
    named = b",".join(value for name, value in headers if name == b"connection").lower().split(b",")
    gone = HOP_BY_HOP | {b"host"} | {name.strip() for name in named}
    return [(name, value) for name, value in headers if name not in gone]
