"""Token bucket: each request takes a token; tokens come back at a steady rate until the bucket is full.

    tokens 4 ┤█                             ▄█████    limit 4: a full bucket lets 4 requests burst,
           2 ┤ █▄                      ▄████          then one for each token that comes back,
           0 ┤   █▄____▄█_____▄█__▄████               one every window / limit seconds
    requests  1234     5      6

J. Turner, "New directions in communications (or which way to the information age?)", IEEE Communications
Magazine, 1986, has it as the leaky bucket seen from the other side. It gives way to bursts and still holds
the rate in the long run; two numbers a client are all it needs.
"""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.clients import Client, Clients
from lab.policies.rate_limit.limiter import Verdict

ALMOST = 1e-9
"""Tokens are fractions, and fractions are rounded: a bucket that is short of one by this much has one."""


class Bucket(Client):
    __slots__ = ("tokens", "updated")

    def __init__(self, tokens: float, updated: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.updated = updated


class TokenBucket:
    """At most `limit` at once, and `limit` + `limit` × t / `window` in any t seconds; 2 numbers a client."""

    def __init__(self, limit: int, window: float, max_clients: int = 10_000) -> None:
        self.limit = limit
        self.window = window
        self.max_clients = max_clients
        self._rate = limit / window
        self._clients: Clients[Bucket] = Clients(limit, window, max_clients)
        self._now = 0.0

    def take(self, key: Hashable, now: float) -> Verdict:
        now = self._now = max(now, self._now)  # a clock that is set back stands still until it has caught up
        client = self._clients.get(key)
        if client is None:
            wait = self._clients.room(now)
            if wait > 0:
                return Verdict(False, self.limit, 0, wait, wait)
            client = Bucket(tokens=self.limit, updated=now)
        tokens = min(self.limit, client.tokens + (now - client.updated) * self._rate)
        if tokens < 1 - ALMOST:
            wait = (1 - tokens) / self._rate
            return Verdict(False, self.limit, 0, wait, wait)
        tokens -= 1
        client.tokens = tokens
        client.updated = now
        whole = int(tokens + ALMOST)
        self._clients.admitted(key, client, self.limit - whole, now)
        return Verdict(True, self.limit, whole, (whole + 1 - tokens) / self._rate)

    @property
    def clients(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def adopt(self, old: TokenBucket) -> None:
        """Go on with what `old` counted; this object's own limit and rate hold from now on.

        What a client has used stays used, so a larger bucket brings the difference at once. Nobody starts
        with less than an empty bucket.
        """
        self._now = old._now
        for key, client, last in old._clients.heaviest(self.max_clients):
            tokens = min(old.limit, client.tokens + (old._now - client.updated) * old._rate)
            tokens = max(0.0, tokens + self.limit - old.limit)
            self._clients.admitted(key, Bucket(tokens, old._now), max(1, self.limit - int(tokens)), last)
