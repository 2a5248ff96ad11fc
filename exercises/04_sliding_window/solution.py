"""Exercise 04, sliding window: the worked solution."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    """At most `limit` requests of each key in any `window` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        # Key → the times at which its requests were admitted, oldest first: at most `limit` of them.
        self._log: defaultdict[Hashable, deque[float]] = defaultdict(deque)

    def take(self, key: Hashable, now: float) -> Verdict:
        log = self._log[key]
        while log and now >= log[0] + self.window:
            log.popleft()
        if len(log) >= self.limit:
            wait = log[0] + self.window - now
            return Verdict(False, self.limit, 0, reset=wait, retry_after=wait)
        log.append(now)
        # The oldest one is the next to leave, and makes room for one more.
        return Verdict(True, self.limit, self.limit - len(log), reset=log[0] + self.window - now)
