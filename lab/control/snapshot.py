"""The whole state as one document, and the part of it that a tick repeats (see docs/architecture.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lab

if TYPE_CHECKING:
    from lab.control.app import Gateway

TOTALS = (
    "requests",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "aborted",
    "admitted",
    "limited",
    "hits",
    "misses",
    "bypasses",
    "stale",
    "coalesced",
    "upstream_calls",
    "retries",
    "failures",
    "rejected",
    "bytes_out",
)
PER_SERVICE = ("requests", "failures", "upstream_calls", "retries", "hits", "misses", "limited", "rejected")
SAMPLE = 20
"""Access log entries in a tick at most."""
SLOW = 1.0
"""Seconds between two ticks that carry policies, clients and paths as well."""


def figures(gateway: Gateway) -> dict[str, Any]:
    """What changes with the traffic."""
    tally = gateway.tally
    now = gateway.clock()
    counted = tally.totals
    totals = {name: counted[name] for name in TOTALS}
    auth = gateway.policies.state("auth")
    totals["unauthorized"] = auth.get("unauthorized", 0)
    totals["forbidden"] = auth.get("forbidden", 0)
    return {
        "connections": gateway.connections(),
        "in_flight": tally.in_flight,
        "totals": totals,
        "latency": tally.latency(now),
        "services": _services(gateway, now),
    }


def slow_figures(gateway: Gateway) -> dict[str, Any]:
    """What is larger and changes slowly: once a second is often enough."""
    return {
        "policies": gateway.policies.snapshot(),
        "clients": gateway.policies.state("rate_limit").get("clients", []),
        "paths": [{"path": path, "requests": count} for path, count in gateway.tally.paths.most(20)],
    }


def _services(gateway: Gateway, now: float) -> dict[str, Any]:
    breakers = gateway.policies.breakers()
    bulkheads = gateway.policies.state("bulkhead").get("services", {})
    counts = gateway.tally.services
    return {
        name: _service(gateway, name, now, counts.get(name, {}), breakers.get(name), bulkheads.get(name, {}))
        for name in gateway.services
    }


def _service(
    gateway: Gateway,
    name: str,
    now: float,
    counts: Mapping[str, int],
    breaker: dict[str, Any] | None,
    bulkhead: dict[str, Any],
) -> dict[str, Any]:
    service = gateway.services[name]
    pool = service.figures
    return {
        "health": service.health,
        "detail": service.health_detail,
        "in_flight": bulkhead.get("in_flight", 0),
        "breaker": breaker
        or {"state": "closed", "forced": False, "since": gateway.started, "failures": 0, "retry_after": 0.0},
        "pool": {"in_use": pool.in_use, "idle": pool.idle, "waiting": pool.waiting, "limit": pool.limit},
        "totals": {key: counts.get(key, 0) for key in PER_SERVICE},
        "latency": gateway.tally.latency(now, name),
    }


def snapshot(gateway: Gateway) -> dict[str, Any]:
    """Everything a viewer needs to begin with."""
    document = {
        "type": "snapshot",
        "seq": gateway.feed.seq,
        "time": round(gateway.wall(), 3),
        "uptime": round(gateway.wall() - gateway.started, 3),
        "version": lab.__version__,
        "pid": os.getpid(),
        **figures(gateway),
        **slow_figures(gateway),
        "events": list(gateway.feed.events),
        "requests": [json.loads(line) for line in gateway.access_log.recent],
    }
    for name, entry in document["services"].items():
        entry["url"] = str(gateway.services[name].url)
    return document


class Ticks:
    """Makes the ticks: the figures, a sample of the access log since the last one, once a second the rest."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = gateway.access_log.lines
        self._slow_at = 0.0

    def __call__(self) -> dict[str, Any]:
        gateway = self._gateway
        log = gateway.access_log
        new = log.lines - self._seen
        self._seen = log.lines
        wanted = min(new, SAMPLE, len(log.recent))
        tick = {
            **figures(gateway),
            "requests": [json.loads(log.recent[i - wanted]) for i in range(wanted)],
            "skipped": new - wanted,
        }
        now = gateway.clock()
        if now - self._slow_at >= SLOW:
            self._slow_at = now
            tick |= slow_figures(gateway)
        return tick
