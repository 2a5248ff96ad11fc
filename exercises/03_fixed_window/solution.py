"""Exercise 03, fixed window: the worked solution."""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    """At most `limit` requests of each key in a window of `window` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        # Two numbers a key are enough: when its window began, and how many requests it has admitted.
        self._windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        start, used = self._windows.get(key, (now, 0))
        if now >= start + self.window:
            # The old window is over. The new one begins with this request, not where the old one ended.
            start, used = now, 0
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, reset=left, retry_after=left)
        used += 1
        self._windows[key] = (start, used)
        return Verdict(True, self.limit, self.limit - used, reset=left)
