# rejected by: test_a_full_bucket_lets_a_burst_through
# recognised as: starts-empty
# A new bucket holds nothing.
from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class TokenBucket:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.rate = limit / window
        self.buckets = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        tokens, updated = self.buckets.get(key, (0, now))
        tokens = min(self.limit, tokens + (now - updated) * self.rate)
        if tokens < 1:
            wait = (1 - tokens) / self.rate
            self.buckets[key] = (tokens, now)
            return Verdict(False, self.limit, 0, wait, wait)
        tokens -= 1
        self.buckets[key] = (tokens, now)
        remaining = int(tokens)
        return Verdict(True, self.limit, remaining, (remaining + 1 - tokens) / self.rate)
