"""Exercise 05, token bucket: the worked solution."""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict

ALMOST = 1e-9
"""Tokens are fractions, and fractions are rounded: a bucket that is short of one by this much has one."""


class TokenBucket:
    """A bucket of `limit` tokens for each key, filled at `limit` tokens every `window` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.rate = limit / window
        # Key → the tokens in its bucket, and when that was so. No timer fills a bucket: what has come back
        # since is worked out when somebody asks.
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, now: float) -> Verdict:
        tokens, updated = self._buckets.get(key, (float(self.limit), now))
        tokens = min(self.limit, tokens + (now - updated) * self.rate)
        admitted = tokens >= 1 - ALMOST
        if admitted:
            tokens -= 1
        self._buckets[key] = (tokens, now)
        remaining = int(tokens + ALMOST)
        wait = (remaining + 1 - tokens) / self.rate
        return Verdict(admitted, self.limit, remaining, wait, 0.0 if admitted else wait)
