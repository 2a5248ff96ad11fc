from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.policies.rate_limit import SlidingWindow
from lab.policies.rate_limit.sliding_window import EXACT
from tests.policies.rate_limit.oracle import MovingWindowRateLimiter, Oracle
from tests.policies.rate_limit.test_cores import admissions, gaps, limits, windows


def test_no_burst_at_a_boundary_and_the_oracle_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter, oracle = SlidingWindow(10, 60.0), Oracle(MovingWindowRateLimiter, 10, 60, monkeypatch)
    times = [1000.0] + [1059.9] * 30 + [1060.1] * 30
    mine = [limiter.take("client", t).admitted for t in times]
    assert mine == [oracle.take("client", t) for t in times]
    assert sum(mine[:31]) == 10
    assert sum(mine[31:]) == 1  # only the first has left the window


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_agrees_on_random_traffic(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    limiter, oracle = SlidingWindow(5, 10.0), Oracle(MovingWindowRateLimiter, 5, 10, monkeypatch)
    now = 1000.0
    for _ in range(500):
        now += draw.expovariate(1.0)
        client = draw.choice("ab")
        assert limiter.take(client, now).admitted == oracle.take(client, now)


@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_never_more_than_the_limit_in_any_window(limit: int, window: float, gaps: list[float]) -> None:
    times = admissions(SlidingWindow(limit, window), gaps)
    for start in times:
        assert sum(start <= t < start + window for t in times) <= limit


@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_all_that_the_limit_allows_is_admitted(limit: int, window: float, gaps: list[float]) -> None:
    limiter, now, times = SlidingWindow(limit, window), 1000.0, []
    for gap in gaps:
        now += gap
        expected = sum(now < t + window for t in times) < limit
        assert limiter.take("client", now).admitted == expected
        if expected:
            times.append(now)


def test_each_request_comes_back_a_window_after_it_was_admitted() -> None:
    limiter = SlidingWindow(2, 10.0)
    assert limiter.take("client", 0.0).reset == 10.0
    assert limiter.take("client", 4.0).reset == 6.0
    assert limiter.take("client", 5.0).retry_after == 5.0
    assert limiter.take("client", 10.0).reset == 4.0


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=300))
def test_a_large_limit_is_never_exceeded_either(gaps: list[int]) -> None:
    # Bursts of 100 at multiples of a fifth of the width that shares an entry.
    limiter, now, times = SlidingWindow(2000, 10.0), 0.0, []
    for gap in gaps:
        now += gap * 0.002
        admitted = sum(limiter.take("client", now).admitted for _ in range(100))
        times.append((now, admitted))
        assert sum(n for t, n in times if now < t + 10.0) <= 2000


def test_a_large_limit_takes_no_more_memory_than_a_thousand_entries() -> None:
    limiter = SlidingWindow(100_000, 60.0)
    for i in range(100_000):
        assert limiter.take("client", i * 0.0005).admitted
    assert not limiter.take("client", 50.0).admitted
    log = limiter._clients.get("client")
    assert log is not None
    assert len(log.entries) <= EXACT + 1
    # The allowance comes back a thousandth of the window late at most.
    verdict = limiter.take("client", 50.0)
    assert 10.0 <= verdict.retry_after < 10.07
    assert limiter.take("client", 50.0 + verdict.retry_after).admitted


def test_a_successor_with_a_lower_limit_waits_for_the_newest_requests_to_leave() -> None:
    old = SlidingWindow(5, 10.0)
    for t in (0.0, 1.0, 2.0, 3.0, 4.0):
        old.take("client", t)
    new = SlidingWindow(2, 10.0)
    new.adopt(old)
    assert new.take("client", 5.0).retry_after == 8.0
    assert not new.take("client", 12.9).admitted
    assert new.take("client", 13.0).admitted
