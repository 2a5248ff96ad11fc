"""A service fails, its breaker opens, waits, tries, and closes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

FAILURES, OPEN_FOR, PROBES = 5, 2.0, 2
REQUESTS = 30
ASKED = "requests that reached the ill service"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    options = {"failures": FAILURES, "open_for": OPEN_FOR, "probes": PROBES}
    return {"breaker": {"enabled": cured, "use": "consecutive", "options": options}}


async def fall_ill(play: Play) -> None:
    await play.service("service-a", retries=0)  # so that an exchange is one attempt
    await play.fault("service-a", "error", status=500)
    for n in range(REQUESTS):
        await play.get(f"/service-a/items/{n}", "ill")
    await play.measure(ASKED, lambda r: r.total("upstream_calls", "service-a"))


async def recover(play: Play) -> None:
    await play.mend("service-a")
    if play.cured:
        await play.until("half-open", lambda r: r.states("service-a")[-1:] == ["half_open"])
    for n in range(PROBES):
        await play.get(f"/service-a/items/{n}", "probe")


async def ask_again(play: Play) -> None:
    for n in range(5):
        await play.get(f"/service-a/items/{n}", "well")


def script(cured: bool) -> Sequence[Step]:
    if cured:
        ill = [
            Expect("the breaker opens", lambda r: r.states("service-a")[:1] == ["open"]),
            Expect(f"{FAILURES} clients get the service's 500", lambda r: r.count("ill", 500) == FAILURES),
            Expect("all others get a 503 at once", lambda r: r.count("ill", 503) == REQUESTS - FAILURES),
            Expect(
                "each 503 says when to come again",
                lambda r: all("retry-after" in o.headers for o in r.tagged("ill") if o.status == 503),
            ),
            Expect(
                f"the service is asked {FAILURES} times",
                lambda r: r.total("upstream_calls", "service-a") == FAILURES,
            ),
        ]
        well = [
            Expect(
                "open, half-open, closed: in this order and nothing else",
                lambda r: r.states("service-a") == ["open", "half_open", "closed"],
            ),
            Expect(f"{PROBES} probes got a 200", lambda r: r.count("probe", 200) == PROBES),
        ]
    else:
        ill = [
            Expect("every client gets the 500", lambda r: r.count("ill", 500) == REQUESTS),
            Expect(
                "and the ill service gets every request",
                lambda r: r.total("upstream_calls", "service-a") == REQUESTS,
            ),
        ]
        well = [Expect("it answers again", lambda r: r.good("probe") == PROBES)]
    return [
        Step(f"Service A answers every request with a 500. {REQUESTS} clients ask in turn.", fall_ill, ill),
        Step("It is repaired. The next requests find out.", recover, well),
        Step("Business as usual.", ask_again, [Expect("all are answered", lambda r: r.good("well") == 5)]),
    ]


SCENARIO = Scenario(
    name="breaker-trip",
    title="A breaker trips and recovers",
    story=(
        "A service fails every request. Each client waits for its error all the same, and the service, "
        "which may need a rest to recover, is asked as often as ever. A circuit breaker stops asking, and "
        "later asks carefully."
    ),
    cure=f"circuit breaker: open after {FAILURES} failures in a row, {PROBES} probes after {OPEN_FOR:g} s",
    source="M. Nygard, Release It!, 2nd ed., ch. 5 (circuit breaker); resilience4j, CircuitBreaker",
    look_at="Breakers: the state and its history. Overview: the path stops at the breaker.",
    policies=policies,
    script=script,
    contrast=[Contrast("the breaker spares the ill service", lambda off, on: on[ASKED] < off[ASKED] / 3)],
    questions=[
        Question(
            f"{REQUESTS} clients ask an ill service whose breaker opens after {FAILURES} failures. How many "
            "requests does the service see?",
            f"{FAILURES}. All others are answered by the breaker.",
        ),
        Question(
            "The service is repaired while the breaker is open. When do clients notice?",
            f"After open_for ({OPEN_FOR:g} s): until then nobody asks. Then {PROBES} probes decide.",
        ),
    ],
)
