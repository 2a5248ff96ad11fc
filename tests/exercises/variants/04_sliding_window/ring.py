"""A ring of the last `limit` admissions: the request fits if the one `limit` before it is a window old."""

from lab.policies.rate_limit.limiter import Verdict


class Ring:
    def __init__(self, size):
        self.times = [float("-inf")] * size
        self.next = 0


class SlidingWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window
        self.rings = {}

    def take(self, key, now):
        ring = self.rings.setdefault(key, Ring(self.limit))
        oldest = ring.times[ring.next]
        admitted = now - oldest >= self.window
        if admitted:
            ring.times[ring.next] = now
            ring.next = (ring.next + 1) % self.limit
        inside = [time for time in ring.times if now - time < self.window]
        wait = min(inside) + self.window - now
        return Verdict(admitted, self.limit, self.limit - len(inside), wait, 0.0 if admitted else wait)
