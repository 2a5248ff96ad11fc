"""A frozen gateway: feed messages with fixed times and figures, for tests that look at the dashboard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from textual.pilot import Pilot

from lab.dashboard.app import Dashboard
from lab.dashboard.client import Control
from lab.dashboard.state import View
from lab.dashboard.traffic import Traffic
from lab.dashboard.trouble import Trouble
from lab.exercises.api import Standing
from lab.exercises.catalog import Exercise, Plug
from lab.exercises.kit import Result
from lab.exercises.progress import Entry
from lab.exercises.runner import Report
from lab.faults.client import FaultClient
from lab.faults.registry import parse
from lab.load.runner import Figures

START = 1_790_000_000.0

TOTALS = dict.fromkeys(
    (
        *("requests", "1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "admitted", "limited", "unauthorized"),
        *("forbidden", "hits", "misses", "bypasses", "stale", "coalesced", "upstream_calls", "retries"),
        *("failures", "rejected", "bytes_out"),
    ),
    0,
)
SERVICE_TOTALS = (
    "requests",
    "failures",
    "upstream_calls",
    "retries",
    "hits",
    "misses",
    "limited",
    "rejected",
)

POLICIES: dict[str, dict[str, Any]] = {
    "auth": {
        "enabled": False,
        "use": "keys",
        "options": {"public": ["/health/**"]},
        "plugged": False,
        "state": {},
    },
    "rate_limit": {
        "enabled": True,
        "use": "sliding_window",
        "options": {"limit": 10, "window": 60.0, "max_clients": 10000},
        "plugged": False,
        "state": {"clients": 3},
    },
    "cache": {
        "enabled": True,
        "use": "http",
        "options": {"ttl": 30.0, "max_entries": 1024, "max_body": 1048576},
        "plugged": False,
        "state": {
            "entries": 2,
            "max_entries": 1024,
            "bytes": 1460,
            "top": [
                {
                    "key": "/service-a/items/1?lang=en",
                    "status": 200,
                    "age": 12.0,
                    "ttl": 18.0,
                    "hits": 7,
                    "bytes": 730,
                },
                {
                    "key": "/service-a/users",
                    "status": 200,
                    "age": 42.0,
                    "ttl": -12.0,
                    "hits": 0,
                    "bytes": 730,
                },
            ],
        },
    },
    "bulkhead": {
        "enabled": True,
        "use": "semaphore",
        "options": {"max_concurrent": 1000},
        "plugged": False,
        "state": {},
    },
    "breaker": {
        "enabled": True,
        "use": "consecutive",
        "options": {"failures": 5, "open_for": 10.0, "probes": 3},
        "plugged": False,
        "state": {},
    },
    "retry": {"enabled": True, "use": "backoff", "options": {"backoff": 0.05}, "plugged": False, "state": {}},
}


class FakeGateway:
    """Makes the messages that a gateway would send; what is counted is said, not measured."""

    def __init__(self) -> None:
        self.time = START
        self.totals = dict(TOTALS)
        self.states = {"service-a": "closed", "service-b": "closed"}
        self.health = {"service-a": "up", "service-b": "up"}
        self.seq = 0

    def count(self, **changes: int) -> None:
        for name, change in changes.items():
            key = name.removeprefix("s") if name.startswith("s") and name.endswith("xx") else name
            self.totals[key] += change

    def service(self, name: str) -> dict[str, Any]:
        mine = name == "service-a"
        state = self.states[name]
        return {
            "url": f"http://127.0.0.1:{8001 if mine else 8002}",
            "health": self.health[name],
            "in_flight": 2 if mine else 0,
            "breaker": {
                "state": state,
                "forced": False,
                "since": START,
                "failures": 0,
                "retry_after": 7.0 if state == "open" else 0.0,
            },
            "pool": {"in_use": 2 if mine else 0, "idle": 1, "waiting": 0, "limit": 100},
            "totals": {key: self.totals[key] if mine else 0 for key in SERVICE_TOTALS},
            "latency": {"p50": 0.002, "p95": 0.012, "p99": 0.03},
        }

    def figures(self) -> dict[str, Any]:
        self.seq += 1
        return {
            "seq": self.seq,
            "time": self.time,
            "connections": {"http": 3, "websocket": 1},
            "in_flight": 2,
            "totals": dict(self.totals),
            "latency": {"p50": 0.002, "p95": 0.011, "p99": 0.032},
            "services": {name: self.service(name) for name in self.states},
        }

    def snapshot(self, **changes: Any) -> dict[str, Any]:
        return {
            "type": "snapshot",
            **self.figures(),
            "uptime": self.time - START + 12.0,
            "version": "0.1.0",
            "pid": 4711,
            "policies": POLICIES,
            "clients": [
                {"client": "203.0.113.66", "admitted": 10, "limited": 10, "last": START},
                {"client": "127.0.0.1", "admitted": 3, "limited": 0, "last": START},
            ],
            "paths": [
                {"path": "/service-a/items/2", "requests": 20},
                {"path": "/service-a/items/1", "requests": 3},
            ],
            "events": [],
            "requests": [],
            **changes,
        }

    def tick(self, after: float = 0.2, **changes: Any) -> dict[str, Any]:
        self.time += after
        return {"type": "tick", **self.figures(), "requests": [], "skipped": 0, **changes}

    def event(self, kind: str, **data: Any) -> dict[str, Any]:
        self.seq += 1
        return {"type": "event", "seq": self.seq, "time": self.time, "kind": kind, **data}

    def breaker(self, service: str, to: str, reason: str) -> dict[str, Any]:
        event = self.event(
            "breaker", service=service, **{"from": self.states[service], "to": to}, reason=reason
        )
        self.states[service] = to
        return event


def request(status: int, cache: str | None, client: str = "127.0.0.1", **changes: Any) -> dict[str, Any]:
    return {
        "ts": START,
        "request_id": "r1",
        "client": client,
        "method": "GET",
        "path": "/service-a/items/1",
        "service": "service-a",
        "status": status,
        "duration_ms": 2.4,
        "cache": cache,
        "limited": status == 429,
        "breaker": "closed",
        "attempts": 1,
        "bytes_out": 120,
        **changes,
    }


@dataclass
class FakeProcess:
    name: str
    port: int
    state: str = "healthy"
    pid: int | None = 4001
    restarts: int = 0
    exit_status: int | None = None
    since: float = START
    detail: str = "/health answers"
    paused: bool = False
    log: list[str] = field(default_factory=lambda: ["started", "listening"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class FakeStack:
    """Processes that change their state when told, and remember what they were told."""

    def __init__(self) -> None:
        self.processes = {
            "service-a": FakeProcess("service-a", 8001, pid=4001),
            "service-b": FakeProcess("service-b", 8002, pid=4002),
            "gateway": FakeProcess("gateway", 8000, pid=4000),
        }
        self.calls: list[tuple[str, str]] = []

    async def start(self) -> None:
        self.calls.append(("start", ""))

    async def start_process(self, name: str) -> None:
        self.calls.append(("start", name))
        self.processes[name].state = "healthy"

    async def stop_process(self, name: str) -> None:
        self.calls.append(("stop", name))
        self.processes[name].state = "stopped"

    async def restart_process(self, name: str) -> None:
        self.calls.append(("restart", name))

    async def kill_process(self, name: str) -> None:
        self.calls.append(("kill", name))

    async def pause_process(self, name: str) -> None:
        self.calls.append(("pause", name))
        self.processes[name].paused = True

    async def resume_process(self, name: str) -> None:
        self.calls.append(("resume", name))
        self.processes[name].paused = False


def minutes_of_traffic(gateway: FakeGateway, seconds: int = 180) -> View:
    """A View after some minutes in which service A failed, its breaker opened, and it came back."""
    view = View(status="live")
    view.fold(gateway.snapshot())
    for second in range(seconds):
        if second == 60:
            view.fold(gateway.event("note", source="fault", text="slow", action="started"))
        elif second == 66:
            view.fold(gateway.breaker("service-a", "open", "5 failures in a row"))
        elif second == 96:
            view.fold(gateway.event("note", source="fault", text="slow", action="stopped"))
            view.fold(gateway.breaker("service-a", "half_open", "open for 10 s"))
        elif second == 98:
            view.fold(gateway.breaker("service-a", "closed", "3 probes succeeded"))
        wave = second * 7 % 5 + second // 20
        failed = 2 if 60 <= second < 66 else 0
        rejected = 4 if 66 <= second < 96 else 0
        gateway.count(requests=wave + 4 + failed + rejected, admitted=wave + 4, hits=wave, misses=4)
        gateway.count(s2xx=wave + 4, s5xx=failed + rejected, rejected=rejected, failures=failed)
        gateway.count(upstream_calls=4 + failed, limited=second % 3, s4xx=second % 3, requests=second % 3)
        last = [request(200, "HIT" if second % 2 else "MISS", f"192.0.2.{second}", ts=gateway.time)]
        view.fold(gateway.tick(1.0, requests=last))
    view.fold(gateway.tick(0.2, requests=[request(429, None, "203.0.113.66"), request(503, "MISS")]))
    return view


class Fake:
    """A dashboard with everything it may be given, and what it then asked for."""

    def __init__(self, view: View | None = None, *, may_act: bool = True) -> None:
        self.asked: list[httpx.Request] = []
        self.status = 200
        self.stack = FakeStack()
        self.services = FakeServices()
        self.loads: list[FakeLoad] = []
        self.trouble = Trouble(
            self.services.urls,
            "http://gateway",
            "t0ken",
            faults=self.services.client,
            make_load=self.make_load,  # type: ignore[arg-type]
            clock=lambda: self.services.now,
        )
        transport = httpx.MockTransport(self.answer)
        self.app = Dashboard(
            control=Control("http://gateway", "t0ken", transport=transport) if may_act else None,
            traffic=Traffic("http://gateway", transport=transport) if may_act else None,
            trouble=self.trouble if may_act else None,
            stack=self.stack if may_act else None,  # type: ignore[arg-type]
            view=view,
            clock=lambda: self.services.now,
            wall=lambda: START + 200,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, json={"detail": "no"} if self.status >= 400 else {})

    def make_load(self, url: str, **wanted: Any) -> FakeLoad:
        self.loads.append(FakeLoad(url, **wanted))
        return self.loads[-1]

    async def done(self, pilot: Pilot[None]) -> None:
        """Everything that the last key set off has happened."""
        await pilot.pause()
        if self.app.traffic:
            await self.app.traffic.settled()
        await self.app.workers.wait_for_complete([w for w in self.app.workers if w.group in ("act", "stack")])
        await pilot.pause()


class FakeServices:
    """Two services that can be given faults, over HTTP; their time stands still unless `now` is moved."""

    def __init__(self) -> None:
        self.urls = {"service-a": "http://127.0.0.1:8001", "service-b": "http://127.0.0.1:8002"}
        self.faults: dict[str, dict[str, dict[str, Any]]] = {url: {} for url in self.urls.values()}
        self.now = 0.0
        self.client = FaultClient(self.urls, transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        mine = self.faults.get(f"http://{request.url.netloc.decode()}")
        if mine is None:
            raise httpx.ConnectError("no side door is open")
        name = request.url.path.removeprefix("/_faults").removeprefix("/")
        if request.method == "PUT":
            fault = parse(json.loads(request.content))
            mine[name] = {
                "name": name,
                "label": fault.label,
                "remaining": fault.ttl,
                "matched": 12,
                "struck": 7,
                **fault.model_dump(exclude_none=True),
            }
            return httpx.Response(200, json=mine[name])
        found = [report for key, report in mine.items() if name in ("", key)]
        if request.method == "DELETE":
            for report in found:
                del mine[report["name"]]
            return httpx.Response(200, json={"cleared": found})
        return httpx.Response(200, json={"faults": found})

    def set(self) -> list[str]:
        """What is set, as `service kind`."""
        return [f"{service} {kind}" for service, url in self.urls.items() for kind in self.faults[url]]


class FakeLoad:
    """A load that says what it is told to say."""

    def __init__(
        self, url: str, *, notes: object, shape: str, users: int, seconds: float, rate: float
    ) -> None:
        self.asked = (shape, users, seconds, rate)
        self.label = f"{shape}, {users} users"
        self.said: asyncio.Queue[Figures | None] = asyncio.Queue()
        self.stopped: list[float] = []

    async def start(self) -> None:
        self.said.put_nowait(
            Figures(4.2, 20, 840, 3, 21, 201.4, 0.7, 5.0, 0.0042, 0.0191, 0.0473, 0.31, saturated=False)
        )

    async def figures(self) -> AsyncIterator[Figures]:
        while (figures := await self.said.get()) is not None:
            yield figures

    async def stop(self, grace: float = 0.7) -> None:
        self.stopped.append(grace)
        self.said.put_nowait(None)


def course() -> list[Standing]:
    """Three exercises: one done, one begun, one not; the second can be plugged in."""
    titles = [("Routing", 20), ("Fixed window", 20), ("TTL cache", 24)]
    entries = [
        Entry(points=20, passed=True, tries=3),
        Entry(points=12, tries=5, mistake="boundary"),
        Entry(),
    ]
    return [
        Standing(
            Exercise(
                number=number,
                folder=Path(f"/course/{number:02}_{title.lower().replace(' ', '_')}"),
                title=title,
                summary=f"What {title.lower()} is for",
                points=points,
                plug=Plug("rate_limit", "FixedWindow", "fixed_window") if number == 2 else None,
            ),
            entry,
        )
        for number, ((title, points), entry) in enumerate(zip(titles, entries, strict=True), 1)
    ]


WINDOW_ENDS = Result(
    name="test_a_window_ends_after_its_length",
    status="failed",
    points=0,
    maximum=3,
    text="expected  admitted when the window ends: True\ncame      admitted when the window ends: False",
    mistake="boundary",
    why="A limit that never ends is a ban.",
)
RESULTS = [
    Result("test_the_first_requests_pass", "passed", 5, 5),
    WINDOW_ENDS,
    Result("test_clients_are_counted_apart", "skipped", 0, 4),
]


def failing_check(exercise: Exercise, file: Path | None, each: Callable[[Result], None]) -> Report:
    """Checks that say `RESULTS`, in the place of `lab.exercises.api.check`."""
    for result in RESULTS:
        each(result)
    return Report(exercise, exercise.file, RESULTS)
