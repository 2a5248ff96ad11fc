# rejected by: test_no_burst_fits_around_a_boundary
# recognised as: fixed-window
# Counts in windows that all requests share, as in exercise 03.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        start, used = self.windows.get(key, (now, 0))
        if now >= start + self.window:
            start, used = now, 0
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
