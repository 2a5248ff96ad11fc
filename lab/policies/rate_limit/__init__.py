"""Rate limiting: so many requests per client in so much time, then 429 (RFC 6585 §4).

The algorithms are `fixed_window`, `sliding_window` and `token_bucket`, or a class of your own that satisfies
`Limiter`; docs/policies/rate_limit.md compares them on a timeline.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from functools import partial
from typing import Any, ClassVar, Self

from lab.model import Exchange, Handler, Headers, Response, problem
from lab.policies import Context, plug
from lab.policies.matching import matcher
from lab.policies.rate_limit.fixed_window import FixedWindow
from lab.policies.rate_limit.limiter import Limiter, Verdict
from lab.policies.rate_limit.sliding_window import SlidingWindow
from lab.policies.rate_limit.token_bucket import TokenBucket
from lab.settings import RateLimitSettings

ALGORITHMS: dict[str, type[Any]] = {
    "fixed_window": FixedWindow,
    "sliding_window": SlidingWindow,
    "token_bucket": TokenBucket,
}

FIELDS = frozenset(
    {b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset", b"ratelimit-policy", b"ratelimit"}
)
"""What the gateway says about its limit. A service's own fields of these names are replaced: a client has to
do with the limit in front of it, and two answers to one question are none."""


class RateLimit:
    """The stage: one counter per client and route entry, the limit's header fields on every response.

    The client is the API key's name, or without one the address. The first entry of `routes` whose glob
    matches the path counts the request, else the section's own limit; each entry counts for itself. A request
    counts when it arrives, whatever becomes of it. Clients are compared as they are: all the addresses of an
    IPv6 network are as many clients, so `max_clients` is what bounds them.
    """

    section: ClassVar[str] = "rate_limit"

    def __init__(self, options: RateLimitSettings, context: Context, *, core: Any = None) -> None:
        """`core` is a `Limiter` for what no route matches, or a class to use in place of `options.use`.

        Raises `plug.PlugError`.
        """
        if isinstance(core, type):
            algorithm, core = core, None
        else:
            algorithm = plug.find(options.use, ALGORITHMS) if core is None or options.routes else FixedWindow

        def entry(name: str, match: str, limit: int, window: float, core: Limiter | None = None) -> Entry:
            if core is None:
                core = plug.construct(algorithm, limit=limit, window=window, max_clients=options.max_clients)
            return Entry(name, match, limit, window, core)

        self._clock = context.clock
        self._wall = context.wall
        self._default = entry("default", "/**", options.limit, options.window, core)
        self._routes = [
            entry(f"route-{i}", route.match, route.limit, route.window)
            for i, route in enumerate(options.routes, start=1)
        ]
        self._tally = Tally()

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        entry = self._default
        for route in self._routes:
            if route.matches(exchange.path):
                entry = route
                break
        client = exchange.identity or exchange.client
        now = self._clock()
        verdict = entry.limiter.take(client, now)
        exchange.limited = not verdict.admitted
        self._tally.count(client, verdict.admitted, now)
        fields = entry.fields(verdict)
        if not verdict.admitted:
            detail = f"More than {verdict.limit} requests in {entry.window:g} seconds."
            wait = whole_seconds(verdict.retry_after)
            return problem(
                429, "limit-exceeded", detail, service=exchange.service, retry_after=wait, headers=fields
            )
        response = await call_next(exchange)
        response.headers = [field for field in response.headers if field[0] not in FIELDS] + fields
        return response

    @classmethod
    def prove(cls, options: RateLimitSettings, context: Context) -> None:
        """Let what `options.use` names count two clients. Raises `PlugError` at a broken promise."""
        cls(options, context)  # made with the real limits as well: a constructor may not like them
        limit, window = min(options.limit, 50), options.window
        algorithm = plug.find(options.use, ALGORITHMS)
        limiter = plug.construct(algorithm, limit=limit, window=window, max_clients=options.max_clients)
        expect = partial(plug.promise, options.use)
        expect(*plug.methods(limiter, Limiter))

        def take(key: str, now: float) -> Any:
            verdict = limiter.take(key, now)
            for name in ("admitted", "limit", "remaining", "reset", "retry_after"):
                value = getattr(verdict, name, None)
                expect(
                    isinstance(value, int | float) and 0 <= value < math.inf,
                    f"take() returned {verdict!r:.80}; "
                    f"a Verdict with a number of at least 0 for {name} was expected",
                )
            return verdict

        now = 1000.0
        admitted = [take("first", now).admitted for _ in range(limit + 1)].count(True)
        expect(admitted > 0, "take() refuses the first request of a client")
        expect(admitted <= limit, f"take() admits more than {limit} requests at once, the limit it was given")
        expect(take("second", now).admitted, "one client's requests count for another one")
        later = now + 2 * window
        expect(take("first", later).admitted, f"take() still refuses after two windows of {window:g} s")

    def snapshot(self) -> dict[str, Any]:
        """Totals, the entries, and the 20 busiest clients with the Unix time of their last request."""
        return {
            "admitted": self._tally.admitted,
            "limited": self._tally.limited,
            "entries": [entry.snapshot() for entry in (*self._routes, self._default)],
            "clients": self._tally.busiest(20, self._wall() - self._clock()),
        }

    def adopt(self, old: Self) -> None:
        """Keep the counters of every entry whose glob and algorithm are the same; the new limits hold."""
        self._tally = old._tally
        before = {entry.match: entry.limiter for entry in reversed(old._routes)}
        for entry in self._routes:
            entry.adopt(before.get(entry.match))
        self._default.adopt(old._default.limiter)


class Entry:
    """One limit: the paths it is for, who counts, and how it is told."""

    def __init__(self, name: str, match: str, limit: int, window: float, limiter: Limiter) -> None:
        self.name = name
        self.match = match
        self.matches = matcher(match)
        self.window = window
        self.limiter = limiter
        self._announce(limit)

    def _announce(self, limit: int) -> None:
        self.limit = limit
        # A quota policy knows whole seconds only; rounded up it never overstates the rate.
        policy = b'"%s";q=%d;w=%d' % (self.name.encode("ascii"), limit, math.ceil(self.window))
        self._limit_field = (b"x-ratelimit-limit", b"%d" % limit)
        self._policy_field = (b"ratelimit-policy", policy)
        self._rate_limit = b'"%s";r=%%d;t=%%d' % self.name.encode("ascii")

    def fields(self, verdict: Verdict) -> Headers:
        """X-RateLimit-*, and RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-10.

        Reset and t: whole seconds, rounded up, until at least one more request than now would be admitted.
        """
        if verdict.limit != self.limit:
            self._announce(verdict.limit)  # a class of one's own may keep to another limit than it was given
        reset = whole_seconds(verdict.reset)
        return [
            self._limit_field,
            (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
            (b"x-ratelimit-reset", b"%d" % reset),
            self._policy_field,
            (b"ratelimit", self._rate_limit % (verdict.remaining, reset)),
        ]

    def snapshot(self) -> dict[str, Any]:
        """`clients`: how many are remembered; None where the algorithm does not say."""
        return {
            "name": self.name,
            "match": self.match,
            "limit": self.limit,
            "window": self.window,
            "clients": getattr(self.limiter, "clients", None),
        }

    def adopt(self, old: Limiter | None) -> None:
        adopt = getattr(self.limiter, "adopt", None)
        if adopt is not None and type(old) is type(self.limiter):
            adopt(old)


class Tally:
    """How often whom: for the viewer only. Of all clients the 1000 seen last are kept."""

    KEPT = 1000

    def __init__(self) -> None:
        self.admitted = 0
        self.limited = 0
        self._clients: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, client: str, admitted: bool, now: float) -> None:
        counts = self._clients.get(client)
        if counts is None:
            self._clients[client] = counts = [0, 0, now]
            if len(self._clients) > self.KEPT:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(client)
            counts[2] = now
        if admitted:
            self.admitted += 1
            counts[0] += 1
        else:
            self.limited += 1
            counts[1] += 1

    def busiest(self, count: int, epoch: float) -> list[dict[str, Any]]:
        """The clients with the most requests; `epoch` turns a time of the clock into Unix time."""
        top = heapq.nlargest(count, self._clients.items(), key=lambda item: item[1][0] + item[1][1])
        return [
            {"client": client, "admitted": int(admitted), "limited": int(limited), "last": last + epoch}
            for client, (admitted, limited, last) in top
        ]


def whole_seconds(wait: float) -> int:
    """Seconds rounded up, to 1 at least; a microsecond more than whole is rounding, not time."""
    return max(1, math.ceil(wait - 1e-6))


__all__ = ["ALGORITHMS", "FixedWindow", "Limiter", "RateLimit", "SlidingWindow", "TokenBucket", "Verdict"]
