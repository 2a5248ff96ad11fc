# rejected by: test_each_admission_leaves_after_a_window
# Estimates from two counters how many of the last window still count: nearly right.
from collections import defaultdict
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.counts = defaultdict(int)

    def take(self, key: Hashable, now: float) -> Verdict:
        number = int(now // self.window)
        share = 1 - (now - number * self.window) / self.window
        used = self.counts[key, number - 1] * share + self.counts[key, number]
        left = (number + 1) * self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.counts[key, number] += 1
        return Verdict(True, self.limit, max(0, int(self.limit - used - 1)), left)
