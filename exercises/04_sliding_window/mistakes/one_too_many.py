# rejected by: test_what_comes_after_the_limit_is_refused
# recognised as: off-by-one
# Compares with > where the log is full already.
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
        while log and now >= log[0] + self.window:
            log.popleft()
        if len(log) > self.limit:
            wait = log[0] + self.window - now
            return Verdict(False, self.limit, 0, wait, wait)
        log.append(now)
        return Verdict(True, self.limit, max(0, self.limit - len(log)), log[0] + self.window - now)
