# rejected by: test_a_few_retries_are_always_granted
# recognised as: minimum
# Does not round the share down: of one exchange a fifth of a retry becomes a whole one.
from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from lab.model import Clock, Exchange, Handler, Response, problem

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice (RFC 9110 §9.2.2)."""

RETRYABLE = frozenset({502, 503, 504})
"""Statuses that are worth another attempt; a 500 is the service's bug and will be there again."""


class Backoff:
    """Exponential backoff with full jitter."""

    def __init__(self, backoff: float = 0.05, backoff_max: float = 1.0) -> None:
        self.backoff = backoff
        self.backoff_max = backoff_max

    def pause(self, retry: int, draw: float) -> float:
        # Past 2⁶³ times anything every maximum is reached, and no float has overflown yet.
        return draw * min(self.backoff_max, self.backoff * 2.0 ** min(retry - 1, 63))


class Budget:
    """Of the last `window` seconds' exchanges at most `percent` of a hundred are retried."""

    def __init__(self, percent: float = 20.0, minimum: int = 3, window: float = 10.0) -> None:
        self.percent = percent
        self.minimum = minimum
        self.window = window
        self._exchanges: deque[float] = deque()
        self._retries: deque[float] = deque()

    def exchange(self, now: float) -> None:
        self._exchanges.append(now)
        self._forget(now)

    def take(self, now: float) -> bool:
        self._forget(now)
        if len(self._retries) >= max(self.minimum, len(self._exchanges) * self.percent / 100):
            return False
        self._retries.append(now)
        return True

    def _forget(self, now: float) -> None:
        for times in (self._exchanges, self._retries):
            while times and times[0] <= now - self.window:
                times.popleft()


class Retry:
    """Repeats attempts that failed, within one deadline, as far as the budget goes."""

    def __init__(
        self,
        backoff: Backoff,
        budget: Budget,
        *,
        timeout: float = 10.0,
        retries: int = 2,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._backoff = backoff
        self._budget = budget
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._draw = draw

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        now = self._clock()
        deadline = now + self._timeout
        self._budget.exchange(now)
        response = await self._attempt(exchange, call_next, deadline)
        for retry in range(1, self._retries + 1):
            if exchange.method not in IDEMPOTENT or response.status not in RETRYABLE:
                break
            now = self._clock()
            pause = max(self._backoff.pause(retry, self._draw()), asked_to_wait(response))
            # The budget comes last: what it is asked for is spent.
            if now + pause >= deadline or not self._budget.take(now):
                break
            await response.aclose()
            await self._sleep(pause)
            response = await self._attempt(exchange, call_next, deadline)
        return response

    async def _attempt(self, exchange: Exchange, call_next: Handler, deadline: float) -> Response:
        """One attempt, or a 504 when the time is up."""
        attempt = asyncio.ensure_future(call_next(exchange))
        alarm = asyncio.ensure_future(self._sleep(deadline - self._clock()))
        try:
            await asyncio.wait((attempt, alarm), return_when=asyncio.FIRST_COMPLETED)
            if attempt.done():
                return attempt.result()
        finally:
            # Also where the client has gone away. What is done already does not mind.
            attempt.cancel()
            alarm.cancel()
        return problem(504, "upstream-timeout", "The service took too long.", failure="http_response_timeout")


def asked_to_wait(response: Response) -> float:
    """The seconds in the field Retry-After (RFC 9110 §10.2.3), 0 without one."""
    value = response.header(b"retry-after") or b""
    return float(value) if value.isdigit() else 0.0
