"""Exercise 11, timeouts, retries, budget: once more, if it is safe and can be afforded. README.md has the task."""

from __future__ import annotations

import asyncio
import random
import time
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
        """Seconds before retry number `retry` (1 is the first); `draw` is a random number, 0 ≤ draw < 1.

        Anything from 0 to `backoff` seconds before the first, from 0 to twice as much before the second, then
        four times, eight times, …; the range ends at `backoff_max`. `draw` says where in the range.
        """
        # TODO
        raise NotImplementedError


class Budget:
    """Of the last `window` seconds' exchanges at most `percent` of a hundred are retried.

    `minimum` retries in `window` seconds are allowed however few exchanges there are.
    """

    def __init__(self, percent: float = 20.0, minimum: int = 3, window: float = 10.0) -> None:
        self.percent = percent
        self.minimum = minimum
        self.window = window
        # TODO

    def exchange(self, now: float) -> None:
        """Count one exchange, whatever becomes of it."""
        # TODO
        raise NotImplementedError

    def take(self, now: float) -> bool:
        """Whether one more retry may be made now. True counts it, False counts nothing."""
        # TODO
        raise NotImplementedError


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
        """`timeout`: seconds for all attempts and pauses together. `retries`: attempts after the first.

        `clock()`, `await sleep(seconds)` and `draw()` are all that may know about time and chance.
        """
        self._backoff = backoff
        self._budget = budget
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._draw = draw

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        """Answer one request; each `await call_next(exchange)` is one attempt.

        When the time is up: `problem(504, "upstream-timeout", "…", failure="http_response_timeout")`.
        """
        # TODO
        raise NotImplementedError
