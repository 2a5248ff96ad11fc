"""A breaker that opens and closes all the time, at a service that fails now and then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

REQUESTS, PERCENT = 120, 30
IN_A_ROW, OPEN_FOR = 3, 0.2
FLAPS = 3
OPENED = "times the breaker opened"
REFUSED = "requests that the breaker refused"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    options: dict[str, Any] = {"open_for": OPEN_FOR, "probes": 1}
    if cured:
        options |= {"window": 50, "minimum_calls": 20, "failure_percent": 60}
        return {"breaker": {"use": "failure_rate", "options": options}}
    return {"breaker": {"use": "consecutive", "options": options | {"failures": IN_A_ROW}}}


async def fail_sometimes(play: Play) -> None:
    await play.service("service-a", retries=0)
    await play.fault("service-a", "error", status=500, probability=PERCENT / 100)
    for n in range(REQUESTS):
        # The service sees each request once, so that the same ones fail in every play.
        while (await play.get(f"/service-a/items/{n}", "client")).status == 503:  # its own failures are 500
            await play.until("the next probe", lambda r: r.states("service-a")[-1:] != ["open"])
    await play.measure(OPENED, lambda r: r.states("service-a").count("open"))
    await play.measure(REFUSED, lambda r: r.count("client", 503))


async def fail_for_good(play: Play) -> None:
    await play.mend("service-a")
    await play.policy("breaker", options={"open_for": 60.0})  # that it opens is the last to be seen
    await play.fault("service-a", "error", status=500)
    for n in range(60):
        outcome = await play.get(f"/service-a/items/{n}", "dead")
        if outcome.status == 503:
            break


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [
            Expect("the breaker stays closed", lambda r: r.figures[OPENED] == 0),
            Expect("nobody is refused", lambda r: r.count("client", 503) == 0),
            Expect("failures are seen all the same", lambda r: r.count("client", 500) > REQUESTS // 10),
        ]
    else:
        expected = [
            Expect(f"the breaker opens at least {FLAPS} times", lambda r: r.figures[OPENED] >= FLAPS),
            Expect(
                f"and closes again, by one lucky probe, at least {FLAPS - 1} times",
                lambda r: r.states("service-a").count("closed") >= FLAPS - 1,
            ),
        ]
    return [
        Step(
            f"{PERCENT} % of service A's answers are errors. {REQUESTS} requests, one after the other.",
            fail_sometimes,
            expected,
            within=14,
        ),
        Step(
            "Now all of them are.",
            fail_for_good,
            [
                Expect(
                    "the breaker opens",
                    lambda r: r.states("service-a")[-1:] == ["open"] or r.count("dead", 503) > 0,
                )
            ],
        ),
    ]


SCENARIO = Scenario(
    name="breaker-flapping",
    title="A breaker flaps",
    story=(
        "Some errors are always there. A breaker that counts failures in a row opens by bad luck and closes "
        "by good luck; each time it refuses requests most of which would have been answered."
    ),
    cure="failure rate over the last 50 calls, at least 20 of them, instead of failures in a row",
    source="resilience4j, CircuitBreaker (sliding windows); M. Nygard, Release It!, 2nd ed., ch. 5",
    look_at="Breakers: the history of changes.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("the rate does not flap", lambda off, on: on[OPENED] < off[OPENED]),
        Contrast("and refuses fewer", lambda off, on: on[REFUSED] < off[REFUSED]),
    ],
    questions=[
        Question(
            f"{PERCENT} % of the answers fail at random. How often are {IN_A_ROW} in a row failures?",
            f"At {(PERCENT / 100) ** IN_A_ROW:.1%} of all places: every few dozen requests.",
        ),
        Question(
            "How does one tell a service with a few errors from a dead one?",
            "By a rate over enough calls: a window, and a minimum number below which nothing is judged.",
        ),
    ],
    seed=4,
)
