"""An attempt that calls itself for the next one; the budget in two lists that are cut by bisection."""

import asyncio
from bisect import bisect_right

from lab.model import Response


class Backoff:
    def __init__(self, backoff: float = 0.05, backoff_max: float = 1.0):
        self.ranges = [backoff]
        while self.ranges[-1] < backoff_max:
            self.ranges.append(min(2 * self.ranges[-1], backoff_max))
        self.ranges[-1] = min(self.ranges[-1], backoff_max)

    def pause(self, retry, draw):
        return self.ranges[min(retry, len(self.ranges)) - 1] * draw


class Budget:
    def __init__(self, percent=20.0, minimum=3, window=10.0):
        self.percent, self.minimum, self.window = percent, minimum, window
        self.exchanges, self.retries = [], []

    def exchange(self, now):
        self.exchanges.append(now)

    def take(self, now):
        for times in (self.exchanges, self.retries):
            del times[: bisect_right(times, now - self.window)]
        allowed = max(self.minimum, int(len(self.exchanges) * self.percent / 100))
        granted = len(self.retries) < allowed
        if granted:
            self.retries.append(now)
        return granted


class Retry:
    def __init__(self, backoff, budget, *, timeout=10.0, retries=2, clock, sleep, draw):
        self.__dict__.update(locals())

    async def __call__(self, exchange, call_next):
        now = self.clock()
        self.budget.exchange(now)
        return await self.attempt(exchange, call_next, now + self.timeout, 0)

    async def attempt(self, exchange, call_next, deadline, before):
        tasks = [asyncio.ensure_future(x) for x in (call_next(exchange), self.sleep(deadline - self.clock()))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if tasks[0] not in done:
            return Response(504, [(b"content-length", b"0")], failure="http_response_timeout")
        response = tasks[0].result()
        if (
            before == self.retries
            or exchange.method in {"POST", "PATCH"}
            or response.status not in range(502, 505)
        ):
            return response
        now = self.clock()
        pause = self.backoff.pause(before + 1, self.draw())
        try:
            pause = max(pause, float(response.header(b"retry-after")))
        except (TypeError, ValueError):
            pass
        if deadline <= now + pause or not self.budget.take(now):
            return response
        await response.aclose()
        await self.sleep(pause)
        return await self.attempt(exchange, call_next, deadline, before + 1)
