"""Keeps the moments at which each place becomes free again, sorted, and cuts off what is over."""

from bisect import bisect_right

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    def __init__(self, limit: int, window: float, max_clients: int = 1000):
        self.limit = limit
        self.window = window
        self.taken = {}

    def take(self, key, now):
        ends = self.taken.get(key, [])
        ends = ends[bisect_right(ends, now) :]
        self.taken[key] = ends
        if len(ends) == self.limit:
            return Verdict(False, self.limit, 0, ends[0] - now, ends[0] - now)
        ends.append(now + self.window)
        return Verdict(True, self.limit, self.limit - len(ends), ends[0] - now, 0)
