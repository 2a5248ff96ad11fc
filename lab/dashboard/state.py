"""What the dashboard knows: the gateway's feed folded into a `View`, without any screen.

`View.fold(message)` takes a snapshot, a tick or an event of the feed (docs/architecture.md). Rates are
differences of the feed's totals, so a lost tick loses nothing. Everything that grows with time is a ring.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]

SERIES = (
    "requests",
    "ok",
    "client_error",
    "limited",
    "server_error",
    "upstream",
    "hit_ratio",
    "p50",
    "p95",
    "p99",
)
"""What the history keeps for each second; rates per second, the hit ratio 0 to 1, latencies in seconds."""

HISTORY = 600
"""Seconds of history."""

RATE_WINDOW = 2.0
"""Seconds over which a rate of now is taken."""


@dataclass(slots=True)
class Band:
    """A stretch of time in which something was done to the system: a fault, a load."""

    kind: str
    label: str
    start: float
    end: float | None = None
    """None while nobody knows."""
    service: str = ""

    def covers(self, start: float, end: float) -> bool:
        """Whether the band touches the time from `start` to `end` (Unix seconds)."""
        return self.start < end and (self.end is None or self.end > start)


class History:
    """One value per series and second, oldest first, for the charts.

    `end` is the Unix second after the last value, None before the first; None as a value is a gap.
    """

    def __init__(self, seconds: int = HISTORY) -> None:
        self.series: dict[str, deque[float | None]] = {name: deque(maxlen=seconds) for name in SERIES}
        self.end: int | None = None

    def add(self, second: int, values: dict[str, float | None]) -> None:
        """Append the values of `second`; seconds that were left out become gaps."""
        if self.end is not None:
            if second < self.end:
                return
            for _ in range(min(second - self.end, HISTORY)):
                for ring in self.series.values():
                    ring.append(None)
        for name, ring in self.series.items():
            ring.append(values.get(name))
        self.end = second + 1

    def last(self, name: str, count: int) -> list[float | None]:
        """The newest `count` values of a series, padded on the left with gaps."""
        ring = self.series[name]
        start = max(len(ring) - count, 0)
        return [None] * (count - len(ring)) + [ring[i] for i in range(start, len(ring))]


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`, None where nothing was counted."""
    return part / whole if whole > 0 else None


def by_outcome(totals: Mapping[str, float]) -> dict[str, float]:
    """The feed's totals by what a client got: ok, client_error (4xx but 429), limited (429), server_error."""
    limited = totals.get("limited", 0)
    return {
        "requests": totals.get("requests", 0),
        "ok": totals.get("1xx", 0) + totals.get("2xx", 0) + totals.get("3xx", 0),
        "client_error": max(totals.get("4xx", 0) - limited, 0),
        "limited": limited,
        "server_error": totals.get("5xx", 0),
        "upstream": totals.get("upstream_calls", 0),
    }


@dataclass
class View:
    """All that the screens show, as of `time` (Unix seconds, the gateway's clock)."""

    status: str = "connecting"
    """connecting, live, lost (it was there and went away), or replay."""
    trouble: str = ""
    """Why the feed is not live, in a few words."""
    time: float = 0.0
    uptime: float = 0.0
    version: str = ""
    pid: int = 0
    in_flight: int = 0
    connections: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    latency: dict[str, float | None] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    clients: list[dict[str, Any]] = field(default_factory=list)
    paths: list[dict[str, Any]] = field(default_factory=list)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=500))
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    skipped: int = 0
    whole: bool = False
    """Whether the ticks carry all that a snapshot does; otherwise somebody has to ask for snapshots."""
    history: History = field(default_factory=History)
    ribbons: dict[str, deque[tuple[float, str]]] = field(default_factory=dict)
    """Per service: (since, breaker state), oldest first."""
    bands: deque[Band] = field(default_factory=lambda: deque(maxlen=100))

    _recent: deque[tuple[float, dict[str, dict[str, float]]]] = field(
        default_factory=lambda: deque(maxlen=200)
    )
    _began: float = 0.0
    """When the gateway started, Unix seconds."""
    _mark: dict[str, float] = field(default_factory=dict)
    _marked: float | None = None

    @property
    def live(self) -> bool:
        """Whether the figures are those of now."""
        return self.status in ("live", "replay")

    @property
    def running(self) -> list[Band]:
        """What is being done to the system now, oldest first."""
        return [band for band in self.bands if band.end is None or band.end > self.time]

    # -- the feed ----------------------------------------------------------------------------------------

    def fold(self, message: Message) -> None:
        """Take one message of the feed. Unknown types and fields are ignored, so that the feed may grow."""
        kind = message.get("type")
        if kind == "snapshot":
            self._snapshot(message)
        elif kind == "tick":
            self._tick(message)
        elif kind == "event":
            self._event(message)

    def _snapshot(self, message: Message) -> None:
        began = message["time"] - message.get("uptime", 0)
        restarted = message.get("pid") != self.pid or began > self.time
        self._began = began
        self.version = message.get("version", "")
        self.pid = message.get("pid", 0)
        self.policies = message.get("policies", {})
        self.clients = message.get("clients", [])
        self.paths = message.get("paths", [])
        known = {event.get("seq") for event in self.events} if not restarted else set()
        for event in message.get("events", ()):
            if event.get("seq") not in known:
                self._event(event)
        self.requests.clear()
        self._log(message)
        if restarted:
            self._recent.clear()
            self._marked = None
        self._figures(message)

    def refresh(self, message: Message) -> None:
        """Take what ticks need not carry."""
        for name in ("policies", "clients", "paths"):
            if name in message:
                setattr(self, name, message[name])

    def _tick(self, message: Message) -> None:
        self.whole = "policies" in message
        self._log(message)
        self.skipped += message.get("skipped", 0)
        self.refresh(message)
        self._figures(message)

    def _log(self, message: Message) -> None:
        """Keep what concerns services, and what was refused: not every probe of the gateway's own health."""
        for request in message.get("requests", ()):
            if request.get("service") or int(request.get("status") or 0) >= 400:
                self.requests.append(request)

    def _figures(self, message: Message) -> None:
        """What snapshots and ticks have in common."""
        now = message["time"]
        self.uptime = message.get("uptime", self.uptime + max(now - self.time, 0) if self.time else 0.0)
        self.in_flight = message.get("in_flight", self.in_flight)
        self.connections = message.get("connections", self.connections)
        self.latency = message.get("latency", self.latency)
        services = message.get("services", {})
        self.services = {name: self.services.get(name, {}) | given for name, given in services.items()}
        for name, given in services.items():
            breaker = given.get("breaker")
            if breaker:
                self._breaker(name, breaker.get("state", "closed"), breaker.get("since", now))
        self.totals = message.get("totals", self.totals)
        self.advance(now, self.totals)

    def advance(self, now: float, totals: dict[str, int] | None = None) -> None:
        """Let time pass up to `now`; without new totals nothing happened meanwhile."""
        if self._marked is None:
            self._marked = now
            self._mark = by_outcome(self.totals) | hits_of(self.totals)
        if now < self.time:  # the clock was set back, or a recording was rewound
            self._recent.clear()
            self._marked = now
        self.time = now
        if totals is not None:
            figures = {"": totals} | {name: s.get("totals", {}) for name, s in self.services.items()}
            while len(self._recent) > 1 and self._recent[1][0] <= now - RATE_WINDOW:
                self._recent.popleft()
            self._recent.append((now, figures))
        if math.floor(now) > math.floor(self._marked):
            self._second(now)

    def _second(self, now: float) -> None:
        """Close the second that ended, with the mean rates since the last one was closed."""
        assert self._marked is not None
        current = by_outcome(self.totals) | hits_of(self.totals)
        elapsed = now - self._marked
        change = {name: max(value - self._mark.get(name, 0), 0) for name, value in current.items()}
        values: dict[str, float | None] = {
            name: change[name] / elapsed
            for name in ("requests", "ok", "client_error", "limited", "server_error", "upstream")
        }
        values["hit_ratio"] = ratio(change["hits"], change["hits"] + change["misses"])
        busy = change["requests"] > 0
        for name in ("p50", "p95", "p99"):
            values[name] = self.latency.get(name) if busy else None
        self.history.add(math.floor(now) - 1, values)
        self._mark, self._marked = current, now

    def _event(self, message: Message) -> None:
        self.events.append(message)
        if message.get("kind") == "breaker" and "service" in message:
            ribbon = self.ribbons.setdefault(message["service"], deque(maxlen=500))
            if not ribbon and "from" in message:
                ribbon.append((self._began, normal(message["from"])))
            self._breaker(message["service"], message.get("to", "closed"), message["time"])
        elif message.get("kind") == "note":
            self._note(message)

    def _breaker(self, service: str, state: str, since: float) -> None:
        ribbon = self.ribbons.setdefault(service, deque(maxlen=500))
        state = normal(state)
        if not ribbon or ribbon[-1][1] != state:
            ribbon.append((max(since, ribbon[-1][0]) if ribbon else since, state))

    def _note(self, message: Message) -> None:
        """A note whose action is `started` or `stopped` opens or closes a band over the charts.

        A stop without text, or without a service, ends all that its source started there.
        """
        kind, label = str(message.get("source") or "note"), str(message.get("text") or "")
        service, now = str(message.get("service") or ""), message["time"]
        if message.get("action") == "started":
            self.bands.append(Band(kind, label, now, message.get("until"), service))
        elif message.get("action") == "stopped":
            for band in self.bands:
                going_on = band.end is None or band.end > now
                if (
                    going_on
                    and band.kind == kind
                    and label in ("", band.label)
                    and service in ("", band.service)
                ):
                    band.end = now

    # -- what screens ask --------------------------------------------------------------------------------

    def rate(self, name: str, service: str = "") -> float:
        """How often per second `name` of the totals was counted, over the last two seconds."""
        if not self._recent:
            return 0.0
        then, before = self._recent[0]
        counted = self.services.get(service, {}).get("totals", {}) if service else self.totals
        change = counted.get(name, 0) - before.get(service, {}).get(name, 0)
        return max(change, 0) / max(self.time - then, 1.0)

    def hit_ratio(self) -> float | None:
        """Hits among the answers that the cache looked for, over the last two seconds."""
        hits, misses = self.rate("hits"), self.rate("misses")
        return ratio(hits, hits + misses)

    def breaker_at(self, service: str, time: float) -> str | None:
        """The breaker's state at `time`, None before the first that is known."""
        state = None
        for since, name in self.ribbons.get(service, ()):
            if since > time:
                break
            state = name
        return state


def hits_of(totals: dict[str, int]) -> dict[str, float]:
    """The two totals that make the hit ratio."""
    return {"hits": totals.get("hits", 0), "misses": totals.get("misses", 0)}


def normal(state: str) -> str:
    """`half-open`, `HALF_OPEN` and `half_open` are one state."""
    return str(state).lower().replace("-", "_")
