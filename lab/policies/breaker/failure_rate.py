"""Opens when too large a share of the last calls failed, or was slow."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Self

from lab.policies.breaker.states import StateBreaker


class FailureRate(StateBreaker):
    """Opens when of the last `window` calls at least `failure_percent` failed or `slow_percent` were slow.

    `window` and `minimum_calls` count calls (1 or more): before the smaller of the two has been seen nothing
    is judged, since one failure of two calls is no rate. With `window_seconds` (above 0; None: age does not
    matter) calls that are as old no longer count: a time-based window, in which `window` only bounds the
    memory. A call is slow that takes longer than `slow_call` seconds; percentages are above 0 and up to 100,
    reaching one is enough. A slow probe counts as failed. Parameters `open_for` and `probes` as in
    `StateBreaker`. After resilience4j's count-based and time-based sliding windows.
    """

    def __init__(
        self,
        window: int = 100,
        window_seconds: float | None = None,
        minimum_calls: int = 20,
        failure_percent: float = 50.0,
        slow_call: float = 5.0,
        slow_percent: float = 100.0,
        open_for: float = 10.0,
        probes: int = 3,
    ) -> None:
        super().__init__(open_for, probes)
        self.window = window
        self.window_seconds = math.inf if window_seconds is None else window_seconds
        self.minimum_calls = min(minimum_calls, window)
        self.failure_percent = failure_percent
        self.slow_call = slow_call
        self.slow_percent = slow_percent
        self._calls: deque[tuple[float, bool, bool]] = deque()  # (when, failed, slow), the oldest first
        self._failed = 0
        self._slowed = 0

    def _count(self, now: float, failed: bool, duration: float) -> str | None:
        self._add(now, failed, self._slow(duration))
        calls = len(self._calls)
        if calls < self.minimum_calls:
            return None
        if self._failed * 100 >= self.failure_percent * calls:
            return f"{self._failed} of the last {calls} calls failed"
        if self._slowed * 100 >= self.slow_percent * calls:
            return f"{self._slowed} of the last {calls} calls took longer than {self.slow_call:g} s"
        return None

    def _add(self, now: float, failed: bool, slow: bool) -> None:
        self._calls.append((now, failed, slow))
        self._failed += failed
        self._slowed += slow
        self._expire(now)

    def _expire(self, now: float) -> None:
        """Let go of what has left the window."""
        calls = self._calls
        while len(calls) > self.window or (calls and calls[0][0] <= now - self.window_seconds):
            _, failed, slow = calls.popleft()
            self._failed -= failed
            self._slowed -= slow

    def _forget(self) -> None:
        self._calls.clear()
        self._failed = self._slowed = 0

    def _slow(self, duration: float) -> bool:
        return duration > self.slow_call

    def snapshot(self, now: float) -> dict[str, Any]:
        self._expire(now)
        counts = {"calls": len(self._calls), "failures": self._failed, "slow_calls": self._slowed}
        return counts | super().snapshot(now)

    def adopt(self, old: Self) -> None:
        super().adopt(old)
        for call in old._calls:
            self._add(*call)
