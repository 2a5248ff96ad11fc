# rejected by: test_what_comes_after_the_limit_is_refused
# recognised as: off-by-one
# Compares with > where the count is already at the limit.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.windows: dict[Hashable, list] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        entry = self.windows.setdefault(key, [now, 0])
        if now >= entry[0] + self.window:
            entry[:] = [now, 0]
        left = entry[0] + self.window - now
        if entry[1] > self.limit:
            return Verdict(False, self.limit, 0, left, left)
        entry[1] += 1
        return Verdict(True, self.limit, max(0, self.limit - entry[1]), left)
