# rejected by: test_half_an_answer_is_given_to_nobody
# recognised as: half
# Takes a body that breaks off for one that ends.
from __future__ import annotations

import asyncio
from collections.abc import Hashable

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
    """One call to the service for equal requests at the same time."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Future[Response | None]] = {}

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        key = key_of(exchange)
        if key is None:
            return await call_next(exchange)
        while (flight := self._flights.get(key)) is not None:
            # wait() leaves the future alone when this follower goes away; await would cancel it.
            await asyncio.wait((flight,))
            if flight.cancelled():
                continue  # the leader is gone: whoever gets here first is the next one
            answer = flight.result()
            return await call_next(exchange) if answer is None else copy(answer)
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await whole(await call_next(exchange))
            flight.set_result(answer if for_everybody(answer) else None)
        finally:
            del self._flights[key]
            flight.cancel()  # no effect on one that has its result
        return copy(answer)


def key_of(exchange: Exchange) -> Hashable | None:
    """Requests with the same key may share an answer; None: this one shares with nobody."""
    if exchange.kind != "http" or exchange.method != "GET":
        return None
    if any(name in CREDENTIALS for name, _ in exchange.headers):
        return None
    chosen = tuple(field for field in exchange.headers if field[0] in CHOOSING)
    return exchange.raw_path, exchange.query, chosen


def for_everybody(answer: Response) -> bool:
    """Whether an answer to one client may be given to another."""
    for name, value in answer.headers:
        if name == b"set-cookie":
            return False
        if name == b"cache-control":
            directives = {part.split(b"=")[0].strip() for part in value.lower().split(b",")}
            if directives & {b"private", b"no-store"}:
                return False
    return True


async def whole(response: Response) -> Response:
    """The same response with its body in one piece; the connection behind it is free again."""
    content = response.content
    if response.stream is not None:
        try:
            async for chunk in response.stream:
                content += chunk
        except ConnectionError:
            pass  # closed: that was all
    await response.aclose()
    return Response(response.status, response.headers, content, failure=response.failure)


def copy(answer: Response) -> Response:
    """A response of one's own: the stages further out write into its headers."""
    return Response(answer.status, list(answer.headers), answer.content, failure=answer.failure)
