"""Exact arithmetic: nothing is ever rounded; a refusal does not touch the bucket."""

from fractions import Fraction

from lab.policies.rate_limit.limiter import Verdict


class Bucket:
    def __init__(self, size, rate, now):
        self.size, self.rate = size, rate
        self.tokens, self.at = Fraction(size), now

    def level(self, now):
        return min(self.size, self.tokens + (now - self.at) * self.rate)


class TokenBucket:
    def __init__(self, limit: int, window: float):
        self.limit = limit
        self.rate = Fraction(limit) / Fraction(window)
        self.buckets = {}

    def take(self, key, now):
        moment = Fraction(now)
        bucket = self.buckets.setdefault(key, Bucket(self.limit, self.rate, moment))
        level = bucket.level(moment)
        admitted = level >= 1
        if admitted:
            level -= 1
            bucket.tokens, bucket.at = level, moment
        whole = level.numerator // level.denominator
        wait = float((whole + 1 - level) / self.rate)
        return Verdict(admitted, self.limit, whole, wait, 0.0 if admitted else wait)
