"""The same as one number a key: the moment at which the bucket would be full (GCRA, ITU-T I.371)."""

import math

from lab.policies.rate_limit.limiter import Verdict


class TokenBucket:
    def __init__(self, limit, window):
        self.limit = limit
        self.interval = window / limit
        self.window = window
        self.full_at = {}

    def take(self, key, now):
        full_at = max(self.full_at.get(key, now), now)
        admit_from = full_at + self.interval - self.window
        if admit_from > now + 1e-9:
            return Verdict(False, self.limit, 0, admit_from - now, admit_from - now)
        full_at += self.interval
        self.full_at[key] = full_at
        tokens = (self.window - (full_at - now)) / self.interval
        remaining = max(0, math.floor(tokens + 1e-9))
        return Verdict(True, self.limit, remaining, (remaining + 1 - tokens) * self.interval, 0)
