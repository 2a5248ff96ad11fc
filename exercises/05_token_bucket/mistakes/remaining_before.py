# rejected by: test_remaining_is_what_is_left
# recognised as: remaining
# Tells what was there before this request took its token.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class TokenBucket:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.rate = limit / window
        self.buckets = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        tokens, updated = self.buckets.get(key, (self.limit, now))
        tokens = min(self.limit, tokens + (now - updated) * self.rate)
        if tokens < 1:
            wait = (1 - tokens) / self.rate
            self.buckets[key] = (tokens, now)
            return Verdict(False, self.limit, 0, wait, wait)
        before = int(tokens)
        tokens -= 1
        self.buckets[key] = (tokens, now)
        remaining = int(tokens)
        return Verdict(True, self.limit, before, (remaining + 1 - tokens) / self.rate)
