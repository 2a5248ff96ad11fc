"""Remembers the end of each window and what is left of it; windows that are over are swept out."""

from lab.policies.rate_limit.limiter import Verdict


class Window:
    def __init__(self, end, left):
        self.end = end
        self.left = left


class FixedWindow:
    def __init__(self, limit, window, max_clients=10_000):
        self.limit = limit
        self.window = window
        self.max_clients = max_clients
        self._open = {}

    def take(self, key, now):
        current = self._open.get(key)
        if current is None or current.end <= now:
            if len(self._open) >= self.max_clients:
                self._open = {k: w for k, w in self._open.items() if w.end > now}
            current = self._open[key] = Window(now + self.window, self.limit)
        wait = current.end - now
        if current.left == 0:
            return Verdict(admitted=False, limit=self.limit, remaining=0, reset=wait, retry_after=wait)
        current.left -= 1
        return Verdict(admitted=True, limit=self.limit, remaining=current.left, reset=wait)
