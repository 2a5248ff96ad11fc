"""Exercise 02, forwarding: send a request on, and bring the answer back. README.md has the task."""

from __future__ import annotations

import httpx

from lab.model import Exchange, Response, problem

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


class Forward:
    """The last step: sends a request on to the service at `url` and brings its answer back."""

    def __init__(self, url: str) -> None:
        """`url` is such as http://127.0.0.1:8001, without a path."""
        self._url = httpx.URL(url)
        # TODO: is a client what you want? It does a browser's work: cookies, decoding, fields of its own.
        self._client = httpx.AsyncClient()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __call__(self, exchange: Exchange) -> Response:
        """Ask the service, once.

        Of an exchange you need `method`, `rest` (the path without the service's name), `query`, `headers`, a
        list of (name in lower case, value), and `body`: `async for chunk in exchange.body`. All but the
        method are bytes. Where there is no answer: `problem(502, "bad-gateway", "…", failure="…")`.
        """
        # TODO
        raise NotImplementedError
