# rejected by: test_no_burst_fits_around_a_boundary
# recognised as: fixed-window
# Empties the log as soon as its oldest entry is too old.
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
            log.clear()
        if len(log) >= self.limit:
            wait = log[0] + self.window - now
            return Verdict(False, self.limit, 0, wait, wait)
        log.append(now)
        return Verdict(True, self.limit, self.limit - len(log), log[0] + self.window - now)
