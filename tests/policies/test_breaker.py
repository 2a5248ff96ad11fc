"""The cores of the circuit breaker; the stage is in test_breaker_stage.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from lab.policies.breaker.consecutive import Consecutive
from lab.policies.breaker.failure_rate import FailureRate
from lab.policies.breaker.states import TABLE, Forced, StateBreaker

Make = Callable[[], StateBreaker]


def consecutive(**options: Any) -> Consecutive:
    return Consecutive(**{"failures": 3, "open_for": 10.0, "probes": 3} | options)


def failure_rate(**options: Any) -> FailureRate:
    defaults = {
        "window": 10,
        "minimum_calls": 4,
        "failure_percent": 50.0,
        "slow_call": 1.0,
        "slow_percent": 50.0,
    }
    return FailureRate(**defaults | {"open_for": 10.0, "probes": 3} | options)


def call(breaker: StateBreaker, now: float, *, ok: bool, duration: float = 0.01) -> None:
    permission = breaker.acquire(now)
    assert permission is not None
    (breaker.success if ok else breaker.failure)(permission, now, duration)


def trip(breaker: StateBreaker, now: float = 0.0) -> StateBreaker:
    while breaker.state(now) == "closed":
        call(breaker, now, ok=False)
    return breaker


BOTH = pytest.mark.parametrize("make", [consecutive, failure_rate])


# -- when the closed state ends ------------------------------------------------------------------------------


def test_consecutive_opens_at_the_nth_failure_in_a_row_and_not_before() -> None:
    breaker = consecutive(failures=3)
    for ok in (False, False, True, False, False):
        call(breaker, 0.0, ok=ok)
    assert breaker.state(0.0) == "closed"
    call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "open"
    assert breaker.reason == "3 failures in a row"


def test_failure_rate_judges_nothing_below_the_minimum_number_of_calls() -> None:
    breaker = failure_rate(minimum_calls=4)
    for _ in range(3):
        call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "closed"
    call(breaker, 0.0, ok=True)  # the fourth call: three of four failed
    assert breaker.state(0.0) == "open"
    assert breaker.reason == "3 of the last 4 calls failed"


def test_failure_rate_opens_when_the_percentage_is_reached_not_only_passed() -> None:
    breaker = failure_rate(minimum_calls=4, failure_percent=50)
    for ok in (True, True, False):
        call(breaker, 0.0, ok=ok)
    assert breaker.state(0.0) == "closed"
    call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "open"


def test_failure_rate_forgets_what_left_the_window() -> None:
    breaker = failure_rate(window=10, minimum_calls=10, failure_percent=50)
    for ok in [False] * 4 + [True] * 6:
        call(breaker, 0.0, ok=ok)
    for _ in range(4):  # each failure that enters pushes an old one out
        call(breaker, 0.0, ok=False)
        assert breaker.snapshot(0.0)["failures"] == 4
    assert breaker.state(0.0) == "closed"
    call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "open"


def test_a_time_based_window_forgets_calls_that_are_as_old_as_it() -> None:
    breaker = failure_rate(window=1000, window_seconds=60.0, minimum_calls=4)
    for _ in range(3):
        call(breaker, 0.0, ok=False)
    assert breaker.snapshot(59.9)["failures"] == 3
    assert breaker.snapshot(60.0)["failures"] == breaker.snapshot(60.0)["calls"] == 0
    for now in (61.0, 61.0, 62.0):
        call(breaker, now, ok=False)
    assert breaker.state(62.0) == "closed"  # six failures in all, three within a minute
    call(breaker, 120.9, ok=False)
    assert breaker.state(120.9) == "open"
    assert breaker.reason == "4 of the last 4 calls failed"


def test_a_time_based_window_holds_no_more_than_its_number_of_calls() -> None:
    breaker = failure_rate(window=10, window_seconds=60.0, minimum_calls=10)
    for n in range(100):
        call(breaker, n / 1000, ok=n % 10 != 0)
    assert breaker.snapshot(0.1)["calls"] == 10


def test_a_minimum_above_the_window_is_the_window() -> None:
    breaker = failure_rate(window=2, minimum_calls=50)
    call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "closed"
    call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "open"


def test_slow_successes_open_a_failure_rate_breaker() -> None:
    breaker = failure_rate(minimum_calls=4, slow_call=1.0, slow_percent=50)
    for duration in (1.0, 1.0, 1.5):  # exactly slow_call is not slow yet
        call(breaker, 0.0, ok=True, duration=duration)
    assert breaker.state(0.0) == "closed"
    assert breaker.snapshot(0.0) == {
        "calls": 3, "failures": 0, "slow_calls": 1, "probes_in_flight": 0, "probes_succeeded": 0,
    }  # fmt: skip
    call(breaker, 0.0, ok=True, duration=1.5)
    assert breaker.state(0.0) == "open"
    assert breaker.reason == "2 of the last 4 calls took longer than 1 s"


@settings(deadline=None)
@given(
    window=st.integers(1, 12),
    minimum=st.integers(1, 15),
    percent=st.integers(1, 100),
    seconds=st.none() | st.integers(1, 8),
    calls=st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.5, 2.0]), st.sampled_from([0, 1, 3])), max_size=60
    ),
)
def test_failure_rate_agrees_with_counting_the_list_by_hand(
    window: int, minimum: int, percent: int, seconds: int | None, calls: list[tuple[bool, float, int]]
) -> None:
    breaker = failure_rate(
        window=window,
        window_seconds=seconds,
        minimum_calls=minimum,
        failure_percent=percent,
        slow_percent=percent,
        slow_call=1.0,
    )
    seen: list[tuple[bool, float, int]] = []
    now = 0
    for failed, duration, pause in calls:
        now += pause
        call(breaker, now, ok=not failed, duration=duration)
        seen = [*seen, (failed, duration, now)][-window:]
        seen = [entry for entry in seen if seconds is None or now - entry[2] < seconds]
        share = max(sum(f for f, _, _ in seen), sum(d > 1.0 for _, d, _ in seen)) * 100 / len(seen)
        tripped = len(seen) >= min(minimum, window) and share >= percent
        assert breaker.state(now) == ("open" if tripped else "closed")
        if tripped:
            return
        assert breaker.snapshot(now)["calls"] == len(seen)


# -- open ----------------------------------------------------------------------------------------------------


@BOTH
def test_open_refuses_until_the_wait_is_over_and_says_how_long(make: Make) -> None:
    breaker = trip(make(), now=100.0)
    assert breaker.retry_after(100.0) == 10.0
    assert breaker.acquire(104.0) is None
    assert breaker.retry_after(104.0) == 6.0
    assert breaker.acquire(109.999) is None
    assert breaker.acquire(110.0) is not None
    assert breaker.state(110.0) == "half_open"
    assert breaker.reason == "was open for 10 s"


@BOTH
def test_looking_at_the_state_is_enough_to_see_the_wait_end(make: Make) -> None:
    breaker = trip(make())
    assert breaker.state(9.9) == "open"
    assert breaker.state(10.0) == "half_open"


# -- half-open -----------------------------------------------------------------------------------------------


@BOTH
def test_exactly_the_probes_of_a_thousand_calls_are_let_through(make: Make) -> None:
    breaker = trip(make())
    given = [breaker.acquire(10.0) for _ in range(1000)]
    assert [p is not None for p in given] == [True] * 3 + [False] * 997


@BOTH
def test_all_probes_must_succeed_before_it_closes(make: Make) -> None:
    breaker = trip(make())
    probes = [breaker.acquire(10.0) for _ in range(3)]
    for probe in probes[:2]:
        assert probe is not None
        breaker.success(probe, 11.0, 1.0)
        assert breaker.state(11.0) == "half_open"
        assert breaker.acquire(11.0) is None  # a success does not make room for a fourth
    assert breaker.snapshot(11.0)["probes_succeeded"] == 2
    assert probes[2] is not None
    breaker.success(probes[2], 11.0, 1.0)
    assert breaker.state(11.0) == "closed"
    assert breaker.reason == "3 of 3 probes succeeded"
    assert breaker.retry_after(11.0) == 0.0


@BOTH
def test_one_failed_probe_opens_it_again_for_the_whole_wait(make: Make) -> None:
    breaker = trip(make())
    probes = [breaker.acquire(10.0) for _ in range(3)]
    assert probes[0] is not None
    assert probes[1] is not None
    breaker.success(probes[0], 12.0, 1.0)
    breaker.failure(probes[1], 12.0, 1.0)
    assert breaker.state(12.0) == "open"
    assert breaker.reason == "a probe failed"
    assert breaker.retry_after(12.0) == 10.0


def test_a_slow_probe_is_a_failed_one_for_the_failure_rate_only() -> None:
    for breaker, expected in ((consecutive(probes=1), "closed"), (failure_rate(probes=1), "open")):
        trip(breaker)
        call(breaker, 10.0, ok=True, duration=5.0)
        assert breaker.state(10.0) == expected
    assert breaker.reason == "a probe was slow"


@BOTH
def test_a_cancelled_probe_gives_its_place_to_another(make: Make) -> None:
    breaker = trip(make())
    probes = [breaker.acquire(10.0) for _ in range(3)]
    assert breaker.acquire(10.0) is None
    breaker.release(probes[1], 11.0)  # type: ignore[arg-type]
    assert breaker.retry_after(11.0) == 0.0
    assert breaker.acquire(11.0) is not None
    assert breaker.acquire(11.0) is None


@BOTH
def test_a_cancelled_call_of_the_closed_state_says_nothing(make: Make) -> None:
    breaker = make()
    for _ in range(100):
        permission = breaker.acquire(0.0)
        assert permission is not None
        breaker.release(permission, 0.0)
    assert breaker.snapshot(0.0)["failures"] == 0
    assert breaker.state(0.0) == "closed"


@BOTH
def test_late_results_of_an_earlier_state_are_ignored(make: Make) -> None:
    breaker = make()
    late = [breaker.acquire(0.0) for _ in range(5)]
    trip(breaker)
    for permission in late[:2]:
        assert permission is not None
        breaker.success(permission, 1.0, 1.0)
        breaker.failure(permission, 1.0, 1.0)
    assert breaker.retry_after(1.0) == 9.0  # neither closed it nor prolonged the wait
    assert breaker.state(10.0) == "half_open"
    for permission in late[2:]:
        assert permission is not None
        breaker.success(permission, 10.0, 10.0)
        breaker.failure(permission, 10.0, 10.0)
        breaker.release(permission, 10.0)
    assert breaker.state(10.0) == "half_open"
    assert breaker.snapshot(10.0)["probes_in_flight"] == 0
    assert breaker.snapshot(10.0)["probes_succeeded"] == 0


@BOTH
def test_a_late_probe_of_an_earlier_half_open_state_is_ignored(make: Make) -> None:
    breaker = trip(make())
    first = [breaker.acquire(10.0) for _ in range(3)]
    breaker.failure(first[0], 10.0, 0.0)  # type: ignore[arg-type]
    assert breaker.state(20.0) == "half_open"
    second = [breaker.acquire(20.0) for _ in range(3)]
    for permission in first[1:]:
        breaker.release(permission, 20.0)  # type: ignore[arg-type]
        breaker.success(permission, 20.0, 10.0)  # type: ignore[arg-type]
    assert breaker.acquire(20.0) is None
    for permission in second:
        assert breaker.state(20.0) == "half_open"
        breaker.success(permission, 20.0, 0.0)  # type: ignore[arg-type]
    assert breaker.state(20.0) == "closed"


@BOTH
def test_probes_that_never_come_back_do_not_wedge_it(make: Make) -> None:
    breaker = trip(make())
    lost = [breaker.acquire(10.0), breaker.acquire(11.0), breaker.acquire(12.0)]
    assert breaker.retry_after(12.0) == 10.0
    assert breaker.acquire(21.9) is None
    fresh = [breaker.acquire(22.0) for _ in range(4)]
    assert [p is not None for p in fresh] == [True, True, True, False]
    # Released after all, the lost ones free no place: theirs are taken.
    breaker.release(lost[0], 22.0)  # type: ignore[arg-type]
    assert breaker.acquire(22.0) is None
    # Their verdict on the service is as good as any.
    breaker.success(lost[1], 22.0, 0.5)  # type: ignore[arg-type]
    assert breaker.snapshot(22.0) == breaker.snapshot(22.0) | {"probes_in_flight": 3, "probes_succeeded": 1}
    breaker.failure(lost[2], 22.0, 10.0)  # type: ignore[arg-type]
    assert breaker.state(22.0) == "open"


@BOTH
def test_counting_starts_afresh_after_recovery(make: Make) -> None:
    breaker = trip(make())
    for _ in range(3):
        call(breaker, 10.0, ok=True)
    assert breaker.state(10.0) == "closed"
    for _ in range(2):
        call(breaker, 10.0, ok=False)
    assert breaker.state(10.0) == "closed"
    trip(breaker, 10.0)


# -- taking over ---------------------------------------------------------------------------------------------


def test_adopt_keeps_the_counts_under_new_options() -> None:
    old = consecutive(failures=5)
    for _ in range(4):
        call(old, 0.0, ok=False)
    new = consecutive(failures=6)
    new.adopt(old)
    call(new, 0.0, ok=False)
    assert new.state(0.0) == "closed"
    call(new, 0.0, ok=False)
    assert new.state(0.0) == "open"


def test_adopt_keeps_the_newest_calls_that_fit_the_new_window() -> None:
    old = failure_rate(window=10, minimum_calls=10)
    for ok in (False, False, True, True, True):
        call(old, 0.0, ok=ok)
    new = failure_rate(window=4, minimum_calls=4)
    new.adopt(old)
    assert new.snapshot(0.0)["calls"] == 4
    assert new.snapshot(0.0)["failures"] == 1


@BOTH
def test_adopt_stays_open_until_the_old_moment(make: Make) -> None:
    new = make()
    new.adopt(trip(make(), now=5.0))
    assert new.state(5.0) == "open"
    assert new.retry_after(5.0) == 10.0
    assert new.reason != ""
    assert new.state(15.0) == "half_open"


@BOTH
def test_adopt_half_open_gives_the_places_of_the_probes_anew(make: Make) -> None:
    old = trip(make())
    for _ in range(3):
        assert old.acquire(10.0)
    new = make()
    new.adopt(old)
    assert new.state(10.0) == "half_open"
    assert [new.acquire(10.0) is not None for _ in range(4)] == [True, True, True, False]


# -- the rest ------------------------------------------------------------------------------------------------


def test_forced_breakers_do_not_listen() -> None:
    closed, opened = Forced("closed", 10.0), Forced("open", 10.0)
    permission = closed.acquire(0.0)
    assert permission is not None
    for _ in range(100):
        closed.failure(permission, 0.0, 0.0)
        closed.success(permission, 0.0, 0.0)
        closed.release(permission, 0.0)
    assert closed.state(0.0) == "closed"
    assert closed.retry_after(0.0) == 0.0
    assert opened.acquire(1e9) is None
    assert opened.state(1e9) == "open"
    assert opened.retry_after(1e9) == 10.0


def test_the_base_leaves_the_decision_to_its_subclass() -> None:
    breaker = StateBreaker(10.0, 1)
    permission = breaker.acquire(0.0)
    assert permission is not None
    with pytest.raises(NotImplementedError):
        breaker.failure(permission, 0.0, 0.0)
    with pytest.raises(NotImplementedError):
        breaker._forget()


def test_every_state_of_the_table_can_be_left_and_entered() -> None:
    assert {state for state, _ in TABLE} == {"closed", "open", "half_open"} == set(TABLE.values())


# -- any order of events, against a model --------------------------------------------------------------------

FAILURES, OPEN_FOR, PROBES = 3, 8.0, 2


class Model:
    """The breaker as one would explain it: plain lists, no generations, no counters kept in step."""

    def __init__(self) -> None:
        self.state = "closed"
        self.until = 0.0
        self.results: list[bool] = []  # of calls let through in this very state
        self.outstanding: list[int] = []  # their numbers; emptied where they count as lost
        self.mine: set[int] = set()  # every call let through in this very state

    def enter(self, state: str, now: float) -> None:
        self.__init__()  # type: ignore[misc]
        self.state, self.until = state, now + OPEN_FOR

    def look(self, now: float) -> None:
        if self.state == "open" and now >= self.until:
            self.enter("half_open", now)

    def would_admit(self, now: float) -> bool:
        if self.state == "half_open":
            return len(self.outstanding) + len(self.results) < PROBES or now >= self.until
        return self.state == "closed"

    def begin(self, number: int, now: float) -> bool:
        self.look(now)
        if not self.would_admit(now):
            return False
        if self.state == "half_open":
            if len(self.outstanding) + len(self.results) >= PROBES:
                self.outstanding.clear()
            self.until = now + OPEN_FOR
        self.outstanding.append(number)
        self.mine.add(number)
        return True

    def end(self, number: int, ok: bool | None, now: float) -> None:
        if number in self.outstanding:
            self.outstanding.remove(number)
        if number not in self.mine or ok is None:
            return
        self.results.append(ok)
        if self.state == "half_open":
            if not ok:
                self.enter("open", now)
            elif len(self.results) >= PROBES:
                self.enter("closed", now)
        elif self.results[-FAILURES:] == [False] * FAILURES:
            self.enter("open", now)


class BreakerMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Consecutive(failures=FAILURES, open_for=OPEN_FOR, probes=PROBES)
        self.model = Model()
        self.now = 0.0
        self.number = 0

    @rule(target=calls)
    def begin(self) -> tuple[int, Any]:
        self.number += 1
        permission = self.breaker.acquire(self.now)
        assert (permission is not None) == self.model.begin(self.number, self.now)
        return self.number, permission

    @rule(call=consumes(calls), ok=st.sampled_from([True, False, False, None]))
    def end(self, call: tuple[int, Any], ok: bool | None) -> None:
        number, permission = call
        if permission is None:
            return
        if ok is None:
            self.breaker.release(permission, self.now)
        elif ok:
            self.breaker.success(permission, self.now, 0.5)
        else:
            self.breaker.failure(permission, self.now, 0.5)
        self.model.end(number, ok, self.now)

    @rule()
    def fail_at_once(self) -> None:
        self.end(self.begin(), False)

    @rule(seconds=st.integers(1, 40).map(lambda quarters: quarters / 4))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.retry_after(self.now) > 0)
    @rule()
    def wait_as_told(self) -> None:
        self.now += self.breaker.retry_after(self.now)
        assert self.breaker.retry_after(self.now) == 0.0
        self.model.look(self.now)
        assert self.model.would_admit(self.now)

    @invariant()
    def agree(self) -> None:
        self.model.look(self.now)
        assert self.breaker.state(self.now) == self.model.state
        figures = self.breaker.snapshot(self.now)
        if self.model.state == "half_open":
            assert figures["probes_in_flight"] == len(self.model.outstanding) <= PROBES
            assert figures["probes_succeeded"] == len(self.model.results)
        waits = self.breaker.retry_after(self.now)
        assert (waits == 0.0) == self.model.would_admit(self.now)


BreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase
