from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

from lab.policies.rate_limit import FixedWindow
from tests.policies.rate_limit.oracle import FixedWindowRateLimiter, Oracle
from tests.policies.rate_limit.test_cores import admissions, gaps, limits, windows


def test_twice_the_limit_passes_around_a_boundary_and_the_oracle_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter, oracle = FixedWindow(10, 60.0), Oracle(FixedWindowRateLimiter, 10, 60, monkeypatch)
    times = [1000.0] + [1059.9] * 30 + [1060.1] * 30
    mine = [limiter.take("client", t).admitted for t in times]
    assert mine == [oracle.take("client", t) for t in times]
    assert sum(mine) == 20  # all within 60.1 seconds
    assert sum(mine[1:]) == 19  # within 0.2


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_agrees_on_random_traffic(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    limiter, oracle = FixedWindow(5, 10.0), Oracle(FixedWindowRateLimiter, 5, 10, monkeypatch)
    now = 1000.0
    for _ in range(500):
        now += draw.expovariate(1.0)
        client = draw.choice("ab")
        assert limiter.take(client, now).admitted == oracle.take(client, now)


@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_at_most_twice_the_limit_in_any_window(limit: int, window: float, gaps: list[float]) -> None:
    times = admissions(FixedWindow(limit, window), gaps)
    for start in times:
        assert sum(start <= t < start + window for t in times) <= 2 * limit - (limit > 0)


def test_a_window_starts_with_a_clients_first_request() -> None:
    limiter = FixedWindow(2, 10.0)
    assert limiter.take("client", 7.0).reset == 10.0
    assert limiter.take("client", 16.0).reset == 1.0
    assert limiter.take("client", 16.5).retry_after == 0.5
    assert limiter.take("client", 25.0).reset == 10.0
