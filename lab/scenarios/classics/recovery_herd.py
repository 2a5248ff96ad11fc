"""A service comes back, cold, and everybody who waited rushes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

FAILURES, OPEN_FOR, PROBES = 5, 1.0, 2
HERD, BEARABLE = 60, 10
"""Clients that wait, and requests at a time that the cold service survives."""
COLD = 1.0
"""Seconds that a request takes it at first: more than a crowd needs to arrive, also on a busy machine."""
INSIDE = "requests that met the cold service"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    options = {"failures": FAILURES, "open_for": OPEN_FOR, "probes": PROBES}
    return {"breaker": {"enabled": cured, "use": "consecutive", "options": options}}


async def fail(play: Play) -> None:
    shop = await play.backend("shop", Backend(), pool=200, retries=0)
    play.strike(lambda: setattr(shop, "status", 500))
    for _ in range(FAILURES):
        await play.get("/shop/", "ill")


async def come_back(play: Play) -> None:
    """It answers again, slowly at first, and a crowd at once is more than it can bear."""
    shop = play.backends["shop"]
    shop.status, shop.seconds = 200, COLD
    play.strike(lambda: setattr(shop, "breaks_at", BEARABLE))
    before = shop.total
    if play.cured:
        await play.until("half-open", lambda r: r.states("shop")[-1:] == ["half_open"])
    await play.burst(HERD, "/shop/", "herd")
    await play.measure(INSIDE, lambda r: shop.total - before)


async def warm(play: Play) -> None:
    play.backends["shop"].seconds = 0.0  # its caches are filled
    for _ in range(10):
        await play.get("/shop/", "warm")


def script(cured: bool) -> Sequence[Step]:
    if cured:
        herd = [
            Expect(f"{PROBES} probes are let through", lambda r: r.good("herd") >= PROBES),
            Expect("no more than it can bear", lambda r: r.figures[INSIDE] <= BEARABLE),
            Expect(
                "the others hear at once when to come again",
                lambda r: r.count("herd", 503) >= HERD - BEARABLE,
            ),
            Expect(
                "open, half-open, closed",
                lambda r: r.states("shop") == ["open", "half_open", "closed"],
            ),
        ]
        after = [Expect("then everybody is served", lambda r: r.good("warm") == 10)]
    else:
        herd = [
            Expect(f"more than {BEARABLE} are inside at once", lambda r: r.figures[INSIDE] > BEARABLE),
            Expect("it falls over again: nobody is served", lambda r: r.good("herd") == 0),
        ]
        after = [Expect("and stays down", lambda r: r.count("warm", 502, 503) == 10)]
    return [
        Step(
            f"A service fails. {FAILURES} clients meet its errors.",
            fail,
            [Expect("each request gets a 500", lambda r: r.count("ill", 500) == FAILURES)],
        ),
        Step(f"It comes back, still cold. {HERD} clients have been waiting.", come_back, herd),
        Step("A little later.", warm, after),
    ]


SCENARIO = Scenario(
    name="recovery-herd",
    title="Thundering herd on recovery",
    story=(
        "A service that just started has empty caches and no warm connections: it bears less than usual, "
        "and gets more than usual, since everybody who waited comes at once. It falls over again, as often "
        "as it gets up."
    ),
    cure=f"circuit breaker whose half-open state lets {PROBES} probes through",
    source=(
        "SRE book, ch. 22 (slow startup and cold caching); B. Maurer, Fail at Scale, ACM Queue 13(8), 2015; "
        "resilience4j, CircuitBreaker"
    ),
    look_at="Breakers: half-open, probes in flight.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("the breaker keeps the herd out", lambda off, on: on[INSIDE] < off[INSIDE]),
    ],
    questions=[
        Question(
            f"{HERD} requests arrive in the moment the breaker turns half-open. How many get through?",
            f"{PROBES}, however many come at once.",
        ),
        Question(
            "And in the moment it closes?",
            "All of them: a breaker is a door, no ramp. Clients with jitter, and a limit, make the ramp.",
        ),
    ],
)
