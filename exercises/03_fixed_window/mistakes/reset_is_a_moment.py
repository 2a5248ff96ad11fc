# rejected by: test_reset_says_when_the_window_ends
# recognised as: reset
# Gives the moment of the window's end where the seconds until then are asked for.
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
            start, used = now, 0
        end = start + self.window
        if used >= self.limit:
            return Verdict(False, self.limit, 0, end, end - now)
        self.windows[key] = (start, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, end)
