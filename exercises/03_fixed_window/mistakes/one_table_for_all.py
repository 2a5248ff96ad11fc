# rejected by: test_two_limiters_share_nothing
# recognised as: class-attribute
# The table stands in the class: all limiters share it.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    windows: dict[Hashable, tuple[float, int]] = {}

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window

    def take(self, key: Hashable, now: float) -> Verdict:
        start, used = self.windows.get(key, (now, 0))
        if now >= start + self.window:
            start, used = now, 0
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
