"""Everyone tries again, at every layer, at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

CLIENTS, TRIES = 40, 4
PAUSE = 0.3
WITHOUT = CLIENTS * TRIES * 2
"""Each try of a client is two of the gateway."""
BUDGET = 10
"""Retries per hundred exchanges, and the least that is allowed in ten seconds: few clients stand for many."""
ASKED = "requests that the failing service saw"
PEAK = "further tries within a tenth of a second, at most"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {
        "retry": {
            "options": {"budget_percent": BUDGET if cured else 100, "budget_minimum": BUDGET, "backoff": 0.02}
        }
    }


async def start(play: Play) -> None:
    await play.backend("shop", Backend(), pool=400, retries=1)
    await play.burst(CLIENTS, "/shop/", "before")


async def fail(play: Play) -> None:
    shop = play.backends["shop"]
    before = shop.total
    play.strike(lambda: setattr(shop, "status", 503))

    async def one() -> None:
        for n in range(TRIES):
            # The first tries come together whatever the clients do; what jitter changes is the others.
            outcome = await play.get("/shop/again" if n else "/shop/", "storm")
            if outcome.ok:
                return
            # Without jitter all clients of one outage come back at the same moment, again and again.
            await play.pause(play.dice.uniform(0, 2 * PAUSE) if play.cured else PAUSE)

    await play.together(one() for _ in range(CLIENTS))
    await play.measure(ASKED, lambda r: shop.total - before)
    await play.measure(PEAK, lambda r: shop.peak(0.1, "/again"))


def script(cured: bool) -> Sequence[Step]:
    if cured:
        # The budget also counts the requests of the first step: they are less than ten seconds old.
        most = CLIENTS * TRIES + CLIENTS * (TRIES + 1) * BUDGET // 100
        storm = [
            Expect("the retry budget is used up", lambda r: bool(r.seen("retry_budget", action="exhausted"))),
            Expect(
                f"the service gets its clients' {CLIENTS * TRIES} tries and at most "
                f"{most - CLIENTS * TRIES} more",
                lambda r: CLIENTS * TRIES <= r.figures[ASKED] <= most,
            ),
        ]
    else:
        storm = [
            Expect(
                f"{CLIENTS} wishes become {WITHOUT} requests",
                lambda r: r.figures[ASKED] == WITHOUT,
            ),
            Expect("the retry budget never speaks", lambda r: not r.seen("retry_budget", service="shop")),
        ]
    return [
        Step(
            f"{CLIENTS} clients ask a service that is well.",
            start,
            [Expect("one request each", lambda r: r.total("upstream_calls", "shop") == CLIENTS)],
        ),
        Step(
            f"It answers 503 from now on. Each client tries {TRIES} times, the gateway twice each time.",
            fail,
            [*storm, Expect("nobody is helped", lambda r: r.good("storm") == 0)],
        ),
    ]


SCENARIO = Scenario(
    name="retry-storm",
    title="Retry storm",
    story=(
        "A retry helps against an error of chance. Against an overload it is more of the same: each layer "
        "that retries multiplies what the one above sends, and clients that wait equally long return "
        "together. The service gets the most requests when it can bear the fewest."
    ),
    cure=f"retry budget of {BUDGET} % in the gateway, full jitter in the clients",
    source=(
        "M. Brooker, Timeouts, retries and backoff with jitter, Amazon Builders' Library; SRE book, ch. 22 "
        "(retries)"
    ),
    look_at="Overview: upstream calls against requests. Events: the retry budget.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("the budget takes the multiplication out", lambda off, on: on[ASKED] < 0.6 * off[ASKED]),
        Contrast("the clients come back one by one", lambda off, on: on[PEAK] < off[PEAK]),
    ],
    questions=[
        Question(
            f"{CLIENTS} clients try {TRIES} times, the gateway tries each of those twice. What does the "
            "service see?",
            f"{CLIENTS} × {TRIES} × 2 = {WITHOUT}: layers multiply. Retry at one layer.",
        ),
        Question(
            "Why does exponential backoff alone not flatten the peaks?",
            "All clients compute the same pauses from the same moment; only a random part takes them apart.",
        ),
    ],
)
