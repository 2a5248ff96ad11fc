"""The checks of exercise 04."""

from __future__ import annotations

import random

from lab.exercises.kit import Shape, Student, Thing, check, expect, expect_that

VERDICT = Shape("Verdict", admitted=bool, limit=int, remaining=int, reset=float, retry_after=float)
DISGUISE = {
    "SlidingWindow": {"window": "span"},
    "take": ("name", "moment"),
    "answers": {"reset": "span", "retry_after": "span"},
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def limiter(student: Student, limit: int = 3, window: float = 10.0) -> Thing:
    return student.new("SlidingWindow", limit=limit, window=window).answering(take=VERDICT)


@check(
    points=2,
    why="Up to the limit, a client must not notice that there is one.",
    look="what `take` answers for a key whose log is empty",
)
def test_requests_up_to_the_limit_are_admitted(student: Student) -> None:
    three = limiter(student, limit=3)
    admitted = [three.take("ada", now).admitted for now in (0.0, 0.0, 4.0)]
    expect(admitted, [True, True, True], of="admitted, with a limit of 3")
    more = [three.take("ada", 4.0).admitted for _ in range(20)]
    expect_that(not all(more), "a limit: of 20 more requests at once not all are admitted", "all are")


@check(
    points=3,
    why="The limit is the promise that the gateway makes to the service behind it.",
    after=("test_requests_up_to_the_limit_are_admitted",),
    look="the comparison of the log's length with the limit",
    mistake="off-by-one",
)
def test_what_comes_after_the_limit_is_refused(student: Student) -> None:
    for key, limit in (("ada", 3), ("grace", 1), ("edsger", 7)):
        some = limiter(student, limit=limit)
        admitted = [some.take(key, 0.5).admitted for _ in range(limit + 5)]
        expect(sum(admitted), limit, of=f"how many of {limit + 5} are admitted, with a limit of {limit}")
        expect(admitted, sorted(admitted, reverse=True), of="the admitted ones come first")


@check(
    points=2,
    why="One client that asks too often must not lock all the others out.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="where the log is kept: is there one, or one for each key and each limiter?",
    mistake="shared-log",
)
def test_each_client_has_a_log_of_its_own(student: Student) -> None:
    three = limiter(student, limit=3)
    for _ in range(4):
        three.take("ada", 0.0)
    expect(three.take("grace", 1.0).admitted, True, of="admitted: grace's first request, after ada's four")
    expect(three.take("ada", 1.0).admitted, False, of="admitted: ada's fifth request")
    other = limiter(student, limit=3)
    expect(other.take("ada", 1.0).admitted, True, of="admitted: ada by another limiter, that never saw her")


@check(
    points=1,
    why="A client that keeps knocking is refused, not punished.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="what a refused request leaves in the log: nothing",
    mistake="refused-counts",
)
def test_refused_requests_are_not_remembered(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    for second in range(10):
        two.take("ada", float(second))
    expect(two.take("ada", 10.5).admitted, True, of="admitted at 10.5, after eight refusals")
    expect(two.take("ada", 11.5).admitted, True, of="admitted at 11.5, when the second has left as well")


@check(
    points=2,
    why="This is what a fixed window cannot do: hold the limit across its own boundary.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="any 10 seconds: also those that begin in the middle of what a fixed window would count",
    mistake="fixed-window",
)
def test_no_burst_fits_around_a_boundary(student: Student) -> None:
    four = limiter(student, limit=4, window=10.0)
    four.take("ada", 100.0)
    before = sum(four.take("ada", 109.5).admitted for _ in range(4))
    after = sum(four.take("ada", 110.5).admitted for _ in range(4))
    expect(before, 3, of="admitted of 4 at 109.5, after one at 100.0")
    expect(
        after,
        1,
        of="admitted of 4 at 110.5, one second later, with a limit of 4",
        mistake="fixed-window" if after > 1 else "leaves-late",
    )


@check(
    points=4,
    why="Each request gives its place back one window after it was admitted, not earlier and not later.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="which entries leave the log before you count: those that are a window old, and no others",
    mistake="leaves-wrong",
)
def test_each_admission_leaves_after_a_window(student: Student) -> None:
    three = limiter(student, limit=3, window=10.0)
    for now in (100.0, 104.0, 108.0):
        three.take("ada", now)
    expect(
        three.take("ada", 109.75).admitted,
        False,
        of="admitted at 109.75, three in the last 10 seconds",
        mistake="leaves-early",
    )
    expect(
        three.take("ada", 110.0).admitted,
        True,
        of="admitted at 110.0, when the first is a whole window old",
        mistake="leaves-late",
    )
    expect(
        three.take("ada", 110.0).admitted,
        False,
        of="admitted at 110.0 once more, after those of 104.0, 108.0 and 110.0",
        mistake="fixed-window",
    )
    expect(three.take("ada", 113.75).admitted, False, of="admitted at 113.75, after the same three")
    expect(three.take("ada", 114.0).admitted, True, of="admitted at 114.0, when the second has left")


@check(
    points=1,
    why="A client that is told what it has left can pace itself.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="`remaining`: the requests that would be admitted right now, after this one; never below 0",
    mistake="remaining",
)
def test_remaining_is_what_is_left(student: Student) -> None:
    three = limiter(student, limit=3, window=10.0)
    verdicts = [three.take("ada", now) for now in (0.0, 4.0, 8.0, 9.0, 10.0)]
    expect([v.remaining for v in verdicts], [2, 1, 0, 0, 0], of="remaining, at 0, 4, 8, 9 and 10 s")
    expect([v.limit for v in verdicts], [3, 3, 3, 3, 3], of="limit")


@check(
    points=2,
    why="After a quiet time a client has its whole allowance again.",
    after=("test_remaining_is_what_is_left",),
    look="how many entries you take out of the log in one call: all that are too old, `while` and not `if`",
    mistake="one-at-a-time",
)
def test_a_pause_frees_everything(student: Student) -> None:
    three = limiter(student, limit=3, window=10.0)
    for now in (0.0, 1.0, 2.0):
        three.take("ada", now)
    later = [three.take("ada", 60.0) for _ in range(4)]
    expect([v.admitted for v in later], [True, True, True, False], of="admitted a minute later")
    expect([v.remaining for v in later], [2, 1, 0, 0], of="remaining, a minute later")


@check(
    points=2,
    why="X-RateLimit-Reset and Retry-After are only worth having if they are true.",
    after=("test_each_admission_leaves_after_a_window",),
    look="which entry leaves first, and how long that takes from now",
    mistake="reset",
)
def test_reset_and_retry_after_are_the_oldest_ones_end(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    verdicts = [two.take("ada", now) for now in (100.0, 104.0, 107.5)]
    expect([v.reset for v in verdicts], [10.0, 6.0, 2.5], of="reset, at 100.0, 104.0 and 107.5", within=1e-6)
    expect(
        [v.retry_after for v in verdicts],
        [0.0, 0.0, 2.5],
        of="retry_after, at 100.0, 104.0 and 107.5",
        within=1e-6,
        mistake="retry-after",
    )
    expect_that(
        two.take("ada", 110.0 + 1e-6).admitted,
        "a request is admitted when retry_after seconds have passed",
        "it is refused",
        mistake="retry-after",
    )
    expect(two.take("ada", 112.0).reset, 2.0, of="reset at 112.0, of what was admitted at 104.0", within=1e-5)


@check(
    points=1,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_each_admission_leaves_after_a_window",),
    look="traffic of several clients with pauses of every length",
)
def test_any_traffic(student: Student) -> None:
    for seed in range(5):
        traffic(student, student.seed + seed)


def traffic(student: Student, seed: int) -> None:
    """Some hundred requests; each is held against a count over the times of all that were admitted."""
    numbers = random.Random(seed)
    limit, window = numbers.randint(1, 6), numbers.randint(4, 200) / 8
    some = limiter(student, limit=limit, window=window)
    admitted: dict[str, list[float]] = {}
    now = 1000.0
    for _ in range(300):
        now += numbers.choice([0.0, 0.125, 0.5, window / 4, window, 2.125 * window])
        key = numbers.choice(["ada", "grace", "edsger"])
        times = admitted.setdefault(key, [])
        counted = sum(now < time + window for time in times)
        if counted < limit:
            times.append(now)
        verdict = some.take(key, now)
        expect(verdict.admitted, counted < limit, of=f"admitted: {key} at {now}")
        expect(verdict.remaining, max(0, limit - counted - 1), of=f"remaining: {key} at {now}")
