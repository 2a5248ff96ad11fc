"""One replica dies, its share makes the next one die, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.scenarios.backend import Backend
from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

REPLICAS = 3
CLIENTS = 24
BEARABLE = 10
"""Requests at a time that a replica survives; 24 clients are 8 for each of three, 12 for each of two."""
SECONDS = 0.6
"""What a request takes: long enough that all clients' requests are there at once, also on a busy machine."""
PLACES = 9
ALIVE = "replicas alive at the end"
GOOD = "answers after the first one died"


def policies(cured: bool) -> dict[str, dict[str, Any]]:
    return {"bulkhead": {"enabled": cured, "options": {"max_concurrent": PLACES}}}


class Balancer:
    """Sends each request to the replica with the fewest on their way; one that failed gets no more."""

    def __init__(self, names: Sequence[str]) -> None:
        self.in_flight = dict.fromkeys(names, 0)

    async def ask(self, play: Play, tag: str) -> None:
        if not self.in_flight:
            await play.pause(0.05)  # nobody is left to ask
            return
        name = min(self.in_flight, key=self.in_flight.__getitem__)
        self.in_flight[name] += 1
        outcome = await play.get(f"/{name}/", tag, timeout=5)
        if name in self.in_flight:
            self.in_flight[name] -= 1
            if outcome.status == 502:
                del self.in_flight[name]  # a health check's work; a 503 says busy, not dead
        if not outcome.ok:
            await play.pause(0.05)


async def start(play: Play) -> None:
    for n in range(1, REPLICAS + 1):
        backend = Backend(seconds=SECONDS, breaks_at=BEARABLE)
        await play.backend(f"replica-{n}", backend, retries=0)
    await crowd(play, "before", 1)


async def crowd(play: Play, tag: str, rounds: int) -> None:
    """Each client asks so many times, waiting for each answer."""
    balancer = Balancer([name for name, backend in play.backends.items() if not backend.crashed])

    async def client() -> None:
        for _ in range(rounds):
            await balancer.ask(play, tag)

    await play.together(client() for _ in range(CLIENTS))


async def kill_one(play: Play) -> None:
    play.strike(play.backends["replica-1"].crash)
    await crowd(play, "after", 3)
    await play.measure(ALIVE, lambda r: sum(not backend.crashed for backend in play.backends.values()))
    await play.measure(GOOD, lambda r: r.good("after"))


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [
            Expect("the other two live on", lambda r: r.figures[ALIVE] == REPLICAS - 1),
            Expect("what is too much for them is refused", lambda r: r.count("after", 503) > 0),
            Expect("most requests are answered", lambda r: r.good("after") > r.count("after") / 2),
        ]
    else:
        expected = [
            Expect("all of them die", lambda r: r.figures[ALIVE] == 0),
            Expect("hardly anything is answered", lambda r: r.good("after") < CLIENTS),
        ]
    return [
        Step(
            f"{CLIENTS} clients on {REPLICAS} replicas, {CLIENTS // REPLICAS} each. One replica bears "
            f"{BEARABLE}.",
            start,
            [Expect("all is well", lambda r: r.good("before") == CLIENTS)],
        ),
        Step("Replica 1 dies. The balancer sends its share to the others.", kill_one, expected),
    ]


SCENARIO = Scenario(
    name="cascade",
    title="Cascading failure",
    story=(
        "Three replicas share a load that two cannot bear. When one dies the balancer does its duty: the "
        "others get more, run out of memory or threads, and die too, each faster than the one before. "
        "Restarting one does not help: it meets the whole load alone."
    ),
    cure=f"load shedding: a bulkhead of {PLACES} requests at a time for each replica, the rest gets a 503",
    source="M. Ulrich, Addressing Cascading Failures, SRE book, ch. 22",
    look_at="Breakers and Overview: one service after the other answers 502.",
    policies=policies,
    script=script,
    contrast=[
        Contrast("shedding keeps the others alive", lambda off, on: on[ALIVE] > off[ALIVE]),
        Contrast("a few refusals buy many answers", lambda off, on: on[GOOD] > 2 * off[GOOD]),
    ],
    questions=[
        Question(
            f"{REPLICAS} replicas of {BEARABLE} places each serve {CLIENTS} clients. How many may die?",
            f"None: two have {2 * BEARABLE} places. At 80 % load the system has no replica to spare.",
        ),
        Question(
            "All are dead and one is started again. What does it meet?",
            "The whole load. First the load must go down, then replicas can come back.",
        ),
    ],
)
