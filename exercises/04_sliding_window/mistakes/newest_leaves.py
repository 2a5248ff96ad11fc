# rejected by: test_each_admission_leaves_after_a_window
# recognised as: refused-counts
# Looks at the newest entry to find out what is too old.
from collections import defaultdict, deque
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.log = defaultdict(deque)

    def take(self, key: Hashable, now: float) -> Verdict:
        log = self.log[key]
        while log and now >= log[-1] + self.window:
            log.pop()
        if len(log) >= self.limit:
            wait = log[0] + self.window - now
            return Verdict(False, self.limit, 0, wait, wait)
        log.append(now)
        return Verdict(True, self.limit, self.limit - len(log), log[0] + self.window - now)
