"""One key of thousands is asked for more than all others, and all of it meets one shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lab.load.direct import Outcome
from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play
from lab.scenarios.recording import Recording

REQUESTS, KEYS, HOT = 160, 40, 0
SHARE = 0.8
QUEUE = 40
"""Requests that may wait at a shard; one more is refused."""
HOT_ASKED = "requests for the hot key that reached its shard"
ASKED = "requests that reached the hot shard"
OTHER = "requests that reached the other shard"
GOOD = "answers from the hot shard"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {"cache": {"enabled": cured, "use": "http", "options": {"ttl": 5, "coalesce": True}}}


async def ask(play: Play) -> None:
    # 20 requests a second each; nothing said about caching, so that the gateway's few seconds count.
    for shard in range(2):
        backend = Backend(workers=1, seconds=0.05, queue=QUEUE, cache_control="")
        await play.backend(f"shard-{shard}", backend, pool=500, retries=0)
    drawn = (HOT if play.dice.random() < SHARE else play.dice.randrange(1, KEYS) for _ in range(REQUESTS))

    async def one(key: int) -> Outcome:
        return await play.get(f"/shard-{key % 2}/key/{key}", f"shard {key % 2}")

    await asyncio.gather(*(one(key) for key in drawn))
    await play.measure(ASKED, lambda r: play.backends["shard-0"].total)
    await play.measure(HOT_ASKED, lambda r: len(play.backends["shard-0"].arrived[f"/key/{HOT}"]))
    await play.measure(OTHER, lambda r: play.backends["shard-1"].total)
    await play.measure(GOOD, lambda r: r.good("shard 0"))


def good_of(recording: Recording) -> int:
    return recording.good("shard 0") + recording.good("shard 1")


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [
            Expect("the hot key reaches its shard once", lambda r: r.figures[HOT_ASKED] == 1),
            Expect("everybody is answered", lambda r: good_of(r) == REQUESTS),
        ]
    else:
        expected = [
            Expect(
                "one shard gets several times what the other gets",
                lambda r: r.figures[ASKED] > 3 * r.figures[OTHER],
            ),
            Expect("its queue overflows", lambda r: r.count("shard 0", 503) > REQUESTS // 10),
            Expect("the other shard serves everybody", lambda r: r.good("shard 1") == r.count("shard 1") > 0),
        ]
    return [
        Step(
            f"{REQUESTS} requests at once for {KEYS} keys on two shards; {SHARE:.0%} of them want key {HOT}.",
            ask,
            expected,
        )
    ]


SCENARIO = Scenario(
    name="hot-key",
    title="Hot key",
    story=(
        "Keys are spread evenly over shards, requests over keys are not: one product is advertised, one "
        "account is famous. All of its requests meet the one shard that has the key, and adding shards "
        "changes nothing."
    ),
    cure="a cache of a few seconds in front of the shards",
    source=(
        "R. Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.3 (replication within "
        "pools)"
    ),
    look_at="Overview: requests that take seconds, services asked less. Cache: the hits of one entry.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("the cache takes the hot key's load away", lambda off, on: 3 * on[ASKED] < off[ASKED]),
        Contrast("and its neighbours on the shard are served", lambda off, on: on[GOOD] > off[GOOD]),
    ],
    questions=[
        Question(
            "One shard of two is overloaded by one key. Does a third shard help?",
            "No: the key still lives on one of them.",
        ),
        Question(
            "How old may a cached value be to help here?",
            "A second would do: what counts is asking once a second instead of hundreds of times.",
        ),
    ],
)
