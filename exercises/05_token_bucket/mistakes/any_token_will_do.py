# rejected by: test_tokens_come_back_one_by_one
# recognised as: not-a-whole-token
# Admits where there is any fraction of a token.
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
        if tokens <= 0:
            wait = max(0.0, 1 - tokens) / self.rate
            self.buckets[key] = (tokens, now)
            return Verdict(False, self.limit, 0, wait, wait)
        tokens = max(0, tokens - 1)
        self.buckets[key] = (tokens, now)
        remaining = int(tokens)
        return Verdict(True, self.limit, remaining, (remaining + 1 - tokens) / self.rate)
