# rejected by: test_requests_up_to_the_limit_are_admitted
# Counts first and compares with >= afterwards.
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
        entry[1] += 1
        if entry[1] >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        return Verdict(True, self.limit, self.limit - entry[1], left)
