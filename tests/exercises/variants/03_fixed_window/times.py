"""Keeps the times of the admitted requests of each window; a verdict of its own kind."""

from collections import defaultdict
from typing import NamedTuple


class Verdict(NamedTuple):
    admitted: bool
    limit: int
    remaining: int
    reset: float
    retry_after: float


class FixedWindow:
    def __init__(self, *, limit: int, window: float):
        self._limit, self._window = limit, window
        self._times: dict = defaultdict(list)

    def take(self, key, now):
        times = self._times[key]
        if times and now - times[0] >= self._window:
            del times[:]
        admitted = len(times) < self._limit
        if admitted:
            times.append(now)
        reset = self._window - (now - times[0])
        return Verdict(admitted, self._limit, self._limit - len(times), reset, 0 if admitted else reset)
