# rejected by: test_each_client_has_a_log_of_its_own
# recognised as: shared-log
# One log for everybody.
from collections import defaultdict, deque
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.log = deque()

    def take(self, key: Hashable, now: float) -> Verdict:
        log = self.log
        while log and now >= log[0] + self.window:
            log.popleft()
        if len(log) >= self.limit:
            wait = log[0] + self.window - now
            return Verdict(False, self.limit, 0, wait, wait)
        log.append(now)
        return Verdict(True, self.limit, self.limit - len(log), log[0] + self.window - now)
