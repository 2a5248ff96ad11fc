"""What all three algorithms owe: rows 46, 48, 49 and 51 of the wire table, without a wire."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.policies.rate_limit import ALGORITHMS

every = pytest.mark.parametrize("cls", ALGORITHMS.values(), ids=ALGORITHMS)

# Sixty-fourths of a second are exact in binary, so that a boundary is met to the bit.
gaps = st.lists(st.integers(0, 400).map(lambda n: n / 64), max_size=60)
limits = st.integers(1, 6)
windows = st.integers(1, 400).map(lambda n: n / 64)


def admissions(limiter: Any, gaps: list[float]) -> list[float]:
    now, times = 1000.0, []
    for gap in gaps:
        now += gap
        if limiter.take("client", now).admitted:
            times.append(now)
    return times


@every
def test_exactly_limit_requests_are_admitted_at_once(cls: Any) -> None:
    limiter = cls(10, 60.0)
    verdicts = [limiter.take("client", 5.0) for _ in range(1000)]
    assert [v.admitted for v in verdicts] == [True] * 10 + [False] * 990
    assert [v.remaining for v in verdicts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] + [0] * 990
    assert {v.limit for v in verdicts} == {10}


@every
def test_clients_do_not_share(cls: Any) -> None:
    limiter = cls(1, 60.0)
    assert [limiter.take(key, 0.0).admitted for key in ("a", "b", ("a", 1), "a")] == [True, True, True, False]


@every
@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_what_is_left_is_what_is_admitted(cls: Any, limit: int, window: float, gaps: list[float]) -> None:
    limiter = cls(limit, window)
    now, verdict = 1000.0, None
    for gap in gaps:
        now += gap
        verdict = limiter.take("client", now)
        assert verdict.admitted == (verdict.retry_after == 0)
        assert verdict.reset > 0
    if verdict is None:
        return
    left = [limiter.take("client", now).admitted for _ in range(limit + 1)]
    assert left == [True] * verdict.remaining + [False] * (limit + 1 - verdict.remaining)


@every
@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_a_refused_client_is_admitted_after_the_wait_and_not_before(
    cls: Any, limit: int, window: float, gaps: list[float]
) -> None:
    limiter = cls(limit, window)
    admissions(limiter, gaps)
    now = 1000.0 + sum(gaps)
    while (verdict := limiter.take("client", now)).admitted:
        pass
    assert 0 < verdict.retry_after <= window * (1 + 1e-9)  # but for rounding
    assert verdict.reset == verdict.retry_after
    assert not limiter.take("client", now + verdict.retry_after - 1e-5).admitted
    assert limiter.take("client", now + verdict.retry_after).admitted


@every
@settings(deadline=None)
@given(limit=st.integers(2, 6), window=windows, gaps=gaps)
def test_after_reset_there_is_at_least_one_more(
    cls: Any, limit: int, window: float, gaps: list[float]
) -> None:
    limiter = cls(limit, window)
    admissions(limiter, gaps)
    now = 1000.0 + sum(gaps)
    verdict = limiter.take("client", now)
    later = now + verdict.reset
    admitted = sum(limiter.take("client", later).admitted for _ in range(limit + 1))
    assert admitted >= verdict.remaining + 1


@every
@settings(deadline=None)
@given(limit=limits, window=windows, times=st.lists(st.integers(0, 2000).map(lambda n: n / 64), max_size=60))
def test_a_clock_set_back_admits_no_more_than_one_that_stands_still(
    cls: Any, limit: int, window: float, times: list[float]
) -> None:
    jumping, steady = cls(limit, window), cls(limit, window)
    latest = 0.0
    for time in times:
        latest = max(latest, time)
        assert jumping.take("client", time) == steady.take("client", latest)


@every
def test_a_clock_set_back_and_put_right_again_opens_no_window(cls: Any) -> None:
    limiter = cls(2, 60.0)
    limiter.take("old", 1000.0)
    assert [limiter.take("new", 0.0).admitted for _ in range(3)] == [True, True, False]
    assert not limiter.take("new", 1001.0).admitted
    assert limiter.take("new", 1001.0).retry_after <= 60


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("cls", "invented"),
    [*((cls, 50_000) for cls in ALGORITHMS.values()), (ALGORITHMS["sliding_window"], 1_000_000)],
)
def test_invented_clients_free_nobody_and_fill_nothing(cls: Any, invented: int) -> None:
    limiter = cls(10, 60.0, max_clients=1000)
    for _ in range(10):
        limiter.take("spent", 0.0)
    for _ in range(9):
        limiter.take("nearly", 0.0)
    refused = sum(not limiter.take(i, i * 5e-6).admitted for i in range(invented))
    assert refused == 0
    assert limiter.clients == 1000
    assert not limiter.take("spent", 5.0).admitted
    assert [limiter.take("nearly", 5.0).admitted for _ in range(2)] == [True, False]


@every
def test_invented_clients_take_no_more_memory_than_there_is_room_for(cls: Any) -> None:
    limiter = cls(10, 60.0, max_clients=100)
    for i in range(300):
        limiter.take(i, i * 1e-3)
    tracemalloc.start()
    try:
        for i in range(300, 5000):
            limiter.take(i, i * 1e-3)
        in_use, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert in_use < 100 * 2000  # all of what is remembered was made anew meanwhile


@every
def test_where_everybody_is_limited_a_newcomer_waits_for_the_first_to_be_free(cls: Any) -> None:
    limiter = cls(1, 60.0, max_clients=2)
    limiter.take("a", 0.0)
    limiter.take("b", 10.0)
    verdict = limiter.take("c", 20.0)
    assert (verdict.admitted, verdict.remaining, verdict.reset, verdict.retry_after) == (False, 0, 40.0, 40.0)
    assert limiter.take("c", 60.0).admitted
    assert not limiter.take("d", 60.0).admitted
    assert limiter.clients == 2


@every
@settings(deadline=None)
@given(limit=limits, window=windows, gaps=gaps)
def test_a_successor_with_the_same_limit_decides_alike(
    cls: Any, limit: int, window: float, gaps: list[float]
) -> None:
    first = cls(limit, window)
    admissions(first, gaps)
    second = cls(limit, window)
    second.adopt(first)
    now = 1000.0 + sum(gaps)
    for later in (0.0, window / 4, window / 2, window):
        for _ in range(3):
            mine, other = first.take("client", now + later), second.take("client", now + later)
            assert mine.admitted == other.admitted
            assert mine.remaining == other.remaining
            assert math.isclose(mine.reset, other.reset, abs_tol=1e-6)


@every
def test_a_successor_holds_its_own_limit_over_what_was_counted(cls: Any) -> None:
    old = cls(10, 60.0)
    for _ in range(6):
        old.take("client", 0.0)
    lower, higher = cls(3, 60.0), cls(20, 60.0)
    lower.adopt(old)
    higher.adopt(old)
    assert not lower.take("client", 1.0).admitted
    assert lower.take("client", 60.0).admitted
    assert sum(higher.take("client", 0.0).admitted for _ in range(50)) == 14
    # The old one is as it was: a swap that fails goes back to it.
    assert sum(old.take("client", 0.0).admitted for _ in range(50)) == 4


@every
def test_a_smaller_successor_keeps_those_who_used_most(cls: Any) -> None:
    old = cls(4, 60.0, max_clients=10)
    for client, requests in (("one", 1), ("spent", 4), ("two", 2), ("three", 3)):
        for _ in range(requests):
            old.take(client, 0.0)
    new = cls(4, 60.0, max_clients=2)
    new.adopt(old)
    assert new.clients == 2
    assert not new.take("spent", 0.0).admitted
    assert new.take("three", 0.0).remaining == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_drawing_in_the_docs_is_what_happens(name: str) -> None:
    limiter = ALGORITHMS[name](4, 10.0)
    marks = {now: "o" if limiter.take("client", float(now)).admitted else "x" for now in (0, *range(4, 21))}
    row = f"{name.replace('_', ' '):<16}" + " ".join(marks.get(now, " ") for now in range(21))
    page = Path(__file__).parents[3] / "docs/policies/rate_limit.md"
    assert row in page.read_text(encoding="utf-8").splitlines()
