# rejected by: test_retry_after_is_the_wait
# recognised as: retry-after
# Sends everybody away for a whole window, however little of it is left.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
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
            return Verdict(False, self.limit, 0, left, self.window)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
