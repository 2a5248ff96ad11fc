"""The checks of exercise 05."""

from __future__ import annotations

import random
from fractions import Fraction

from lab.exercises.kit import Shape, Student, Thing, check, expect, expect_that

VERDICT = Shape("Verdict", admitted=bool, limit=int, remaining=int, reset=float, retry_after=float)
BIT = 1e-6
"""Seconds that make up for rounding: tokens are fractions."""
DISGUISE = {
    "TokenBucket": {"window": "span"},
    "take": ("name", "moment"),
    "answers": {"reset": "span", "retry_after": "span"},
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def bucket(student: Student, limit: int = 4, window: float = 10.0) -> Thing:
    return student.new("TokenBucket", limit=limit, window=window).answering(take=VERDICT)


def spend(some: Thing, key: str, now: float, requests: int) -> int:
    """How many of these requests, all at once, are admitted."""
    return sum(some.take(key, now).admitted for _ in range(requests))


@check(
    points=3,
    why="A client that was quiet may burst: that is what the bucket is for.",
    look="how full the bucket of a key is that has never asked",
    mistake="starts-empty",
)
def test_a_full_bucket_lets_a_burst_through(student: Student) -> None:
    four = bucket(student, limit=4)
    admitted = [four.take("ada", 100.0).admitted for _ in range(4)]
    expect(admitted, [True, True, True, True], of="admitted at once, with a limit of 4")
    expect_that(
        spend(four, "ada", 100.0, 20) < 20,
        "a limit: of 20 more requests at once not all are admitted",
        "all are",
        mistake="not-a-whole-token",
    )


@check(
    points=2,
    why="The limit is the promise that the gateway makes to the service behind it.",
    after=("test_a_full_bucket_lets_a_burst_through",),
    look="how much must be in the bucket for a request to be admitted: a whole token",
    mistake="not-a-whole-token",
)
def test_an_empty_bucket_refuses(student: Student) -> None:
    for key, limit in (("ada", 4), ("grace", 1), ("edsger", 7)):
        some = bucket(student, limit=limit)
        expect(
            spend(some, key, 0.5, limit + 5), limit, of=f"admitted of {limit + 5}, with a limit of {limit}"
        )


@check(
    points=2,
    why="One client that asks too often must not lock all the others out.",
    after=("test_an_empty_bucket_refuses",),
    look="where the buckets are kept: is there one for each key and each limiter?",
    mistake="shared-bucket",
)
def test_each_client_has_a_bucket_of_its_own(student: Student) -> None:
    two = bucket(student, limit=2)
    spend(two, "ada", 0.0, 3)
    expect(two.take("grace", 0.0).admitted, True, of="admitted: grace's first request, after ada's three")
    expect(two.take("ada", 0.0).admitted, False, of="admitted: ada's fourth request")
    other = bucket(student, limit=2)
    expect(other.take("ada", 0.0).admitted, True, of="admitted: ada by another limiter, that never saw her")


@check(
    points=4,
    why="What comes back at a steady rate cannot be saved up for a moment of one's choosing.",
    after=("test_an_empty_bucket_refuses",),
    look="the rate: how many tokens come back in a second? And in the time since the last request?",
    mistake="rate",
)
def test_tokens_come_back_one_by_one(student: Student) -> None:
    four = bucket(student, limit=4, window=10.0)
    spend(four, "ada", 100.0, 4)
    spend(four, "grace", 100.0, 4)
    expect(
        four.take("grace", 102.0).admitted,
        False,
        of="admitted at 102.0: a token takes 2.5 s to come back",
        mistake="not-a-whole-token",
    )
    expect(
        four.take("ada", 102.5 + BIT).admitted,
        True,
        of="admitted at 102.5, when the first token has come back",
    )
    expect(four.take("ada", 102.5 + BIT).admitted, False, of="admitted at 102.5 once more")
    expect(spend(four, "ada", 107.5 + 2 * BIT, 4), 2, of="admitted of 4 at 107.5, five seconds later")


@check(
    points=3,
    why="A client that asks often must not lose what it was about to get.",
    after=("test_tokens_come_back_one_by_one",),
    look="what becomes of half a token when a request is refused, and of the time that it stands for",
    mistake="loses-fractions",
)
def test_fractions_are_kept(student: Student) -> None:
    one = bucket(student, limit=1, window=10.0)
    one.take("ada", 0.0)
    early = [one.take("ada", second + 0.5).admitted for second in range(9)]
    expect(sum(early), 0, of="admitted of 9 requests at 0.5, 1.5, … 8.5", mistake="counts-twice")
    expect(one.take("ada", 10.0 + BIT).admitted, True, of="admitted at 10.0, after nine refusals")
    three = bucket(student, limit=3, window=10.0)
    spend(three, "grace", 0.0, 3)
    admitted = sum(three.take("grace", tenth / 10).admitted for tenth in range(1, 101))
    expect_that(
        admitted in (2, 3),
        "3 of the next 100 requests are admitted, ten a second (2 where rounding delays the last)",
        f"{admitted} are",
        sent="TokenBucket(limit=3, window=10.0)\ntake('grace', 0.0)   (3 times)\ntake('grace', 0.1)\n"
        "take('grace', 0.2)\n… and so on until 10.0",
    )


@check(
    points=2,
    why="A bucket that overflowed for a week must not let a week's requests through.",
    after=("test_an_empty_bucket_refuses",),
    look="the most that a bucket can hold, after however long a time",
    mistake="overflows",
)
def test_a_bucket_is_never_more_than_full(student: Student) -> None:
    four = bucket(student, limit=4, window=10.0)
    four.take("ada", 0.0)
    expect(spend(four, "ada", 1000.0, 8), 4, of="admitted of 8 after a long pause, with a limit of 4")
    expect(spend(four, "grace", 2000.0, 8), 4, of="admitted of 8, by a key that is new at 2000.0")


@check(
    points=1,
    why="A client that is told what it has left can pace itself.",
    after=("test_tokens_come_back_one_by_one",),
    look="`remaining`: whole tokens that are left in the bucket, after this request took its own",
    mistake="remaining",
)
def test_remaining_is_what_is_left(student: Student) -> None:
    four = bucket(student, limit=4, window=10.0)
    verdicts = [four.take("ada", 100.0) for _ in range(5)]
    expect([v.remaining for v in verdicts], [3, 2, 1, 0, 0], of="remaining, with a limit of 4")
    expect([v.limit for v in verdicts], [4, 4, 4, 4, 4], of="limit")
    expect(four.take("ada", 109.0).remaining, 2, of="remaining at 109.0, of 3.6 tokens, after one was taken")


@check(
    points=1,
    why="Retry-After is only worth having if it is true (RFC 9110 §10.2.3).",
    after=("test_tokens_come_back_one_by_one",),
    look="`retry_after`: how much is missing of a whole token, and how long that takes to come back",
    mistake="retry-after",
)
def test_retry_after_is_the_wait_for_a_token(student: Student) -> None:
    four = bucket(student, limit=4, window=10.0)
    admitted = [four.take("ada", 100.0).retry_after for _ in range(4)]
    expect(admitted, [0.0, 0.0, 0.0, 0.0], of="retry_after where the request is admitted")
    waits = [four.take("ada", now).retry_after for now in (100.0, 101.0, 102.0)]
    expect(waits, [2.5, 1.5, 0.5], of="retry_after, at 100.0, 101.0 and 102.0", within=1e-5)


@check(
    points=1,
    why="X-RateLimit-Reset tells a client when it may expect more.",
    after=("test_tokens_come_back_one_by_one",),
    look="`reset`: how long until the bucket holds one whole token more than it does now",
    mistake="reset",
)
def test_reset_is_the_wait_for_one_more(student: Student) -> None:
    four = bucket(student, limit=4, window=10.0)
    resets = [four.take("ada", now).reset for now in (100.0, 100.0, 101.0, 102.0)]
    expect(resets, [2.5, 2.5, 1.5, 0.5], of="reset, at 100.0, 100.0, 101.0 and 102.0", within=1e-5)


@check(
    points=1,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_fractions_are_kept",),
    look="traffic of several clients with pauses of every length",
)
def test_any_traffic(student: Student) -> None:
    for seed in range(5):
        traffic(student, student.seed + seed)


def traffic(student: Student, seed: int) -> None:
    """Some hundred requests, held against a bucket that computes in fractions, without any rounding."""
    numbers = random.Random(seed)
    limit, window = numbers.randint(1, 6), numbers.randint(4, 200) / 8
    some = bucket(student, limit=limit, window=window)
    rate = Fraction(limit) / Fraction(window)
    buckets: dict[str, tuple[Fraction, Fraction]] = {}
    now = 1000.0
    for _ in range(300):
        now += numbers.choice([0.0, 0.125, 0.5, window / 4, window, 2.125 * window])
        key = numbers.choice(["ada", "grace", "edsger"])
        tokens, updated = buckets.get(key, (Fraction(limit), Fraction(now)))
        tokens = min(Fraction(limit), tokens + (Fraction(now) - updated) * rate)
        verdict = some.take(key, now)
        if tokens.denominator != 1 and abs(tokens - round(tokens)) < Fraction(1, 10**6):
            return  # rounding may decide it either way
        if tokens == round(tokens) and 0 < tokens < limit:
            # Exactly a whole token: rounding again, on whichever side it falls the rest follows from it.
            tokens -= verdict.admitted
        else:
            expect(verdict.admitted, tokens >= 1, of=f"admitted: {key} at {now}")
            tokens -= tokens >= 1
            if tokens != round(tokens):
                expect(verdict.remaining, int(tokens), of=f"remaining: {key} at {now}")
        if tokens < 0:
            return
        buckets[key] = tokens, Fraction(now)
