"""The call is made by a task of its own, which goes on whoever leaves; followers shield it."""

import asyncio
import re

from lab.model import Response

CHOOSING = {
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"range",
    b"if-none-match",
    b"if-modified-since",
}
NOT_SHARED = re.compile(rb"(^|,)\s*(private|no-store)\b", re.IGNORECASE)


class Coalescing:
    def __init__(self):
        self.calls = {}

    async def __call__(self, exchange, call_next):
        names = {name for name, _ in exchange.headers}
        if (exchange.kind, exchange.method) != ("http", "GET") or names & {
            b"authorization",
            b"cookie",
            b"x-api-key",
        }:
            return await call_next(exchange)
        key = (exchange.raw_path, exchange.query, *(f for f in exchange.headers if f[0] in CHOOSING))
        if key in self.calls:
            try:
                status, headers, body, failure, shared = await asyncio.shield(self.calls[key])
            except Exception:
                return await self(exchange, call_next)
            if not shared:
                return await call_next(exchange)
        else:
            task = self.calls[key] = asyncio.ensure_future(self._call(exchange, call_next))
            task.add_done_callback(lambda task: self._done(key, task))
            status, headers, body, failure, _ = await asyncio.shield(task)
        return Response(status, [*headers], body, failure=failure)

    def _done(self, key, task):
        del self.calls[key]
        if not task.cancelled():
            task.exception()

    async def _call(self, exchange, call_next):
        response = await call_next(exchange)
        body = response.content
        if response.stream is not None:
            body = b""
            async for chunk in response.stream:
                body += chunk
        await response.aclose()
        shared = not any(
            name == b"set-cookie" or (name == b"cache-control" and NOT_SHARED.search(value))
            for name, value in response.headers
        )
        return response.status, response.headers, body, response.failure, shared
