"""The checks of exercise 10."""

from __future__ import annotations

import random
from typing import Any

from lab.exercises.kit import Ref, Student, Thing, check, expect, expect_that

OPENED = 100.0
"""When the breakers of `opened` open."""
DISGUISE = {
    "Consecutive": {"open_for": "span"},
    "acquire": ("moment",),
    "success": ("", "moment", "span"),
    "failure": ("", "moment", "span"),
    "release": ("", "moment"),
    "state": ("moment",),
    "retry_after": ("moment",),
    "returns": {"retry_after": "span"},
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def breaker(student: Student, failures: int = 3, open_for: float = 10.0, probes: int = 2) -> Thing:
    made = student.new("Consecutive", failures=failures, open_for=open_for, probes=probes)
    return made.answering(
        acquire=Ref | None, success=None, failure=None, release=None, state=str, retry_after=float
    )


def permission(some: Thing, now: float, when: str) -> Any:
    """A permission, which must be given here."""
    given = some.acquire(now)
    expect_that(given is not None, f"a permission {when}", "None: the call is refused")
    return given


def fail(some: Thing, now: float, times: int = 1) -> None:
    for _ in range(times):
        some.failure(permission(some, now, "while the breaker is closed"), now, 0.25)


def opened(student: Student, failures: int = 3, open_for: float = 10.0, probes: int = 2) -> Thing:
    """A breaker that opened at `OPENED`."""
    some = breaker(student, failures, open_for, probes)
    fail(some, OPENED, failures)
    return some


def close(some: Thing, now: float, probes: int = 2) -> None:
    """Let all probes of a half-open breaker succeed."""
    given = [permission(some, now, "for a probe") for _ in range(probes)]
    for each in given:
        some.success(each, now, 0.25)


@check(
    points=2,
    why="As long as the service is well, nobody must notice that there is a breaker.",
    look="the state that `__init__` begins with, and what `acquire` gives in it",
)
def test_a_new_breaker_is_closed_and_lets_every_call_through(student: Student) -> None:
    some = breaker(student)
    expect(some.state(0.0), "closed", of="the state of a new breaker")
    for _ in range(20):
        some.success(permission(some, 1.0, "while the breaker is closed"), 1.0, 0.25)
    together = [permission(some, 2.0, "for each of 20 calls at the same time") for _ in range(20)]
    expect(len(together), 20, of="calls let through at the same time")
    expect(some.retry_after(2.0), 0.0, of="retry_after while it is closed")


@check(
    points=1,
    why="Each service has a breaker of its own; one that is down must not take the others along.",
    after=("test_a_new_breaker_is_closed_and_lets_every_call_through",),
    look="where the figures live: in the object (`self.…` in `__init__`), or in the class, for all objects",
    mistake="class-attribute",
)
def test_two_breakers_share_nothing(student: Student) -> None:
    first, second = breaker(student, failures=1), breaker(student, failures=1)
    fail(first, 50.0)
    expect(second.state(50.0), "closed", of="the state of a second breaker, whose service is well")
    permission(second, 50.0, "from the second breaker")


@check(
    points=3,
    why="A breaker that never opens is only a slower way to call.",
    after=("test_a_new_breaker_is_closed_and_lets_every_call_through",),
    look="where failures in a row are counted, and the comparison with `failures`",
    mistake="threshold",
)
def test_it_opens_after_so_many_failures_in_a_row(student: Student) -> None:
    for failures in (3, 1, 5):
        some = breaker(student, failures=failures)
        fail(some, 50.0, failures - 1)
        expect(
            some.state(50.0),
            "closed",
            of=f"the state after {failures - 1} failures, with failures={failures}",
        )
        fail(some, 50.0)
        expect(some.state(50.0), "open", of=f"the state after {failures} failures, with failures={failures}")


@check(
    points=2,
    why="The refusal is the point: it costs the service nothing and the client no time.",
    after=("test_it_opens_after_so_many_failures_in_a_row",),
    look="what `acquire` gives while the breaker is open",
    mistake="open-lets-through",
)
def test_an_open_breaker_refuses_every_call(student: Student) -> None:
    some = opened(student)
    given = [some.acquire(OPENED + second) is not None for second in (0.0, 0.5, 5.0, 9.0)]
    expect(given, [False] * 4, of="calls let through while it is open")
    expect(some.state(OPENED + 9.0), "open", of="the state after those")


@check(
    points=2,
    why="A service that fails now and then is not a service that is down.",
    after=("test_it_opens_after_so_many_failures_in_a_row",),
    look="what a success does to the count of failures",
    mistake="not-in-a-row",
)
def test_a_success_starts_the_count_again(student: Student) -> None:
    some = breaker(student, failures=3)
    for _ in range(4):
        fail(some, 50.0, 2)
        some.success(permission(some, 51.0, "while the breaker is closed"), 51.0, 0.25)
    expect(some.state(51.0), "closed", of="the state after twice failed, once succeeded, four times over")
    fail(some, 52.0, 3)
    expect(some.state(52.0), "open", of="the state after three more failures")


@check(
    points=3,
    why="A breaker that opens for good is an outage of its own making.",
    after=("test_an_open_breaker_refuses_every_call",),
    look="the moment at which the wait is over, and who notices it",
    mistake="wait",
)
def test_it_is_half_open_when_the_wait_is_over(student: Student) -> None:
    some = opened(student, open_for=10.0)
    expect(some.state(OPENED + 9.75), "open", of="the state a quarter of a second before the wait is over")
    expect(some.state(OPENED + 10.0), "half_open", of="the state at the moment at which the wait is over")
    asked = opened(student, open_for=10.0)
    expect_that(
        asked.acquire(OPENED + 10.0) is not None,
        "a permission at that moment, from a breaker whose state nobody asked for before",
        "None: the call is refused",
        look="`acquire`: it must find out itself that the wait is over",
    )
    expect(asked.state(OPENED + 10.0), "half_open", of="its state then")
    knocked = opened(student, open_for=10.0)
    for second in range(1, 10):
        expect(knocked.acquire(OPENED + second), None, of=f"the permission {second} s after it opened")
    expect(
        knocked.state(OPENED + 10.0),
        "half_open",
        of="the state when the wait is over, after nine refused calls",
        look="what a refused call changes: nothing",
        mistake="prolonged",
    )


@check(
    points=3,
    why="A service that is just coming back is killed by a thousand calls at once, not by two.",
    after=("test_it_is_half_open_when_the_wait_is_over",),
    look="how many probes are on their way, and how many may be",
    mistake="probes",
)
def test_half_open_lets_exactly_the_probes_through(student: Student) -> None:
    for probes in (2, 1, 4):
        some = opened(student, probes=probes)
        given = [some.acquire(OPENED + 10.0) is not None for _ in range(50)]
        expect(sum(given), probes, of=f"how many of 50 calls are let through half-open, with probes={probes}")
        expect(some.state(OPENED + 10.0), "half_open", of="the state while they are on their way")


@check(
    points=3,
    why="One lucky answer does not make a service healthy.",
    after=("test_half_open_lets_exactly_the_probes_through",),
    look="what a success does half-open: how many have to be there before it closes?",
    mistake="closing",
)
def test_it_closes_when_all_probes_have_succeeded(student: Student) -> None:
    some = opened(student, probes=3)
    first, second, third = (permission(some, OPENED + 11.0, "for a probe") for _ in range(3))
    some.success(first, OPENED + 11.5, 0.5)
    expect(some.state(OPENED + 11.5), "half_open", of="the state after one of three probes has succeeded")
    expect(
        some.acquire(OPENED + 11.5),
        None,
        of="the permission for a fourth call, two probes being on their way",
        look="a probe that succeeded keeps its place: `probes` calls are let through altogether",
        mistake="probes",
    )
    some.success(second, OPENED + 11.5, 0.5)
    expect(some.state(OPENED + 11.5), "half_open", of="the state after two of three probes have succeeded")
    some.success(third, OPENED + 12.0, 1.0)
    expect(some.state(OPENED + 12.0), "closed", of="the state after all three have succeeded")
    given = [some.acquire(OPENED + 12.0) is not None for _ in range(10)]
    expect(given, [True] * 10, of="calls let through when it is closed again")


@check(
    points=3,
    why="The service said that it is not well; it gets its rest again, the whole of it.",
    after=("test_half_open_lets_exactly_the_probes_through",),
    look="what a failure does half-open: it needs no second one, and the wait begins anew",
    mistake="failed-probe",
)
def test_one_failed_probe_opens_it_again(student: Student) -> None:
    some = opened(student, failures=3, open_for=10.0, probes=3)
    first, second = (permission(some, OPENED + 11.0, "for a probe") for _ in range(2))
    some.success(first, OPENED + 12.0, 1.0)
    some.failure(second, OPENED + 13.0, 2.0)
    expect(some.state(OPENED + 13.0), "open", of="the state after one probe has failed")
    expect(some.acquire(OPENED + 22.75), None, of="the permission 9.75 s later, with open_for=10.0")
    expect(some.state(OPENED + 23.0), "half_open", of="the state 10 s after the probe failed")
    again = [some.acquire(OPENED + 23.0) is not None for _ in range(9)]
    expect(sum(again), 3, of="how many of 9 calls are let through then, with probes=3")


@check(
    points=1,
    why="What was before the outage says nothing about the service after it.",
    after=("test_it_closes_when_all_probes_have_succeeded",),
    look="what is set back to zero when the state changes",
    mistake="not-reset",
)
def test_it_starts_from_zero_when_it_closes(student: Student) -> None:
    some = opened(student, failures=3, probes=2)
    close(some, OPENED + 10.0)
    fail(some, OPENED + 11.0, 2)
    expect(
        some.state(OPENED + 11.0), "closed", of="the state, closed again, after 2 failures with failures=3"
    )
    fail(some, OPENED + 12.0)
    expect(some.state(OPENED + 12.0), "open", of="the state after the third failure")
    given = [some.acquire(OPENED + 22.0) is not None for _ in range(9)]
    expect(
        sum(given), 2, of="how many of 9 calls are let through in the second half-open state, with probes=2"
    )


@check(
    points=2,
    why="A client that goes away is no verdict; but its probe must not block the others for ever.",
    after=("test_half_open_lets_exactly_the_probes_through",),
    look="`release`: the place of a probe is free again, and nothing is counted",
    mistake="release",
)
def test_a_released_probe_makes_room_for_another(student: Student) -> None:
    some = opened(student, probes=2)
    first, _ = (permission(some, OPENED + 10.0, "for a probe") for _ in range(2))
    some.release(first, OPENED + 11.0)
    expect(some.state(OPENED + 11.0), "half_open", of="the state after a probe was released")
    given = [some.acquire(OPENED + 11.0) is not None for _ in range(5)]
    expect(sum(given), 1, of="how many of 5 calls take the place of the released probe")

    closed = breaker(student, failures=3)
    fail(closed, 50.0, 2)
    for _ in range(3):
        closed.release(permission(closed, 50.0, "while the breaker is closed"), 50.0)
    expect(
        closed.state(50.0), "closed", of="the state after 2 failures and 3 released calls, with failures=3"
    )
    fail(closed, 50.0)
    expect(
        closed.state(50.0), "open", of="the state after one more failure: the released calls did not reset it"
    )

    mixed = breaker(student, failures=1, probes=2)
    mixed.release(permission(mixed, 0.0, "while the breaker is closed"), 0.0)
    fail(mixed, OPENED)
    given = [mixed.acquire(OPENED + 10.0) is not None for _ in range(5)]
    expect(sum(given), 2, of="how many probes are let through, after a call was released while it was closed")


@check(
    points=3,
    why="A call can begin in one state and end in another; what it says is about a time that is over.",
    after=("test_it_closes_when_all_probes_have_succeeded", "test_one_failed_probe_opens_it_again"),
    look="what the permission tells you: was it given in the state that the breaker is in now?",
    mistake="late",
)
def test_a_late_result_of_an_older_state_changes_nothing(student: Student) -> None:
    some = breaker(student, failures=2, open_for=10.0, probes=2)
    late = [permission(some, OPENED, "while the breaker is closed") for _ in range(7)]
    some.failure(late[0], OPENED, 0.25)
    some.failure(late[1], OPENED, 0.25)
    expect(some.state(OPENED), "open", of="the state after two failures")
    some.failure(late[2], OPENED + 4.0, 4.0)
    some.success(late[3], OPENED + 5.0, 5.0)
    expect(some.state(OPENED + 5.0), "open", of="the state after a late failure and a late success")
    expect(
        some.state(OPENED + 10.0),
        "half_open",
        of="the state when the wait is over, a late failure having come meanwhile",
    )
    first = permission(some, OPENED + 10.0, "for a probe")
    some.failure(late[4], OPENED + 11.0, 11.0)
    expect(
        some.state(OPENED + 11.0),
        "half_open",
        of="the state after the failure of a call from before it opened",
    )
    some.success(late[5], OPENED + 11.0, 11.0)
    some.success(first, OPENED + 11.0, 1.0)
    expect(
        some.state(OPENED + 11.0),
        "half_open",
        of="the state after the success of such a call and of one probe",
    )
    second = permission(some, OPENED + 12.0, "for the second probe")
    some.release(late[6], OPENED + 12.0)
    expect(
        some.acquire(OPENED + 12.0),
        None,
        of="the permission for a third probe, after a call from before was released",
    )
    some.success(second, OPENED + 12.0, 0.25)
    expect(some.state(OPENED + 12.0), "closed", of="the state after both probes have succeeded")


@check(
    points=1,
    why="Retry-After is only worth having if a call that comes back then is let through.",
    after=("test_it_is_half_open_when_the_wait_is_over",),
    look="`retry_after`: a duration from `now`, and 0.0 where a call would be let through",
    mistake="retry-after",
)
def test_retry_after_says_when_a_call_is_let_through(student: Student) -> None:
    some = opened(student, open_for=10.0, probes=1)
    waits = [some.retry_after(OPENED + second) for second in (0.0, 2.5, 9.75)]
    expect(waits, [10.0, 7.5, 0.25], of="retry_after when opened, 2.5 s and 9.75 s later", within=1e-6)
    expect(some.retry_after(OPENED + 10.0), 0.0, of="retry_after when the wait is over")
    expect(some.retry_after(OPENED + 30.0), 0.0, of="retry_after long after the wait is over")
    probe = permission(some, OPENED + 30.0, "for a probe")
    wait = some.retry_after(OPENED + 30.0)
    expect_that(
        0 < wait <= 10.0,
        "retry_after with the only probe on its way: more than 0, and not more than open_for",
        wait,
    )
    some.release(probe, OPENED + 31.0)
    expect(some.retry_after(OPENED + 31.0), 0.0, of="retry_after when the place is free again")


@check(
    points=1,
    why="The gateway gives a class the options that its constructor names; a test may give it none.",
    after=("test_it_closes_when_all_probes_have_succeeded",),
    look="the constructor's defaults: failures 5, open_for 10 s, probes 3",
)
def test_it_has_the_defaults_of_the_configuration(student: Student) -> None:
    some = student.new("Consecutive").answering(acquire=Ref | None, state=str, retry_after=float)
    fail(some, OPENED, 4)
    expect(some.state(OPENED), "closed", of="the state after 4 failures")
    fail(some, OPENED)
    expect(some.state(OPENED), "open", of="the state after 5 failures")
    expect(some.retry_after(OPENED), 10.0, of="retry_after", within=1e-6)
    given = [some.acquire(OPENED + 10.0) is not None for _ in range(9)]
    expect(sum(given), 3, of="how many of 9 calls are let through half-open")


@check(
    points=1,
    why="Two half-open states can follow each other, and a probe of the first can end in the second.",
    hidden=True,
    after=("test_a_late_result_of_an_older_state_changes_nothing",),
    look="a permission that says `half_open` and not which one",
    mistake="late",
)
def test_a_late_probe_of_an_earlier_half_open_state_changes_nothing(student: Student) -> None:
    some = opened(student, open_for=10.0, probes=3)
    failing, late, later = (permission(some, OPENED + 10.0, "for a probe") for _ in range(3))
    some.failure(failing, OPENED + 11.0, 1.0)
    probes = [permission(some, OPENED + 21.0, "for a probe") for _ in range(3)]
    some.failure(late, OPENED + 22.0, 12.0)
    expect(
        some.state(OPENED + 22.0), "half_open", of="the state after the failure of a probe of the time before"
    )
    some.success(later, OPENED + 22.0, 12.0)
    some.success(probes[0], OPENED + 22.0, 1.0)
    some.success(probes[1], OPENED + 22.0, 1.0)
    expect(some.state(OPENED + 22.0), "half_open", of="the state after two probes and one of the time before")
    some.success(probes[2], OPENED + 22.0, 1.0)
    expect(some.state(OPENED + 22.0), "closed", of="the state after all three probes")


@check(
    points=2,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_a_late_result_of_an_older_state_changes_nothing",),
    look="many calls under way, with results of every kind in any order",
)
def test_any_traffic(student: Student) -> None:
    for round_ in range(6):
        traffic(student, random.Random(f"{student.seed} {round_}"))


def traffic(student: Student, numbers: random.Random) -> None:
    """Some hundred steps, held against a model that keeps the calls of the present state in lists."""
    failures, probes = numbers.randint(1, 4), numbers.randint(1, 4)
    some = breaker(student, failures, 8.0, probes)
    state, run, until, good = "closed", 0, 0.0, 0
    present: list[Any] = []  # calls under way that were let through in the present state
    old: list[Any] = []
    now = 1000.0

    def enter(new: str) -> None:
        nonlocal state, run, good
        state, run, good = new, 0, 0
        old.extend(present)
        present.clear()

    for _ in range(250):
        now += numbers.choice([0.0, 0.0, 0.25, 1.0, 4.0])
        if state == "open" and now >= until:
            enter("half_open")
        step = numbers.choice(["call", "call", "call", "success", "failure", "failure", "release", "old"])
        if step == "call":
            free = state == "closed" or (state == "half_open" and len(present) + good < probes)
            given = some.acquire(now)
            expect(given is not None, free, of=f"a call is let through at {now:g}, {state}")
            if given is not None:
                present.append(given)
        elif step == "old" and old:
            result = numbers.choice(["success", "failure", "release"])
            late = old.pop(numbers.randrange(len(old)))
            some.call(result, late, now, *([] if result == "release" else [1.0]))
        elif step != "old" and present:
            mine = present.pop(numbers.randrange(len(present)))
            some.call(step, mine, now, *([] if step == "release" else [1.0]))
            if step == "success":
                run, good = 0, good + 1
                if state == "half_open" and good == probes:
                    enter("closed")
            elif step == "failure":
                run += 1
                if state == "half_open" or run == failures:
                    until = now + 8.0
                    enter("open")
        if numbers.random() < 0.5:
            expect(some.state(now), state, of=f"the state at {now:g}")
