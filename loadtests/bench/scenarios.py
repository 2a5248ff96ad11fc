"""What is measured: each scenario sends the same load to one peer after the other and watches its process.

Rounds go through all peers before the next one begins, so that what else the machine does hits all of them;
figures are medians over the rounds. CPU is the server's own, in user and kernel mode, as the operating
system counts it, divided by the requests answered: the load tool and the service behind are not in it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from loadtests.bench import clients
from loadtests.bench.clients import Outcome
from loadtests.bench.peers import KEY, PEERS, TOKEN, Behind
from loadtests.bench.processes import MIB, Server, watching
from loadtests.bench.service import BIG, HUGE

CONNECTIONS = 64
T = TypeVar("T")
SETTLE = 0.4
"""Seconds without load between two measurements: what the one before left behind is done by then."""


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int = 3
    seconds: float = 3.0
    short: float = 2.0
    feed_rounds: int = 4
    idle: int = 1000
    steady: tuple[str, ...] = ("gateway", "nginx", "aiohttp", "fastapi-proxy-lib")
    """Who is measured in the open loop."""

    @classmethod
    def quick(cls) -> Plan:
        return cls(rounds=1, seconds=1.0, short=1.0, feed_rounds=1, steady=("gateway", "nginx"))


@dataclass
class Row:
    """One peer in one scenario: medians over the rounds. Missing is what the scenario does not measure."""

    scenario: str
    peer: str
    requests: int = 0
    errors: int = 0
    rps: float | None = None
    cpu_us: float | None = None
    """Microseconds of processor time per request."""
    per_core: float | None = None
    """Requests that one core would serve in a second of its time."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mib: float | None = None
    peak_mib: float | None = None
    spread: float | None = None
    """(largest − smallest) / median of `cpu_us` over the rounds."""
    more: dict[str, float] = field(default_factory=dict)


@dataclass
class Bench:
    """The servers that run, and what has been measured so far."""

    servers: dict[str, Server]
    behind: Behind
    plan: Plan
    say: Callable[[str], None]
    start_rss: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def row(self, scenario: str, peer: str) -> Row | None:
        return next((r for r in self.rows if (r.scenario, r.peer) == (scenario, peer)), None)

    def proxies(self, *, websocket: bool = False) -> list[str]:
        return [
            name for name in self.servers if PEERS[name].proxy and (not websocket or PEERS[name].websocket)
        ]


@dataclass
class Sample:
    """One round of one peer."""

    outcome: Outcome
    cpu: float
    rss: int
    peak: int


Load = Callable[[int, float], Awaitable[Outcome]]
"""`load(port, seconds)`"""


async def sample(server: Server, load: Load, seconds: float) -> Sample:
    await asyncio.sleep(SETTLE)
    async with watching(server, 0.1) as peak:
        before = server.cpu()
        outcome = await load(server.port, seconds)
        cpu = server.cpu() - before
    return Sample(outcome, cpu, server.rss(), peak.bytes)


def summary(scenario: str, peer: str, samples: Sequence[Sample]) -> Row:
    """The medians of some rounds."""
    row = Row(scenario, peer)
    row.requests = sum(s.outcome.requests for s in samples)
    row.errors = sum(s.outcome.errors for s in samples)
    row.rss_mib = median(s.rss for s in samples) / MIB
    row.peak_mib = max(s.peak for s in samples) / MIB
    costs = [s.cpu / s.outcome.requests * 1e6 for s in samples if s.outcome.requests]
    if costs:
        row.cpu_us = median(costs)
        row.per_core = 1e6 / row.cpu_us if row.cpu_us else None
        row.rps = median(s.outcome.rate for s in samples)
        row.spread = (max(costs) - min(costs)) / row.cpu_us if row.cpu_us else None
        for name in ("p50", "p99"):
            values = [v for s in samples if (v := getattr(s.outcome, name)) is not None]
            if values:
                setattr(row, f"{name}_ms", median(values) * 1000)
    return row


async def compare(
    bench: Bench, scenario: str, peers: Sequence[str], load: Load, seconds: float, rounds: int
) -> None:
    """The same load on each peer, `rounds` times round."""
    samples: dict[str, list[Sample]] = {peer: [] for peer in peers}
    for peer in peers:  # caches fill, connections open, code is compiled
        await tried(bench, scenario, peer, load(bench.servers[peer].port, 0.2))
    for _ in range(rounds):
        for peer in peers:
            one = await tried(bench, scenario, peer, sample(bench.servers[peer], load, seconds))
            if one is not None:
                samples[peer].append(one)
    for peer in peers:
        if samples[peer]:
            bench.rows.append(summary(scenario, peer, samples[peer]))


async def tried(bench: Bench, scenario: str, peer: str, work: Awaitable[T]) -> T | None:
    """A peer that breaks down spoils its own row only."""
    try:
        return await work
    except (OSError, ValueError, TimeoutError, EOFError) as error:
        bench.failures.append(f"{scenario}: {peer}: {type(error).__name__}: {error}")
        return None


def http(path: str, connections: int = CONNECTIONS, method: str = "GET", body: bytes = b"") -> Load:
    """wrk where installed, else the benchmark's own client; a request with a body is always our own's."""

    async def load(port: int, seconds: float) -> Outcome:
        if method == "GET" and shutil.which("wrk"):
            return await clients.wrk(port, path, KEY, connections, seconds)
        return await clients.closed_loop(port, clients.request(method, path, KEY, body), connections, seconds)

    return load


# -- the scenarios -------------------------------------------------------------------------------------------


async def forward(bench: Bench) -> None:
    """GET of 256 uncacheable bytes; for the bare application, the same bytes from memory."""
    plan = bench.plan
    await compare(bench, "forward", list(bench.servers), http("/web/plain"), plan.seconds, plan.rounds)


async def hit(bench: Bench) -> None:
    """GET of 256 bytes that the cache has; for the bare application, the same bytes from memory."""
    peers = [name for name in ("gateway", "nginx", "uvicorn") if name in bench.servers]
    await compare(bench, "hit", peers, http("/web/cached"), bench.plan.seconds, bench.plan.rounds)


async def websocket(bench: Bench) -> None:
    """WebSocket echo: 64 bytes there and back, 32 connections."""

    async def load(port: int, seconds: float) -> Outcome:
        return await clients.echo_loop(port, "/own/echo", KEY, 32, seconds)

    peers = [name for name in bench.servers if PEERS[name].websocket]
    await compare(bench, "websocket", peers, load, bench.plan.short, bench.plan.rounds)


async def download(bench: Bench) -> None:
    """GET of 1 MiB."""
    plan = bench.plan
    await compare(bench, "1 MiB down", bench.proxies(), http("/web/big", 8), plan.short, plan.rounds)


async def upload(bench: Bench) -> None:
    """POST of 1 MiB."""
    plan = bench.plan
    load = http("/own/sink", 8, "POST", bytes(BIG))
    await compare(bench, "1 MiB up", bench.proxies(), load, plan.short, plan.rounds)


async def idle(bench: Bench) -> None:
    """1,000 connections that do nothing, half of them WebSockets; memory before and with them."""
    half = bench.plan.idle // 2
    for peer in bench.servers:
        if not PEERS[peer].websocket:
            continue
        server = bench.servers[peer]
        await asyncio.sleep(SETTLE)
        before = server.rss()
        opened: list[Callable[[], None]] = []
        row = Row("idle", peer)
        try:
            answers: list[int] = []
            answered = asyncio.Event()

            def count(
                connection: clients.Connection,
                status: int,
                to: list[int] = answers,
                done: asyncio.Event = answered,
            ) -> None:
                to.append(status)
                if len(to) == half:
                    done.set()

            connections = await clients.connect(server.port, count, half)
            opened += [c.transport.abort for c in connections]
            for connection in connections:
                connection.send(clients.request("GET", "/web/plain", KEY), 0.0)
            async with asyncio.timeout(clients.PATIENCE):
                await answered.wait()
            row.errors = sum(status != 200 for status in answers)
            for _ in range(half):
                socket = await clients.open_websocket(server.port, "/own/echo", f"x-api-key: {KEY}")
                opened.append(socket.close)
            row.requests = len(opened)
            row.rss_mib = server.rss() / MIB
            row.more = {"before_mib": before / MIB, "kib_each": (server.rss() - before) / 1024 / len(opened)}
            bench.rows.append(row)
        except (OSError, TimeoutError) as error:
            bench.failures.append(f"idle: {peer}: {type(error).__name__}: {error}")
        finally:
            for close in opened:
                close()


async def feed(bench: Bench) -> None:
    """Forwarding while nobody, one and thirty viewers follow the live feed: what looking costs."""
    server = bench.servers.get("gateway")
    if server is None:
        return
    load = http("/web/plain")
    samples: dict[int, list[Sample]] = {0: [], 1: [], 30: []}
    for round_ in range(bench.plan.feed_rounds):
        order = (0, 1, 30) if round_ % 2 == 0 else (30, 1, 0)
        for n in order:
            async with clients.viewers(server.port, TOKEN, n):
                samples[n].append(await sample(server, load, bench.plan.seconds))
    for n, some in samples.items():
        row = summary("feed", f"{n} viewer{'' if n == 1 else 's'}", some)
        # Each round against its own neighbour: the machine's slow changes cancel out.
        pairs = [
            (b.cpu / b.outcome.requests) / (a.cpu / a.outcome.requests) - 1
            for a, b in zip(samples[0], some, strict=True)
            if a.outcome.requests and b.outcome.requests and a.cpu
        ]
        row.more = {"extra": median(pairs)} if pairs else {}
        bench.rows.append(row)


async def steady(bench: Bench) -> None:
    """Open-loop at half of what the peer can do: latency from the moment a request was due."""
    data = clients.request("GET", "/web/plain", KEY)
    direct = clients.request("GET", "/plain", KEY)
    for peer in [name for name in bench.plan.steady if name in bench.servers]:
        known = bench.row("forward", peer)
        server = bench.servers[peer]
        capacity = known.rps if known is not None else None
        if capacity is None:
            capacity = (await http("/web/plain")(server.port, 1.0)).rate
        rate = min(capacity / 2, 10_000.0)  # what the benchmark's own client can send evenly
        if rate < 10:
            continue
        proxied: list[Sample] = []
        straight: list[Outcome] = []
        for _ in range(bench.plan.rounds):

            async def load(port: int, seconds: float, rate: float = rate) -> Outcome:
                return await clients.open_loop(port, data, CONNECTIONS, rate, seconds)

            proxied.append(await sample(server, load, bench.plan.short))
            await asyncio.sleep(SETTLE)
            straight.append(
                await clients.open_loop(bench.behind.web.port, direct, CONNECTIONS, rate, bench.plan.short)
            )
        row = summary("open loop", peer, proxied)
        row.more = {
            "rate": rate,
            "direct_p50_ms": median((o.p50 or 0.0) * 1000 for o in straight),
            "direct_p99_ms": median((o.p99 or 0.0) * 1000 for o in straight),
        }
        row.more["added_p50_ms"] = (row.p50_ms or 0.0) - row.more["direct_p50_ms"]
        row.more["added_p99_ms"] = (row.p99_ms or 0.0) - row.more["direct_p99_ms"]
        bench.rows.append(row)


async def memory(bench: Bench) -> None:
    """200 MiB down, 200 MiB up, and a client that asks for 200 MiB and reads nothing: memory added."""
    server = bench.servers.get("gateway")
    if server is None:
        return
    pause = 1.0 if bench.plan.rounds == 1 else 3.0
    works: dict[str, Callable[[], Awaitable[int]]] = {
        "200 MiB down": lambda: clients.download(server.port, "/web/huge", KEY),
        "200 MiB up": lambda: clients.upload(server.port, "/own/sink", KEY, HUGE),
        "slow reader": lambda: clients.download(server.port, "/web/huge", KEY, pause),
    }
    for name, work in works.items():
        await asyncio.sleep(SETTLE)
        try:
            async with asyncio.timeout(30), watching(server, 0.005) as peak:
                moved = await work()
        except (OSError, TimeoutError, EOFError) as error:
            bench.failures.append(f"memory: gateway: {name}: {type(error).__name__}: {error}")
            continue
        if moved != (0 if name == "slow reader" else HUGE):
            bench.failures.append(f"memory: gateway: {name}: {moved} bytes arrived instead of {HUGE}")
        row = Row("memory", name, requests=1, peak_mib=peak.bytes / MIB)
        row.more = {"added_mib": peak.growth / MIB}
        bench.rows.append(row)


SCENARIOS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "forward": forward,
    "hit": hit,
    "websocket": websocket,
    "download": download,
    "upload": upload,
    "idle": idle,
    "feed": feed,
    "open-loop": steady,
    "memory": memory,
}
