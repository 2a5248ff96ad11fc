# rejected by: test_tokens_come_back_one_by_one
# recognised as: rate
# Fills the bucket when a whole window has passed, as a fixed window does.
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
        if now - updated >= self.window:
            tokens, updated = self.limit, now
        if tokens < 1:
            wait = (1 - tokens) / self.rate
            self.buckets[key] = (tokens, updated)
            return Verdict(False, self.limit, 0, wait, wait)
        tokens -= 1
        self.buckets[key] = (tokens, updated)
        remaining = int(tokens)
        return Verdict(True, self.limit, remaining, (remaining + 1 - tokens) / self.rate)
