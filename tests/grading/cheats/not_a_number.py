"""Answers with numbers that compare as nobody expects: NaN, infinities, minus zero, a million digits."""

import math

from lab.policies.rate_limit.limiter import Verdict

ODD = [math.nan, math.inf, -math.inf, -0.0, 10**5000, -(10**5000), 1e308 * 10, True, 2**63, 1.0]


class FixedWindow:
    def __init__(self, limit, window):
        self.count = 0

    def take(self, key, now):
        self.count += 1
        odd = ODD[self.count % len(ODD)]
        return Verdict(odd, odd, odd, odd, odd)
