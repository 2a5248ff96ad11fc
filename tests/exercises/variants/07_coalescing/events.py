"""An event for each call under way, and the answer beside it."""

import asyncio

from lab.model import Response

ALONE = (b"authorization", b"cookie", b"x-api-key")
VERSION = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"range",
    b"if-none-match",
    b"if-modified-since",
)


class Flight:
    def __init__(self):
        self.over = asyncio.Event()
        self.answer = None
        self.alone = False

    def ticket(self):
        status, headers, body, failure = self.answer
        return Response(status, headers.copy(), body, failure=failure)


class Coalescing:
    def __init__(self):
        self._flights = {}

    async def __call__(self, exchange, call_next):
        if exchange.method != "GET" or exchange.kind == "websocket" or any(exchange.header(n) for n in ALONE):
            return await call_next(exchange)
        key = exchange.raw_path + b"?" + exchange.query
        for name in VERSION:
            key += b"\n" + (exchange.header(name) or b"")
        while key in self._flights:
            flight = self._flights[key]
            await flight.over.wait()
            if flight.alone:
                return await call_next(exchange)
            if flight.answer:
                return flight.ticket()
        flight = self._flights[key] = Flight()
        try:
            response = await call_next(exchange)
            parts = [response.content]
            if response.stream:
                parts += [part async for part in response.stream]
            await response.aclose()
            flight.alone = response.header(b"set-cookie") is not None or any(
                word.strip().partition(b"=")[0] in (b"private", b"no-store")
                for word in (response.header(b"cache-control") or b"").lower().split(b",")
            )
            flight.answer = response.status, response.headers, b"".join(parts), response.failure
        finally:
            self._flights.pop(key)
            flight.over.set()
        return flight.ticket()
