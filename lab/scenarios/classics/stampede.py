"""A popular page leaves the cache, and everybody asks for it at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play
from lab.scenarios.recording import Recording

READERS = 50
ASKED = "times the service made the page"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {"cache": {"use": "http", "options": {"coalesce": cured}}}


async def start(play: Play) -> None:
    # Half a second a page: time enough for all readers to arrive, also on a busy machine.
    await play.backend("shop", Backend(seconds=0.5, cache_control="max-age=60"), pool=200, retries=0)
    await play.get("/shop/front-page", "warm")
    await play.get("/shop/front-page", "hit")


async def expire(play: Play) -> None:
    await play.control("DELETE", "/cache")
    before = play.backends["shop"].total
    await play.burst(READERS, "/shop/front-page", "reader")
    await play.measure(ASKED, lambda r: play.backends["shop"].total - before)


async def read(play: Play) -> None:
    await play.burst(READERS, "/shop/front-page", "later")


def only_hits(recording: Recording, tag: str) -> bool:
    return all(outcome.headers["x-cache"] == "HIT" for outcome in recording.tagged(tag))


def script(cured: bool) -> Sequence[Step]:
    if cured:
        stampede = [
            Expect("the service makes the page once", lambda r: r.figures[ASKED] == 1),
            Expect("most readers waited for that one", lambda r: r.total("coalesced") >= READERS // 2),
        ]
    else:
        stampede = [
            Expect(
                f"the service makes the same page more than {READERS // 2} times",
                lambda r: r.figures[ASKED] > READERS // 2,
            ),
            Expect("nobody waits for another one", lambda r: r.total("coalesced") == 0),
        ]
    return [
        Step(
            "A page takes the service half a second. The cache has it.",
            start,
            [Expect("the second reader gets a hit", lambda r: only_hits(r, "hit"))],
        ),
        Step(
            f"The page leaves the cache, and {READERS} readers want it at once.",
            expire,
            [*stampede, Expect("all get it", lambda r: r.good("reader") == READERS)],
        ),
        Step(
            f"{READERS} more come.",
            read,
            [Expect("all are hits", lambda r: only_hits(r, "later"))],
        ),
    ]


SCENARIO = Scenario(
    name="stampede",
    title="Cache stampede",
    story=(
        "While a cached page is there, a thousand readers cost nothing. In the moment it expires, all of "
        "them miss, and the service makes the same page for each. The heavier the page, the longer the "
        "moment."
    ),
    cure="coalescing: of many equal misses one asks, the others wait for its answer",
    source=(
        "A. Vattani, F. Chierichetti, K. Lowenstein, Optimal Probabilistic Cache Stampede Prevention, PVLDB "
        "8(8), 2015; R. Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1 (leases)"
    ),
    look_at="Cache: misses against upstream calls, and the figure 'coalesced'.",
    policies=policies,
    script=script,
    contrast=[Contrast("coalescing makes one of many", lambda off, on: on[ASKED] * 10 < off[ASKED])],
    questions=[
        Question(
            f"{READERS} readers want a page that just expired. How often does the service make it?",
            "Once for each reader that comes before the first answer is there; with coalescing once.",
        ),
        Question(
            "What happens to the waiting readers if the one that asks goes away?",
            "The first of them asks in its place; nobody gets an error for it.",
        ),
    ],
)
