"""One client asks so much that the others get nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

NOISY, POLITE, EACH = 200, 4, 3
SECONDS, PATIENCE = 0.04, 2.5
"""What a request takes; how long a polite client waits for it. The flood is eight seconds of work."""
LIMIT = 10
SERVED = "answers that the polite clients got"
REACHED = "requests of the noisy client that reached the service"
ALL = POLITE * EACH


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    options = {"limit": LIMIT, "window": 60, "routes": []}
    return {"rate_limit": {"enabled": cured, "use": "sliding_window", "options": options}}


async def flood(play: Play) -> None:
    shop = await play.backend("shop", Backend(workers=1, seconds=SECONDS), pool=500, retries=0)
    play.meanwhile(play.burst(NOISY, "/shop/", "noisy", client=play.client()))
    there = LIMIT if play.cured else NOISY
    await play.until("the flood", lambda r: shop.total >= there)
    await play.measure(REACHED, lambda r: shop.total)


async def ask_politely(play: Play) -> None:
    clients = [play.client() for _ in range(POLITE)]
    wishes = [play.burst(EACH, "/shop/", "polite", client=client, timeout=PATIENCE) for client in clients]
    await play.together(wishes)
    await play.measure(SERVED, lambda r: r.good("polite"))


def script(cured: bool) -> Sequence[Step]:
    if cured:
        flooded = [
            Expect(f"{LIMIT} requests reach the service", lambda r: r.figures[REACHED] == LIMIT),
            Expect(
                f"{NOISY - LIMIT} requests of the noisy client get a 429",
                lambda r: r.count("noisy", 429) == NOISY - LIMIT,
            ),
        ]
        asked = [Expect("all polite clients are served", lambda r: r.good("polite") == ALL)]
    else:
        flooded = [Expect("all of it reaches the service", lambda r: r.figures[REACHED] == NOISY)]
        asked = [
            Expect("the polite clients get no answer in time", lambda r: r.count("polite", "timeout") == ALL),
            Expect("nobody is limited", lambda r: r.total("limited") == 0),
        ]
    return [
        Step(
            f"A service that makes {1 / SECONDS:.0f} answers a second. One client sends {NOISY} requests at "
            "once.",
            flood,
            flooded,
        ),
        Step(
            f"{POLITE} other clients want {EACH} answers each and wait {PATIENCE:g} seconds for them.",
            ask_politely,
            asked,
        ),
    ]


SCENARIO = Scenario(
    name="noisy-neighbour",
    title="Noisy neighbour",
    story=(
        "A shared service is sized for all of its clients. One of them, by a loop or by success, sends more "
        "than all others together. First come, first served then means: the others wait behind it until "
        "they give up."
    ),
    cure=f"rate limit of {LIMIT} requests per client and minute",
    source="D. Yanacek, Fairness in multi-tenant systems, Amazon Builders' Library; SRE book, ch. 21",
    look_at="Clients: one line that is limited, the others untouched.",
    policies=policies,
    script=script,
    contrast=[Contrast("the limit gives the polite their share", lambda off, on: on[SERVED] > off[SERVED])],
    questions=[
        Question(
            f"One client has {NOISY} requests in the queue. When is another client's first request served?",
            "After all of them: the queue is one, and it does not know clients.",
        ),
        Question(
            "What does the limit cost the noisy client when nobody else is there?",
            "Everything above it: a fixed share wastes what others leave. That is why limits are generous.",
        ),
    ],
    many_clients=True,
)
