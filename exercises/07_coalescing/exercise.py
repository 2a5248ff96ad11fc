"""Exercise 07, request coalescing: one call to the service for many equal requests. README.md has the task."""

from __future__ import annotations

import asyncio

from lab.model import Exchange, Handler, Response

CHOOSING = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"range",
    b"if-none-match",
    b"if-modified-since",
)
"""Request fields that choose among versions of an answer: requests that differ in one are not equal."""

CREDENTIALS = (b"authorization", b"cookie", b"x-api-key")
"""Request fields that say who asks: such a request is never shared."""


class Coalescing:
    """One call to the service for equal requests at the same time.

    The first request for something goes on to the service: it is the leader. Those that come while it is
    under way are followers: they wait for the leader's answer, and each gets a response of its own.
    """

    def __init__(self) -> None:
        # TODO: what is under way, and how do followers wait for it?
        pass

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        """Answer one request; `await call_next(exchange)` asks the service.

        Of an exchange you need `kind` ("http" or "websocket"), `method`, `raw_path`, `query` and `headers`, a
        list of (name in lower case, value), all in bytes but the first two.
        """
        # TODO
        raise NotImplementedError
