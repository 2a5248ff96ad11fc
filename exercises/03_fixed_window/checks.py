"""The checks of exercise 03."""

from __future__ import annotations

import random

from lab.exercises.kit import Shape, Student, Thing, check, expect, expect_that

VERDICT = Shape("Verdict", admitted=bool, limit=int, remaining=int, reset=float, retry_after=float)
DISGUISE = {
    "FixedWindow": {"window": "span"},
    "take": ("name", "moment"),
    "answers": {"reset": "span", "retry_after": "span"},
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def limiter(student: Student, limit: int = 3, window: float = 10.0) -> Thing:
    return student.new("FixedWindow", limit=limit, window=window).answering(take=VERDICT)


@check(
    points=2,
    why="Up to the limit, a client must not notice that there is one.",
    look="what `take` answers for a key that it has never seen",
)
def test_requests_up_to_the_limit_are_admitted(student: Student) -> None:
    three = limiter(student, limit=3)
    admitted = [three.take("ada", 0.0).admitted for _ in range(3)]
    expect(admitted, [True, True, True], of="admitted, with a limit of 3")
    more = [three.take("ada", 0.0).admitted for _ in range(20)]
    expect_that(not all(more), "a limit: of 20 more requests at once not all are admitted", "all are")
    one = limiter(student, limit=1)
    expect(one.take("grace", 0.0).admitted, True, of="admitted, with a limit of 1")


@check(
    points=3,
    why="The limit is the promise that the gateway makes to the service behind it.",
    after=("test_requests_up_to_the_limit_are_admitted",),
    look="the comparison of the count with the limit: what is the count when the limit is reached?",
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
    look="where the count is kept: is there one, or one for each key?",
    mistake="shared-counter",
)
def test_each_client_counts_for_itself(student: Student) -> None:
    three = limiter(student, limit=3)
    for _ in range(4):
        three.take("ada", 0.0)
    expect(three.take("grace", 1.0).admitted, True, of="admitted: grace's first request, after ada's four")
    expect(three.take(7, 1.0).admitted, True, of="admitted: the first request of the key 7")
    expect(three.take("ada", 1.0).admitted, False, of="admitted: ada's fifth request")


@check(
    points=3,
    why="A limit that never ends is a ban.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="the first moment at which the window is over: `window` seconds after its beginning, not later",
    mistake="boundary",
)
def test_a_window_ends_after_its_length(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    for _ in range(3):
        two.take("ada", 100.0)
    expect(
        two.take("ada", 109.75).admitted,
        False,
        of="admitted a quarter of a second before the window ends",
        mistake="too-early",
    )
    again = [two.take("ada", 110.0).admitted for _ in range(3)]
    expect(again, [True, True, False], of="admitted at the moment at which the window ends")
    much_later = [two.take("ada", 1000.0).admitted for _ in range(3)]
    expect(much_later, [True, True, False], of="admitted much later")


@check(
    points=3,
    why="A window that every client shares lets all of them burst at the same moment.",
    after=("test_a_window_ends_after_its_length",),
    look="which moment you remember as the window's beginning, and when you change it",
    mistake="window-moves",
)
def test_a_window_begins_with_the_first_request_and_stays(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    two.take("ada", 8.0)
    two.take("ada", 15.0)
    expect(
        two.take("ada", 17.0).admitted,
        False,
        of="admitted at 17.0, in the window that began at 8.0",
        mistake="aligned",
    )
    expect(
        two.take("ada", 18.0).admitted, True, of="admitted at 18.0, when the window that began at 8.0 is over"
    )
    expect(two.take("ada", 26.0).admitted, True, of="admitted at 26.0, the second in the window from 18.0")
    expect(two.take("ada", 27.5).admitted, False, of="admitted at 27.5, the third in the window from 18.0")
    expect(two.take("ada", 41.0).admitted, True, of="admitted at 41.0, which begins a window")
    expect(two.take("ada", 50.5).admitted, True, of="admitted at 50.5, the second in the window from 41.0")
    expect(
        two.take("ada", 50.75).admitted,
        False,
        of="admitted at 50.75, the third in the window from 41.0",
        look="where a window begins after a pause: with the request, not at a multiple of its length",
        mistake="aligned",
    )


@check(
    points=1,
    why="The end of one client's window is nobody else's.",
    after=("test_each_client_counts_for_itself", "test_a_window_ends_after_its_length"),
    look="what you forget when a window is over: that key's count, and no other's",
    mistake="clears-all",
)
def test_a_window_that_ends_is_one_clients_own(student: Student) -> None:
    one = limiter(student, limit=1, window=10.0)
    one.take("ada", 0.0)
    one.take("grace", 9.0)
    expect(one.take("ada", 10.0).admitted, True, of="admitted: ada, whose window is over")
    expect(one.take("grace", 10.0).admitted, False, of="admitted: grace, whose window began a second ago")


@check(
    points=1,
    why="A client that keeps knocking is refused, not punished.",
    after=("test_a_window_ends_after_its_length",),
    look="what a refused request changes: nothing at all",
    mistake="refused-counts",
)
def test_refused_requests_change_nothing(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    for second in range(10):
        two.take("ada", float(second))
    again = [two.take("ada", 10.0).admitted for _ in range(3)]
    expect(again, [True, True, False], of="admitted when the window is over, after eight refusals")


@check(
    points=1,
    why="A client that is told what it has left can pace itself.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="`remaining`: the requests that would be admitted right now, after this one; never below 0",
    mistake="remaining",
)
def test_remaining_is_what_is_left(student: Student) -> None:
    three = limiter(student, limit=3, window=10.0)
    verdicts = [three.take("ada", 0.0) for _ in range(5)]
    expect([v.remaining for v in verdicts], [2, 1, 0, 0, 0], of="remaining, with a limit of 3")
    expect([v.limit for v in verdicts], [3, 3, 3, 3, 3], of="limit")
    expect(three.take("ada", 10.0).remaining, 2, of="remaining in the next window")


@check(
    points=1,
    why="X-RateLimit-Reset tells a client when it may expect more.",
    after=("test_a_window_ends_after_its_length",),
    look="`reset`: seconds from now until the window ends, not a point in time and not its whole length",
    mistake="reset",
)
def test_reset_says_when_the_window_ends(student: Student) -> None:
    two = limiter(student, limit=2, window=10.0)
    resets = [two.take("ada", now).reset for now in (100.0, 104.0, 107.5, 110.0)]
    expect(resets, [10.0, 6.0, 2.5, 10.0], of="reset", within=1e-6)


@check(
    points=1,
    why="Retry-After is only worth having if it is true (RFC 9110 §10.2.3).",
    after=("test_a_window_ends_after_its_length",),
    look="`retry_after`: 0 where the request was admitted, else exactly as long as the client has to wait",
    mistake="retry-after",
)
def test_retry_after_is_the_wait(student: Student) -> None:
    one = limiter(student, limit=1, window=10.0)
    expect(one.take("ada", 100.0).retry_after, 0, of="retry_after where the request is admitted")
    expect(
        one.take("ada", 103.0).retry_after,
        7.0,
        of="retry_after at 103.0, in a window from 100.0",
        within=1e-6,
    )
    wait = one.take("ada", 104.5).retry_after
    expect_that(
        one.take("ada", 104.5 + wait + 1e-6).admitted,
        "a request is admitted when retry_after seconds have passed",
        f"it is refused, {wait:g} seconds later",
    )


@check(
    points=1,
    why="The gateway makes one limiter for each route; they must not see each other's counts.",
    after=("test_what_comes_after_the_limit_is_refused",),
    look="where the table lives: in the object (`self.… = {}` in `__init__`), or in the class, for all",
    mistake="class-attribute",
)
def test_two_limiters_share_nothing(student: Student) -> None:
    first, second = limiter(student, limit=1), limiter(student, limit=1)
    first.take("ada", 0.0)
    expect(second.take("ada", 0.0).admitted, True, of="admitted by a second limiter, that never saw ada")


@check(
    points=1,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_a_window_begins_with_the_first_request_and_stays",),
    look="traffic of several clients with pauses of every length",
)
def test_any_traffic(student: Student) -> None:
    for seed in range(5):
        traffic(student, student.seed + seed)


def traffic(student: Student, seed: int) -> None:
    """Some hundred requests, held against a second way to compute the same: a list of times for each key."""
    numbers = random.Random(seed)
    limit, window = numbers.randint(1, 6), numbers.randint(4, 200) / 8
    some = limiter(student, limit=limit, window=window)
    admitted: dict[str, list[float]] = {}
    now = 1000.0
    for _ in range(300):
        now += numbers.choice([0.0, 0.125, 0.5, window / 4, window, 2.125 * window])
        key = numbers.choice(["ada", "grace", "edsger"])
        times = admitted.setdefault(key, [])
        if times and now >= times[0] + window:
            times.clear()
        fits = len(times) < limit
        if fits:
            times.append(now)
        verdict = some.take(key, now)
        expect(verdict.admitted, fits, of=f"admitted: {key} at {now}")
        expect(verdict.remaining, limit - len(times), of=f"remaining: {key} at {now}", mistake="remaining")
