"""A service is killed and started again, and nobody notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.load.direct import Outcome
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import NotSeen, Play

PAGES = 3
FAILED = "requests that failed while the service was away"
STALE = "answers from the cache in its place"


def page(n: int) -> str:
    """To be checked with the service before it is used again; where that fails it may be used as it is."""
    return f"/service-a/cached?control=max-age=0,stale-if-error=60&n={n % PAGES}"


def stood_in(outcome: Outcome) -> bool:
    return "stale-if-error" in outcome.headers.get("cache-status", "")


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    # With a smaller budget than one retry for each request it would depend on the moment whether it lasts.
    return {"cache": {"enabled": cured, "use": "http"}, "retry": {"options": {"budget_percent": 100}}}


async def warm(play: Play) -> None:
    await play.service("service-a", retries=1 if play.cured else 0)
    for n in range(PAGES):
        await play.get(page(n), "before")


async def kill(play: Play) -> None:
    """Ask on and on: until its absence was noticed, and then until it is back."""
    await play.kill("service-a")
    away = False
    for n in range(400):
        outcome = await play.get(page(n), "during")
        noticed = stood_in(outcome) or not outcome.ok
        if away and not noticed:
            break
        away = away or noticed
        await play.pause(0.03)
    else:
        raise NotSeen("the service was not seen going and coming back")
    await play.measure(FAILED, lambda r: r.count("during") - r.good("during"))
    await play.measure(STALE, lambda r: sum(stood_in(outcome) for outcome in r.tagged("during")))


async def after(play: Play) -> None:
    for n in range(PAGES):
        await play.get(page(n), "after")


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [
            Expect("no request fails", lambda r: r.figures[FAILED] == 0),
            Expect("the cache stands in for the service", lambda r: r.figures[STALE] > 0),
        ]
    else:
        expected = [
            Expect("requests fail until it is back", lambda r: r.figures[FAILED] > 0),
            Expect(
                "with 502, or 503 once it is known to be down",
                lambda r: r.count("during", 502, 503) == r.figures[FAILED],
            ),
        ]
    return [
        Step("A service that is well.", warm, [Expect("it answers", lambda r: r.good("before") == PAGES)]),
        Step("Its process is killed, and started again. Clients go on asking.", kill, expected, within=18),
        Step(
            "It is back.",
            after,
            [
                Expect(
                    "answers are its own again",
                    lambda r: r.good("after") == PAGES and not any(map(stood_in, r.tagged("after"))),
                )
            ],
        ),
    ]


SCENARIO = Scenario(
    name="zero-downtime",
    title="Killed and restarted without an error",
    story=(
        "Processes die and are deployed. For the second or two in between their port refuses connections, "
        "and every client that asks just then gets an error, although an answer from a minute ago would "
        "have done."
    ),
    cure="stale-if-error in the cache, and retries",
    source="RFC 5861, section 4; SRE book, ch. 22 (graceful degradation)",
    look_at="Processes: the restart. Cache: the figure 'stale'.",
    policies=policies,
    script=script,
    contrast=[Contrast("the errors are gone", lambda off, on: on[FAILED] == 0 < off[FAILED])],
    questions=[
        Question(
            "A retry after 50 ms: does it help while a service restarts for two seconds?",
            "Hardly. It helps where another instance answers, or where the absence is shorter than the "
            "pauses.",
        ),
        Question(
            "For which answers is stale-if-error wrong?",
            "Where an old answer is worse than none: balances, stock, permissions.",
        ),
    ],
)
