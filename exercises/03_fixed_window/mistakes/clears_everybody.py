# rejected by: test_a_window_that_ends_is_one_clients_own
# recognised as: clears-all
# Empties the whole table when one window is over.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        start, used = self.windows.get(key, (now, 0))
        if now >= start + self.window:
            self.windows.clear()
            start, used = now, 0
        left = start + self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
