"""An hour of the dashboard, as fast as it can be drawn: what it adds to the memory of the process.

    python -m loadtests.bench.hour [--minutes 60] [--trace]

Every tick of the hour is folded and drawn at 120×40, with events, notes and another screen every two minutes;
each screen was shown once before memory is looked at for the first time. Prints one line of JSON; with
`--trace` also where the memory of the second half was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import random
import sys
import tracemalloc
from typing import Any

import psutil

import lab.dashboard.app
from lab.dashboard.screens import table
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import Message, View

TICK = 0.15
"""Seconds between two ticks of the feed."""
START = 2
"""Minutes after which every screen was shown once: what they are made of is there."""
RATE = 500
"""Requests a second."""
SERVICES = ("service-a", "service-b")


class Gateway:
    """Makes the feed of a busy gateway; the same from run to run."""

    def __init__(self) -> None:
        self.time = 1_790_000_000.0
        self.totals = dict.fromkeys(
            (
                *("requests", "1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "admitted", "limited", "hits"),
                *("misses", "bypasses", "stale", "coalesced", "upstream_calls", "retries", "failures"),
                *("rejected", "bytes_out", "unauthorized", "forbidden"),
            ),
            0,
        )
        self.states = dict.fromkeys(SERVICES, "closed")
        self._random = random.Random(7)
        self._numbers = itertools.count(1)

    def snapshot(self) -> Message:
        large = self._large()
        return {"type": "snapshot", "uptime": 5.0, "version": "0", "pid": 1, **self._figures(), **large} | {
            "events": [],
            "requests": [],
        }

    def tick(self, whole: bool) -> Message:
        """What happened within the next `TICK` seconds; `whole` ones carry what comes once a second."""
        self.time += TICK
        requests = self._random.randrange(int(RATE * TICK * 0.6), int(RATE * TICK * 1.4))
        hits = requests // 2
        limited = self._random.randrange(5)
        self.totals["requests"] += requests
        self.totals["2xx"] += requests - limited
        self.totals["4xx"] += limited
        self.totals["limited"] += limited
        self.totals["hits"] += hits
        self.totals["misses"] += requests - hits
        self.totals["upstream_calls"] += requests - hits
        log = [self._request() for _ in range(20)]
        tick = {"type": "tick", **self._figures(), "requests": log, "skipped": requests - 20}
        return tick | self._large() if whole else tick

    def event(self, kind: str, **data: Any) -> Message:
        return {"type": "event", "seq": next(self._numbers), "time": self.time, "kind": kind, **data}

    def turn(self, service: str, to: str) -> Message:
        """The service's breaker changes its state."""
        before, self.states[service] = self.states[service], to
        return self.event("breaker", service=service, **{"from": before, "to": to}, reason="measured")

    def _figures(self) -> Message:
        wobble = self._random.random()
        latency = {"p50": 0.001 + wobble / 999, "p95": 0.004 + wobble / 99, "p99": 0.01 + wobble / 9}
        return {
            "seq": next(self._numbers),
            "time": self.time,
            "connections": {"http": 8, "websocket": 1},
            "in_flight": self._random.randrange(9),
            "totals": dict(self.totals),
            "latency": latency,
            "services": {
                name: {
                    "health": "up",
                    "in_flight": 1,
                    "breaker": {"state": state, "forced": False, "since": self.time, "failures": 0},
                    "pool": {"in_use": 1, "idle": 3, "waiting": 0, "limit": 100},
                    "totals": dict(self.totals),
                    "latency": latency,
                }
                for name, state in self.states.items()
            },
        }

    def _request(self) -> Message:
        number = next(self._numbers)
        return {
            "ts": self.time,
            "request_id": f"{number:032x}",
            "client": f"192.0.2.{number % 250}",
            "method": "GET",
            "path": f"/service-a/items/{number}",
            "service": "service-a",
            "status": 200,
            "duration_ms": 1.0 + number % 50,
            "cache": "MISS",
            "limited": False,
            "breaker": "closed",
            "attempts": 1,
            "bytes_out": 700,
        }

    def _large(self) -> Message:
        first = next(self._numbers)
        top = [
            {"key": f"/service-a/items/{first + n}", "status": 200, "age": 1, "ttl": 9, "hits": n, "bytes": 7}
            for n in range(20)
        ]
        sections = ("auth", "rate_limit", "cache", "bulkhead", "breaker", "retry")
        policies = {
            name: {"enabled": True, "use": name, "options": {"limit": 10, "window": 60.0}, "state": {}}
            for name in sections
        }
        policies["cache"]["state"] = {"entries": 20, "max_entries": 1024, "bytes": 15_000, "top": top}
        clients = [
            {"client": f"198.51.100.{(first + n) % 250}", "admitted": n, "limited": 0, "last": self.time}
            for n in range(20)
        ]
        paths = [{"path": f"/service-a/items/{first + n}", "requests": n} for n in range(20)]
        return {"policies": policies, "clients": clients, "paths": paths}


async def run(minutes: int, trace: bool) -> dict[str, Any]:
    """Draw so many minutes; the resident memory in MiB after each ten of them."""
    gateway, process = Gateway(), psutil.Process()
    lab.dashboard.app.FRAME = 3600.0  # frames are drawn from here
    table.load()
    app = lab.dashboard.app.Dashboard(view=View(status="live"))
    kept: dict[int, float] = {}
    before: tracemalloc.Snapshot | None = None
    keys = itertools.cycle(entry.key for entry in SCREENS)
    async with app.run_test(size=(120, 40)) as pilot:
        app.view.fold(gateway.snapshot())
        for n in range(round(minutes * 60 / TICK)):
            seconds = n * TICK
            app.view.fold(gateway.tick(whole=n % 7 == 0))
            if n % 200 == 0:
                for state in ("open", "half_open", "closed"):
                    app.view.fold(gateway.turn(SERVICES[n // 200 % 2], state))
            if n % 400 == 0:
                note = {"source": "fault", "text": f"fault {n}", "until": gateway.time + 20}
                app.view.fold(gateway.event("note", action="started", **note))
            app.touch()
            app.frame()
            await asyncio.sleep(0)
            app.screen._on_timer_update()  # what Textual does sixty times a second
            if n % 800 == 0 or (n < 800 and n % 60 == 0):  # two minutes; all screens within the first two
                await pilot.press(next(keys))
            if n % 800 == 0:
                gc.collect()
                mib, minute = round(process.memory_info().rss / 2**20, 1), round(seconds / 60)
                print(f"{minute} min: {mib} MiB, then {app.current_mode}", file=sys.stderr, flush=True)
                if minute % 10 == 0 or minute == START:
                    kept[minute] = mib
            if trace and before is None and seconds >= minutes * 30:
                tracemalloc.start(8)
                gc.collect()
                before = tracemalloc.take_snapshot()
        gc.collect()
        kept[minutes] = round(process.memory_info().rss / 2**20, 1)
        if before is not None:
            for each in tracemalloc.take_snapshot().compare_to(before, "lineno")[:15]:
                print(each, file=sys.stderr)
    return {"minutes": minutes, "mib": kept, "frames": round(minutes * 60 / TICK)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60, help="to draw (60)")
    parser.add_argument("--trace", action="store_true", help="say where memory was asked for")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(run(given.minutes, given.trace))))
