# rejected by: test_each_client_counts_for_itself
# recognised as: shared-counter
# One count for everybody.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.start = float("-inf")
        self.used = 0

    def take(self, key: Hashable, now: float) -> Verdict:
        if now >= self.start + self.window:
            self.start, self.used = now, 0
        left = self.start + self.window - now
        if self.used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.used += 1
        return Verdict(True, self.limit, self.limit - self.used, left)
