"""One slow dependency takes all connections, and what is fast waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play
from lab.scenarios.recording import Recording

SHOP = "service-a"
POOL, SLOW, FAST = 10, 40, 6
PLACES = 8
PATIENCE = 4.0
"""Seconds: far less than a report takes, far more than an ordinary page does."""
GOOD = "fast requests that were answered"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {"bulkhead": {"enabled": cured, "options": {"max_concurrent": PLACES}}}


async def start(play: Play) -> None:
    """The same service behind one pool; with the cure, its slow part has a compartment of its own."""
    await play.service(SHOP, pool=POOL, retries=0, timeout=20)
    await play.service("reports", url=play.address(SHOP), pool=POOL, retries=0, timeout=20)
    await play.burst(5, f"/{SHOP}/items/{{n}}", "before")


async def slow_down(play: Play) -> None:
    await play.fault(SHOP, "latency", ms=12_000, path="/users")
    reports, places = ("reports", PLACES) if play.cured else (SHOP, POOL)
    play.meanwhile(play.burst(SLOW, f"/{reports}/users", "slow"))
    await play.until(
        "a full pool", lambda r: r.state["services"][reports]["pool"]["in_use"] >= places, within=7
    )


async def ask(play: Play) -> None:
    await play.burst(FAST, f"/{SHOP}/items/{{n}}", "fast", timeout=PATIENCE)
    await play.measure(GOOD, lambda r: r.good("fast"))


def pool(recording: Recording) -> dict[str, int]:
    """The shop's connections as they were last seen."""
    found: dict[str, int] = recording.state["services"][SHOP]["pool"]
    return found


def script(cured: bool) -> Sequence[Step]:
    if cured:
        full = [
            Expect(
                f"{PLACES} reports are made, the others are refused at once",
                lambda r: r.count("slow", 503) == SLOW - PLACES,
            )
        ]
        asked = [Expect("every fast request is answered", lambda r: r.good("fast") == FAST)]
    else:
        full = [
            Expect(
                "all connections are taken", lambda r: r.state["services"][SHOP]["pool"]["in_use"] == POOL
            ),
            Expect("and the rest waits for one", lambda r: r.state["services"][SHOP]["pool"]["waiting"] > 0),
        ]
        asked = [Expect("no fast request is answered in time", lambda r: r.count("fast", "timeout") == FAST)]
    return [
        Step(
            "Service A is a shop whose pages are fast.",
            start,
            [Expect("they are", lambda r: r.good("before") == 5)],
        ),
        Step(f"Its reports become slow: twelve seconds each. {SLOW} are asked for.", slow_down, full),
        Step(f"{FAST} clients want an ordinary page and wait four seconds for it.", ask, asked),
    ]


SCENARIO = Scenario(
    name="slow-dependency",
    title="A slow dependency drains the pool",
    story=(
        "An error is over at once; a slow answer holds a connection, a thread, a place in the queue for as "
        "long as it takes. One slow part of a service thus takes what all parts share, and the fast ones "
        "fail for want of it."
    ),
    cure=f"bulkhead: the slow part is a service of its own, with {PLACES} places, and nobody queues",
    source=(
        "M. Nygard, Release It!, 2nd ed., ch. 5 (bulkheads); B. Maurer, Fail at Scale, ACM Queue 13(8), 2015"
    ),
    look_at="Overview: the pool of service A, in use and waiting.",
    policies=policies,
    script=script,
    contrast=[Contrast("the bulkhead keeps the fast part afloat", lambda off, on: on[GOOD] > off[GOOD])],
    questions=[
        Question(
            f"Reports take twelve seconds, the pool has {POOL} connections. How many a second drain it?",
            f"Fewer than one: {POOL} connections / 12 s (Little's law).",
        ),
        Question(
            "Would a larger pool help?",
            "For some seconds. What comes in faster than it goes out fills every pool.",
        ),
    ],
)
