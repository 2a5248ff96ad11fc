"""A bounded memory of clients, in which nobody becomes unlimited by being forgotten.

Whoever can invent addresses can fill any table. A table that then drops its least recently used entry is a
way out for a limited client: invent enough others, be forgotten, start anew. So a full table makes room by

1. a client that has not been admitted anything for a whole window: under every algorithm here it has its
   full allowance back, and is as good as new;
2. otherwise, the client that has used least of its allowance (to a power of two; the oldest of those);
3. never one that has used all of it. Where all clients have, a new one has to wait.

Each step looks at the heads of a few queues, one per power of two: the work does not grow with the clients.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar


class Client:
    """What is remembered of one client; each algorithm adds its own."""

    __slots__ = ("rank",)

    def __init__(self) -> None:
        self.rank: OrderedDict[Hashable, float] | None = None
        """The queue the client stands in; None until its first request is admitted."""


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """At most `maximum` clients, each with `limit` requests per `window` seconds."""

    def __init__(self, limit: int, window: float, maximum: int) -> None:
        self._limit = limit
        self._window = window
        self._maximum = maximum
        self._known: dict[Hashable, C] = {}
        # Client → time of its last admission, oldest first. Queue i: 2**i requests used, or more; the last
        # queue: the whole allowance.
        self._ranks = [OrderedDict[Hashable, float]() for _ in range(limit.bit_length() + 1)]
        self.get = self._known.get

    def __len__(self) -> int:
        return len(self._known)

    def admitted(self, key: Hashable, client: C, used: int, now: float) -> None:
        """Remember that `client` was admitted now, and has used so many of its requests (at least 1)."""
        rank = self._ranks[-1 if used >= self._limit else used.bit_length() - 1]
        if client.rank is not rank:
            if client.rank is None:
                self._known[key] = client
            else:
                del client.rank[key]
            client.rank = rank
        rank[key] = now
        rank.move_to_end(key)

    def room(self, now: float) -> float:
        """Seconds until a new client can be remembered: 0 after one that does not matter was forgotten."""
        if len(self._known) < self._maximum:
            return 0.0
        occupied = [rank for rank in self._ranks if rank]
        for rank in occupied:
            key, last = next(iter(rank.items()))
            if last + self._window <= now:
                return self._forget(key, rank)
        least = occupied[0]
        key, last = next(iter(least.items()))
        if least is not self._ranks[-1]:
            return self._forget(key, least)
        return last + self._window - now

    def _forget(self, key: Hashable, rank: OrderedDict[Hashable, float]) -> float:
        del self._known[key], rank[key]
        return 0.0

    def heaviest(self, count: int) -> list[tuple[Hashable, C, float]]:
        """At most `count` clients, those who used most, with their last admission; oldest first."""
        heaviest_first = (entry for rank in reversed(self._ranks) for entry in reversed(rank.items()))
        found = sorted(islice(heaviest_first, count), key=lambda entry: entry[1])
        return [(key, self._known[key], last) for key, last in found]
