"""A quarter of the data cannot be read, and the breaker takes the other three quarters away too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

SHARDS, ROUNDS = 4, 15
SICK = 4
SENSITIVE = 20
"""Percent of failures at which a breaker opens."""
HEALTHY = (SHARDS - 1) * ROUNDS
GOOD = "requests for healthy shards that were answered"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    # Sensitive enough to notice one shard of four; no probe is let through while the play lasts.
    options = {"window": 20, "minimum_calls": 8, "open_for": 60, "probes": 1}
    return {"breaker": {"use": "failure_rate", "options": {**options, "failure_percent": SENSITIVE}}}


def through(cured: bool, shard: int) -> str:
    """The service's name in the gateway: one for all shards, or one for each."""
    return f"shard-{shard}" if cured else "store"


async def break_one(play: Play) -> None:
    for name in {through(play.cured, shard) for shard in range(1, SHARDS + 1)}:
        await play.service(name, url=play.address("service-a"), retries=0)
    await play.fault("service-a", "error", status=500, path=f"/items/{SICK}")
    for _ in range(ROUNDS):
        for shard in range(1, SHARDS + 1):
            tag = "sick" if shard == SICK else "healthy"
            await play.get(f"/{through(play.cured, shard)}/items/{shard}", tag)
    await play.measure(GOOD, lambda r: r.good("healthy"))


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [
            Expect("only the sick shard's breaker opens", lambda r: r.states(f"shard-{SICK}") == ["open"]),
            Expect("and no other", lambda r: len(r.seen("breaker")) == 1),
            Expect("every healthy shard answers everything", lambda r: r.good("healthy") == HEALTHY),
        ]
    else:
        expected = [
            Expect("the breaker opens", lambda r: r.states("store") == ["open"]),
            Expect(
                "requests for healthy shards are refused", lambda r: r.count("healthy", 503) > HEALTHY / 2
            ),
            Expect("few clients saw the fault itself", lambda r: 0 < r.count("sick", 500) < ROUNDS / 2),
        ]
    return [
        Step(
            f"A store of {SHARDS} shards. Shard {SICK} fails; {ROUNDS} requests for each, in turn.",
            break_one,
            expected,
        )
    ]


SCENARIO = Scenario(
    name="partial-outage",
    title="A breaker widens a partial outage",
    story=(
        "A sharded service fails for a quarter of its keys. To a breaker it is one service with many "
        "failures: it opens, and the quarter becomes a whole. The tool against spreading failures has "
        "spread one."
    ),
    cure="a breaker for each shard",
    source=(
        "M. Brooker, Will circuit breakers solve my problems?, 2022; the same, Timeouts, retries and backoff "
        "with jitter, Amazon Builders' Library (circuit breakers)"
    ),
    look_at="Breakers: one for the store, or one for each shard.",
    policies=policies,
    script=script,
    contrast=[Contrast("more healthy requests are answered", lambda off, on: on[GOOD] > 2 * off[GOOD])],
    questions=[
        Question(
            f"One shard of {SHARDS} fails. With one breaker at {SENSITIVE} % failures, how much of the "
            "service is left?",
            "Nothing: 25 % of the calls fail, and the breaker opens for all.",
        ),
        Question(
            "Why not set the threshold to 90 %?",
            "Then the breaker does nothing for the sick shard. It has to know what fails together.",
        ),
    ],
)
