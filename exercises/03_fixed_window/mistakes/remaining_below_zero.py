# rejected by: test_remaining_is_what_is_left
# recognised as: remaining
# Counts refused requests as well, so that remaining becomes negative.
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
        self.windows[key] = (start, used + 1)
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, self.limit - used - 1, left, left)
        return Verdict(True, self.limit, self.limit - used - 1, left)
