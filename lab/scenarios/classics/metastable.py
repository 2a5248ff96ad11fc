"""The fault is over, and nothing gets better: the retries keep the system down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

WORKERS, SECONDS = 2, 0.05
"""40 requests a second: so few that the machine itself has no part in it, however busy it is."""
RATE, TRIES, PATIENCE = 15, 4, 0.5
"""15 wishes a second are well below that. Tried four times each they are 60, well above."""
PLACES = 8
"""In flight at a time: with half a second of patience the ill service gets 16 a second at most."""
WATCHED = 1.2
"""Seconds."""
SICK = "goodput after the fault was over, %"
END = "goodput at the end, %"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {"bulkhead": {"enabled": cured, "options": {"max_concurrent": PLACES}}}


async def wish(play: Play, phase: str) -> bool:
    """A client that wants an answer; where none comes in time it asks again, at once."""
    for _ in range(TRIES):
        outcome = await play.get("/shop/", phase, timeout=PATIENCE)
        if outcome.ok:
            return True
        if outcome.status == 503:
            return False  # it was told to come later, and does
    return False


async def crowd(play: Play, phase: str, seconds: float) -> list[asyncio.Task[bool]]:
    """Wishes at a steady rate, whatever becomes of them: an open loop. Those at the end are still open."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    wishes: list[asyncio.Task[bool]] = []
    for n in range(round(RATE * seconds)):
        await play.pause(max(0.0, began + n / RATE - loop.time()))
        wishes.append(play.meanwhile(wish(play, phase)))
    return wishes


async def start(play: Play) -> None:
    await play.backend("shop", Backend(WORKERS, SECONDS), pool=1000, retries=0)
    await asyncio.gather(*await crowd(play, "well", 0.8))


async def trigger(play: Play) -> None:
    shop = play.backends["shop"]
    play.strike(lambda: setattr(shop, "seconds", 10 * SECONDS))
    await crowd(play, "fault", 1.2)
    shop.seconds = SECONDS


async def go_on(play: Play) -> None:
    await crowd(play, "aftermath", 1.5)  # with the cure this is how long the queue needs
    before = play.recording.good("aftermath")
    await crowd(play, "aftermath", WATCHED)
    good = play.recording.good("aftermath") - before
    await play.measure(SICK, lambda r: min(round(100 * good / (RATE * WATCHED)), 100))


async def shed(play: Play) -> None:
    """All clients are sent away for a moment: what they asked for is worked off."""
    shop = play.backends["shop"]
    await play.let_go()
    await play.until("an idle service", lambda r: shop.busy == 0)
    await end(play)


async def end(play: Play) -> None:
    fulfilled = await asyncio.gather(*await crowd(play, "end", 0.6))
    await play.measure(END, lambda r: round(100 * sum(fulfilled) / len(fulfilled)))


def script(cured: bool) -> Sequence[Step]:
    steps = [
        Step(
            f"A service for {WORKERS / SECONDS:.0f} requests a second gets {RATE}.",
            start,
            [Expect("nearly all are answered", lambda r: r.good("well") > 0.6 * RATE)],
        ),
        Step("For a second it is ten times slower. Who waits too long asks again.", trigger),
    ]
    if cured:
        return [
            *steps,
            Step(
                "The service is as fast as before. What is too much is refused.",
                go_on,
                [
                    Expect("load was shed", lambda r: r.count("fault", 503) + r.count("aftermath", 503) > 0),
                    Expect("most requests are answered again", lambda r: r.figures[SICK] > 50),
                ],
            ),
            Step(
                "Nobody had to do anything.",
                end,
                [Expect("nearly all are answered", lambda r: r.figures[END] > 80)],
            ),
        ]
    return [
        *steps,
        Step(
            "The service is as fast as before, the load is that of the beginning.",
            go_on,
            [
                Expect("most requests are still not answered", lambda r: r.figures[SICK] < 50),
                Expect("clients give up and ask again", lambda r: r.count("aftermath", "timeout") > RATE),
            ],
        ),
        Step(
            "All clients are sent away until the queue is empty, then let in again.",
            shed,
            [Expect("nearly all are answered", lambda r: r.figures[END] > 80)],
        ),
    ]


SCENARIO = Scenario(
    name="metastable",
    title="Metastable failure",
    story=(
        "A short fault fills the queue. Answers come after their clients have given up and asked again, so "
        "the service works on what nobody waits for while the retries keep the queue full. The fault is "
        "long over; the system holds itself down until somebody takes load away."
    ),
    cure=f"load shedding: {PLACES} requests in flight, the rest is told at once to come later",
    source="N. Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021; SRE book, ch. 22",
    look_at="Overview: requests as before the fault, answers not; the service's in flight.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("with shedding the goodput returns by itself", lambda off, on: on[SICK] > off[SICK] + 25),
    ],
    questions=[
        Question(
            f"The service manages {WORKERS / SECONDS:.0f} a second and gets {RATE}. After the fault, when "
            "is all well?",
            f"Never: each wish is now {TRIES} requests, {RATE * TRIES} a second, and all are late.",
        ),
        Question(
            "The service is 100 % busy. What is its goodput?",
            "Nearly nothing: it works, but for clients that have gone.",
        ),
    ],
)
