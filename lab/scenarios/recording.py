"""What is seen during a play: the gateway's feed, and what became of the requests that were sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from lab.load.direct import Outcome

Message = dict[str, Any]


class Recording:
    """Events in order, the newest figures, and outcomes by tag.

    Counts begin at the snapshot with which the recording is begun. Whoever waits for something (`until`) is
    woken by whatever comes in; no method asks the gateway.
    """

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.outcomes: list[Outcome] = []
        self.figures: dict[str, float] = {}
        """What the script measured, for the comparison without and with the cure."""
        self.state: Message = {}
        """The newest snapshot or tick."""
        self._first: Message = {}
        self._seq = -1
        self._news = asyncio.Event()

    # -- what comes in ---------------------------------------------------------------------------------------

    def begin(self, snapshot: Message) -> None:
        """Count from here on."""
        self._first = self.state = snapshot
        self._seq = int(snapshot["seq"])

    def hear(self, message: Message) -> None:
        """A message of the feed, or a snapshot that was asked for."""
        seq = int(message.get("seq", -1))
        if message.get("type") == "event":
            if seq > int(self._first.get("seq", -1)):
                self.events.append(message)
        elif seq >= self._seq:  # an older tick may arrive after a snapshot that was asked for
            self._seq = seq
            self.state = {**self.state, **message}
        self._news.set()

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._news.set()

    async def until(self, check: Callable[[], bool]) -> None:
        """Return once `check` is true; it is asked again whenever something came in."""
        while not check():
            self._news.clear()
            await self._news.wait()

    # -- what can be asked -----------------------------------------------------------------------------------

    def seen(self, kind: str, **fields: Any) -> list[Message]:
        """The events of this kind whose fields have these values; `from_` stands for `from`."""
        wanted = {name.rstrip("_"): value for name, value in fields.items()}
        return [
            event
            for event in self.events
            if event["kind"] == kind and all(event.get(name) == value for name, value in wanted.items())
        ]

    def states(self, service: str) -> list[str]:
        """The states that the service's breaker went into, in order."""
        return [event["to"] for event in self.seen("breaker", service=service)]

    @property
    def order(self) -> list[str]:
        """The transitions of the play, in order: what must be the same in each play.

        Health checks and a budget's recovery follow a clock of their own and are no part of it.
        """
        told = []
        for event in self.events:
            if event["kind"] == "breaker":
                told.append(f"breaker {event['service']}: {event['from']} → {event['to']}")
            elif event["kind"] == "retry_budget" and event["action"] == "exhausted":
                told.append(f"retry budget {event['service']}: {event['action']}")
        return told

    def total(self, name: str, service: str | None = None) -> int:
        """By how much a total of the feed grew, of all services or of one."""

        def of(state: Message) -> int:
            where = state if service is None else state.get("services", {}).get(service, {})
            return int(where.get("totals", {}).get(name, 0))

        return of(self.state) - of(self._first)

    def tagged(self, tag: str) -> list[Outcome]:
        """The outcomes of requests with this tag, in the order in which they ended."""
        return [outcome for outcome in self.outcomes if outcome.request.tag == tag]

    def count(self, tag: str, *statuses: int | str) -> int:
        """How many requests with this tag ended with one of these statuses, or failures such as `timeout`."""
        wanted = set(statuses)
        return sum(1 for o in self.tagged(tag) if not wanted or o.status in wanted or o.failure in wanted)

    def good(self, tag: str) -> int:
        """How many requests with this tag were answered well."""
        return sum(outcome.ok for outcome in self.tagged(tag))


def summary(outcomes: Iterable[Outcome]) -> str:
    """`28 × 200, 2 × timeout`, the most frequent first."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        key = str(outcome.status if outcome.status is not None else outcome.failure)
        counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} × {key}" for key, count in ordered) or "no requests"
