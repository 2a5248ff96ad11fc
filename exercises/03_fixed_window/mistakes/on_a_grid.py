# rejected by: test_a_window_begins_with_the_first_request_and_stays
# recognised as: aligned
# Windows lie at multiples of their length, the same for all clients.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.counts: dict[Hashable, tuple[int, int]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        number = int(now // self.window)
        last, used = self.counts.get(key, (number, 0))
        if number != last:
            used = 0
        left = (number + 1) * self.window - now
        if used >= self.limit:
            return Verdict(False, self.limit, 0, left, left)
        self.counts[key] = (number, used + 1)
        return Verdict(True, self.limit, self.limit - used - 1, left)
