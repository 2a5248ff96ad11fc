from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings

from lab.policies.rate_limit import TokenBucket
from tests.policies.rate_limit.oracle import FixedWindowRateLimiter, MovingWindowRateLimiter, Oracle
from tests.policies.rate_limit.test_cores import admissions, gaps, limits, windows


def test_after_a_burst_the_rate_holds_where_the_windows_of_the_oracle_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A full bucket, then every second a request; a token comes back every 6 seconds.
    times = [1000.0] * 10 + [1000.5 + i for i in range(60)]
    limiter = TokenBucket(10, 60.0)
    mine = [limiter.take("client", t).admitted for t in times]
    assert mine[:10] == [True] * 10
    assert [i for i, admitted in enumerate(mine[10:]) if admitted] == [6, 12, 18, 24, 30, 36, 42, 48, 54]
    for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter):
        oracle = Oracle(strategy, 10, 60, monkeypatch)
        assert sum(oracle.take("client", t) for t in times) == 10  # none of them gives any back before 60


def test_almost_twice_the_limit_passes_in_one_window() -> None:
    limiter = TokenBucket(10, 60.0)
    assert sum(limiter.take("client", t).admitted for t in [0.0] * 20 + [i / 10 for i in range(600)]) == 19


@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_never_more_than_burst_and_rate_times_elapsed(limit: int, window: float, gaps: list[float]) -> None:
    times = admissions(TokenBucket(limit, window), gaps)
    for i, start in enumerate(times):
        for count, end in enumerate(times[i:], start=1):
            assert count <= limit + limit * (end - start) / window + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_rounding_costs_and_gives_no_request(seed: int) -> None:
    """Against the same bucket in exact fractions, over ten thousand requests."""
    draw = random.Random(seed)
    limit, window = draw.randint(1, 20), draw.randint(1, 90)
    limiter = TokenBucket(limit, float(window))
    tokens, now = Fraction(limit), 0
    for _ in range(10_000):
        gap = draw.choice((0, 0, 1, 2, 5))
        now += gap
        tokens = min(Fraction(limit), tokens + Fraction(gap * limit, window))
        verdict = limiter.take("client", float(now))
        assert verdict.admitted == (tokens >= 1)
        tokens -= verdict.admitted
        assert verdict.remaining == int(tokens)


def test_tokens_come_back_one_by_one() -> None:
    limiter = TokenBucket(2, 10.0)
    assert limiter.take("client", 0.0).reset == 5.0
    assert limiter.take("client", 1.0).reset == 4.0
    assert limiter.take("client", 2.0).retry_after == pytest.approx(3.0)
    assert limiter.take("client", 100.0).remaining == 1
