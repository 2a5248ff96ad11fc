"""Sliding window: a log of when each request was admitted; what is older than a window drops out.

    limit 4            ├──── window ────┤
    admitted      1   2     3 4         ·
                   ├──── window ────┤   ·
    request                        ✗    ·     four in the window that ends here
    request                             5     the first has left: never more than limit, in any window

The exact form (a "sliding log"). Many gateways keep only two counters and estimate the share of the previous
window instead, as Cloudflare describes ("How we built rate limiting capable of scaling to millions of
domains", 2017): less memory, but now and then a request too many or too few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from lab.policies.rate_limit.clients import Client, Clients
from lab.policies.rate_limit.limiter import Verdict

EXACT = 1000
"""Up to this limit every admission has its own entry in the log. Beyond it, those within a thousandth of the
window share one and leave together with the last of them: still never too many, and the log stays short."""


class Entry:
    """One or more admissions that leave the log together, one window after the last of them."""

    __slots__ = ("count", "first", "last")

    def __init__(self, first: float, last: float, count: int = 1) -> None:
        self.first = first
        self.last = last
        self.count = count


class Log(Client):
    __slots__ = ("entries", "used")

    def __init__(self) -> None:
        super().__init__()
        self.entries: deque[Entry] = deque()
        self.used = 0
        """The sum of the entries' counts."""


class SlidingWindow:
    """At most `limit` requests in any `window` seconds; memory: up to `limit` entries a client, or 1001."""

    def __init__(self, limit: int, window: float, max_clients: int = 10_000) -> None:
        self.limit = limit
        self.window = window
        self.max_clients = max_clients
        self._share = 0.0 if limit <= EXACT else window / EXACT
        self._clients: Clients[Log] = Clients(limit, window, max_clients)
        self._now = 0.0

    def take(self, key: Hashable, now: float) -> Verdict:
        now = self._now = max(now, self._now)  # a clock that is set back stands still until it has caught up
        client = self._clients.get(key)
        if client is None:
            wait = self._clients.room(now)
            if wait > 0:
                return Verdict(False, self.limit, 0, wait, wait)
            client = Log()
        entries = client.entries
        while entries and entries[0].last + self.window <= now:
            client.used -= entries.popleft().count
        if client.used >= self.limit:
            wait = entries[0].last + self.window - now
            return Verdict(False, self.limit, 0, wait, wait)
        if entries and now - entries[-1].first <= self._share:
            entries[-1].last = now
            entries[-1].count += 1
        else:
            entries.append(Entry(now, now))
        client.used += 1
        self._clients.admitted(key, client, client.used, now)
        return Verdict(True, self.limit, self.limit - client.used, entries[0].last + self.window - now)

    @property
    def clients(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def adopt(self, old: SlidingWindow) -> None:
        """Go on with what `old` counted; this object's own limit and window hold from now on."""
        self._now = old._now
        for key, client, last in old._clients.heaviest(self.max_clients):
            log = Log()
            # Newest first, and only as many as decide when the next request is admitted.
            for entry in reversed(client.entries):
                if log.used >= self.limit:
                    break
                log.entries.appendleft(Entry(entry.first, entry.last, entry.count))
                log.used += entry.count
            self._clients.admitted(key, log, log.used, last)
