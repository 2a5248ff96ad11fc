# rejected by: test_a_window_ends_after_its_length
# recognised as: boundary
# Looks at the clock itself instead of using the time that it is given.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


import time


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        now = time.monotonic()
        start, used = self.windows.get(key, (now, 0))
        if now >= start + self.window:
            start, used = now, 0
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
