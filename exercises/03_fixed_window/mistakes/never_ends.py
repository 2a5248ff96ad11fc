# rejected by: test_a_window_ends_after_its_length
# recognised as: boundary
# Counts and never begins a new window.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.used: dict[Hashable, int] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        used = self.used.get(key, 0)
        if used >= self.limit:
            return Verdict(False, self.limit, 0, self.window, self.window)
        self.used[key] = used + 1
        return Verdict(True, self.limit, self.limit - used - 1, self.window)
