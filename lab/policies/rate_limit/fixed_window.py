"""Fixed window: a counter per client that starts again with each window.

    limit 4      ├──── window ────┤├──── window ────┤
    requests      1           234✗  1234✗✗
                              └──────┘ 7 within a moment: up to 2 × limit around the boundary

A client's window begins with its first request, so no boundary is common to all clients. Cheap (one number a
client) and easy to explain; the price is the burst at the boundary. It was the usual one for public APIs.
"""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.clients import Client, Clients
from lab.policies.rate_limit.limiter import Verdict


class Window(Client):
    __slots__ = ("start", "used")

    def __init__(self, start: float, used: int = 0) -> None:
        super().__init__()
        self.start = start
        self.used = used


class FixedWindow:
    """At most `limit` requests in each `window` seconds from a client's first; memory: 2 numbers a client."""

    def __init__(self, limit: int, window: float, max_clients: int = 10_000) -> None:
        self.limit = limit
        self.window = window
        self.max_clients = max_clients
        self._clients: Clients[Window] = Clients(limit, window, max_clients)
        self._now = 0.0

    def take(self, key: Hashable, now: float) -> Verdict:
        now = self._now = max(now, self._now)  # a clock that is set back stands still until it has caught up
        client = self._clients.get(key)
        if client is None:
            wait = self._clients.room(now)
            if wait > 0:
                return Verdict(False, self.limit, 0, wait, wait)
            client = Window(start=now)
        elif now >= client.start + self.window:
            client.start = now
            client.used = 0
        reset = client.start + self.window - now
        if client.used >= self.limit:
            return Verdict(False, self.limit, 0, reset, reset)
        client.used += 1
        self._clients.admitted(key, client, client.used, now)
        return Verdict(True, self.limit, self.limit - client.used, reset)

    @property
    def clients(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def adopt(self, old: FixedWindow) -> None:
        """Go on with what `old` counted; this object's own limit and window hold from now on."""
        self._now = old._now
        for key, client, last in old._clients.heaviest(self.max_clients):
            self._clients.admitted(key, Window(client.start, client.used), client.used, last)
