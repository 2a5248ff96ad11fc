"""The three algorithms driven at random: many clients, few places, a clock that jumps, successors."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lab.policies.rate_limit import FixedWindow, SlidingWindow, TokenBucket, Verdict

LIMIT, WINDOW, PLACES = 3, 8, 4
CLIENTS = ("ada", "bob", "eve")


class FixedModel:
    def __init__(self) -> None:
        self.start, self.used = -WINDOW, 0

    def take(self, now: Fraction) -> bool:
        if now >= self.start + WINDOW:
            self.start, self.used = now, 0
        self.used += 1
        return self.used <= LIMIT


class SlidingModel:
    def __init__(self) -> None:
        self.times: list[Fraction] = []

    def take(self, now: Fraction) -> bool:
        self.times = [t for t in self.times if now < t + WINDOW]
        if len(self.times) == LIMIT:
            return False
        self.times.append(now)
        return True


class BucketModel:
    def __init__(self) -> None:
        self.tokens, self.at = Fraction(LIMIT), Fraction(0)

    def take(self, now: Fraction) -> bool:
        self.tokens = min(Fraction(LIMIT), self.tokens + (now - self.at) * LIMIT / WINDOW)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class LimiterMachine(RuleBasedStateMachine):
    """A client that is never forgotten is counted as a model without bounds would count it.

    One that was refused is refused until the time it was told, whoever else comes meanwhile.
    """

    core: type[Any]
    model: type[Any]

    def __init__(self) -> None:
        super().__init__()
        self.limiter = self.core(LIMIT, float(WINDOW), max_clients=PLACES)
        self.now = Fraction(1000)
        self.seen = Fraction(0)
        """The latest time that the limiter was told: for it, time stands still until it is overtaken."""
        self.models: dict[str, Any] = {}
        self.refused: dict[str, Fraction] = {}
        self.invented = 0
        self.crowded = False
        """Whether there have been more clients than places: from then on some may have been forgotten."""

    def take(self, client: str, now: Fraction) -> Verdict:
        self.seen = max(self.seen, now)
        verdict = self.limiter.take(client, float(now))
        assert (verdict.admitted, verdict.limit) == (verdict.retry_after == 0, LIMIT)
        if verdict.admitted:
            assert self.seen >= self.refused.get(client, 0)
        if not self.crowded:
            assert verdict.admitted == self.models.setdefault(client, self.model()).take(self.seen)
        return verdict

    def hurry(self, client: str, requests: int) -> None:
        verdicts = [self.take(client, self.now) for _ in range(requests)]
        if verdicts[0].admitted and not verdicts[-1].admitted:
            # By its own limit, not for want of a place. Where the exact time is no float, it is a multiple of
            # a third.
            until = float(self.seen) + verdicts[-1].retry_after
            self.refused[client] = Fraction(until).limit_denominator(1000)

    @rule(client=st.sampled_from(CLIENTS))
    def known(self, client: str) -> None:
        self.take(client, self.now)

    @rule(client=st.sampled_from(CLIENTS))
    def known_in_a_hurry(self, client: str) -> None:
        self.hurry(client, LIMIT + 1)

    @rule(client=st.sampled_from(CLIENTS), back=st.integers(1, 2000))
    def known_with_the_clock_set_back(self, client: str, back: int) -> None:
        self.take(client, self.now - back)

    @rule(count=st.integers(1, 10), requests=st.integers(1, LIMIT + 1))
    def invent(self, count: int, requests: int) -> None:
        for _ in range(count):
            self.invented += 1
            self.crowded = self.crowded or self.invented + len(CLIENTS) > PLACES
            self.hurry(f"invented-{self.invented}", requests)

    @rule(sixteenths=st.integers(1, 16 * WINDOW + 1))
    def wait(self, sixteenths: int) -> None:
        self.now += Fraction(sixteenths, 16)

    @precondition(lambda self: any(until > self.now for until in self.refused.values()))
    @rule()
    def wait_as_told(self) -> None:
        self.now = min(until for until in self.refused.values() if until > self.now)

    @rule()
    def hand_over(self) -> None:
        successor = self.core(LIMIT, float(WINDOW), max_clients=PLACES)
        successor.adopt(self.limiter)
        self.limiter = successor

    @invariant()
    def bounded(self) -> None:
        assert self.limiter.clients <= PLACES


machine = settings(max_examples=150, stateful_step_count=40, deadline=None)


class FixedWindowMachine(LimiterMachine):
    core, model = FixedWindow, FixedModel


class SlidingWindowMachine(LimiterMachine):
    core, model = SlidingWindow, SlidingModel


class TokenBucketMachine(LimiterMachine):
    core, model = TokenBucket, BucketModel


FixedWindowMachine.TestCase.settings = machine
SlidingWindowMachine.TestCase.settings = machine
TokenBucketMachine.TestCase.settings = machine
TestFixedWindow = FixedWindowMachine.TestCase
TestSlidingWindow = SlidingWindowMachine.TestCase
TestTokenBucket = TokenBucketMachine.TestCase
