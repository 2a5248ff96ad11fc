"""One alarm for the whole exchange, which cancels the attempts; counters instead of times in the budget."""

import asyncio

from lab.model import problem


class Backoff:
    def __init__(self, backoff=0.05, backoff_max=1.0):
        self.backoff, self.backoff_max = backoff, backoff_max

    def pause(self, retry, draw):
        end = self.backoff
        while retry > 1 and end < self.backoff_max:
            end, retry = end * 2, retry - 1
        return min(end, self.backoff_max) * draw


class Budget:
    def __init__(self, percent=20.0, minimum=3, window=10.0):
        self.percent, self.minimum, self.window = percent, minimum, window
        self.log = []

    def exchange(self, now):
        self.log.append((now, "exchange"))

    def take(self, now):
        self.log = [(at, what) for at, what in self.log if now - at < self.window]
        retries = sum(what == "retry" for _, what in self.log)
        exchanges = len(self.log) - retries
        if retries + 1 > self.minimum and retries + 1 > exchanges * self.percent / 100:
            return False
        self.log.append((now, "retry"))
        return True


class Retry:
    def __init__(self, backoff, budget, *, timeout=10.0, retries=2, clock=None, sleep=None, draw=None):
        self.backoff, self.budget, self.timeout, self.retries = backoff, budget, timeout, retries
        self.clock, self.sleep, self.draw = clock, sleep, draw

    async def __call__(self, exchange, call_next):
        end = self.clock() + self.timeout
        self.budget.exchange(self.clock())
        work = asyncio.create_task(self.work(exchange, call_next, end))
        alarm = asyncio.create_task(self.alarm(work))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not alarm.done():
                work.cancel()
                raise
            return problem(504, "too-slow", "too slow", failure="http_response_timeout")
        finally:
            alarm.cancel()

    async def alarm(self, work):
        await self.sleep(self.timeout)
        work.cancel()

    async def work(self, exchange, call_next, end):
        retry = 0
        while True:
            response = await call_next(exchange)
            retry += 1
            if (
                response.status not in (502, 503, 504)
                or exchange.method in ("POST", "PATCH")
                or retry > self.retries
            ):
                return response
            pause = self.backoff.pause(retry, self.draw())
            asked = response.header(b"retry-after")
            if asked and asked.isdigit():
                pause = max(pause, int(asked))
            if self.clock() + pause >= end or not self.budget.take(self.clock()):
                return response
            await response.aclose()
            await self.sleep(pause)
