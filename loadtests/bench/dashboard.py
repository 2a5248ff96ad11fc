"""What the dashboard costs, how soon it shows what happened, and what a viewer costs the gateway.

    python -m loadtests.bench.dashboard [--quick] [--only paint,cpu,…] [--doc docs/performance.md]

Each part starts a stack of its own on free ports and the dashboard in a pseudo-terminal of 120×40 cells whose
output is read as a terminal would. Needs a system with pseudo-terminals (Linux, macOS).

* `start`: from the start of the process to the first line of the picture, and to the first figures of a
  gateway without traffic.
* `paint`: requests that the limiter refuses are sent at odd moments beside a steady 300 a second. Each raises
  the figure `429` by one. Measured is the time from the last byte of the answer, as its client reads it, to
  the bytes of the raised figure coming out of the terminal.
* `cpu`: processor time of the dashboard's process, as the operating system counts it, beside 500 requests a
  second; and the time to draw the four charts.
* `feed`: what the gateway sends a viewer a second; its p99 at 500 requests a second with a viewer that looks,
  one that is stopped (SIGSTOP) and none, in turns; its memory after a minute with a stopped one.
* `panic`: faults on both services and Locust at full speed; from the key to the moment at which no service
  has a fault and no process of Locust runs.
* `hour`: the memory that an hour of ticks adds (`loadtests.bench.hour`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from lab.dashboard.state import View
from lab.dashboard.traffic import TRUST, VISITORS, steady_path
from lab.faults.client import FaultClient
from lab.launcher import ports, runfile
from lab.launcher.stack import Stack
from loadtests.bench.hour import START
from loadtests.bench.processes import ROOT
from loadtests.bench.report import Target, number, replace_section
from loadtests.bench.run import load_average, machine
from loadtests.bench.terminal import Terminal

MARKS = ("<!-- dashboard:begin -->", "<!-- dashboard:end -->")
MARKER = "/service-a/items/marker"
SETTINGS = {
    **TRUST,
    "GATEWAY__RATE_LIMIT__LIMIT": "1000000",
    "GATEWAY__RATE_LIMIT__ROUTES": json.dumps([{"match": MARKER, "limit": 1, "window": 86_400}]),
}


@dataclass
class Findings:
    """What was measured so far."""

    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, measured: float | None, bound: float, unit: str, *, at_least: bool = False
    ) -> None:
        self.targets.append(Target(name, measured, bound, at_least, unit))
        print(f"{name}: {'–' if measured is None else f'{measured:.1f}'} {unit}", flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(text, flush=True)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Stack]:
    """A stack on free ports, up and healthy."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(ports=ports.free(), env=SETTINGS, home=Path(folder), announce=False)
        await stack.start()
        try:
            if not await stack.wait_healthy(60):
                sys.exit("the stack did not become healthy")
            yield stack
        finally:
            await stack.stop()


@contextlib.asynccontextmanager
async def watching(stack: Stack) -> AsyncIterator[Terminal]:
    """`lab attach` in a terminal, live."""
    command = [sys.executable, "-m", "lab", "attach", stack.gateway_url]
    terminal = await asyncio.to_thread(Terminal, command, environ(GATEWAY_ADMIN_TOKEN=stack.admin_token))
    try:
        await asyncio.to_thread(terminal.when("● live").wait)
        yield terminal
    finally:
        await asyncio.to_thread(terminal.close)


def environ(**more: str) -> dict[str, str]:
    """Of a program in a terminal with all colours."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "COLORTERM": "truecolor", "TERM": "xterm-256color", **more}


class Client:
    """One kept connection; `ask` gives when the last byte of the answer came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, path: str, client: str) -> float:
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {client}\r\n\r\n"
        self._writer.write(head.encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        fields = (line.lower().partition(b":") for line in answer.split(b"\r\n"))
        length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
        await self._reader.readexactly(length)
        return time.monotonic()

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def load(port: int, rate: float, connections: int = 8) -> AsyncIterator[list[float]]:
    """Requests at a fixed rate; the latencies in seconds, each from the moment at which it was due."""
    latencies: list[float] = []
    numbers = iter(range(10**9))

    async def send() -> None:
        client = await Client.to(port)
        due = time.monotonic() + random.random() * connections / rate
        while True:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            n = next(numbers)
            latencies.append(await client.ask(steady_path(n), VISITORS[n % len(VISITORS)]) - due)
            due += connections / rate

    senders = [asyncio.create_task(send()) for _ in range(connections)]
    try:
        yield latencies
    finally:
        for sender in senders:
            sender.cancel()
        done = await asyncio.gather(*senders, return_exceptions=True)
        for problem in done:
            if isinstance(problem, Exception):
                raise problem


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


# -- the parts


async def start(found: Findings, quick: bool) -> None:
    """First paint, first figures."""
    paints, values = [], []
    async with running() as stack:
        for _ in range(3 if quick else 9):
            command = [sys.executable, "-m", "lab", "attach", stack.gateway_url]
            env = environ(GATEWAY_ADMIN_TOKEN=stack.admin_token)
            terminal = await asyncio.to_thread(Terminal, command, env)
            paint, value = terminal.when("Overview"), terminal.when(r"admitted \d")
            try:
                paints.append(await asyncio.to_thread(paint.wait) - terminal.started)
                values.append(await asyncio.to_thread(value.wait) - terminal.started)
            finally:
                await asyncio.to_thread(terminal.close)
    found.add("first paint after the start of the process", statistics.median(paints) * 1000, 1000, " ms")
    name = "figures of a gateway without traffic, after the start of the process"
    found.add(name, statistics.median(values) * 1000, 1000, " ms")


async def paint(found: Findings, quick: bool) -> None:
    """From an answer to the painted figure."""
    markers = 40 if quick else 200
    sent: dict[int, float] = {}
    shown: dict[int, float] = {}

    def look(now: float, text: str) -> None:
        for figure in re.findall(r"429 (\d+)(?=[^\d./k])", text):
            shown.setdefault(int(figure), now)

    async with running() as stack, watching(stack) as terminal, load(stack.ports["gateway"], 300):
        terminal.on_text(look)
        client = await Client.to(stack.ports["gateway"])
        await client.ask(MARKER, "203.0.113.1")  # the one that is admitted
        await asyncio.sleep(2)
        for n in range(1, markers + 1):
            sent[n] = await client.ask(MARKER, "203.0.113.1")
            await asyncio.sleep(random.uniform(0.3, 0.6))
        await asyncio.sleep(1)
        client.close()
    delays = []
    for n, when in sent.items():
        times = [at for figure, at in shown.items() if figure >= n]
        if not times:
            sys.exit(f"the figure {n} was never painted")
        delays.append((min(times) - when) * 1000)
    found.add("a request at 300/s, answered → its figure painted, p95", percentile(delays, 0.95), 250, " ms")
    found.note(
        f"answer → figure: p50 {percentile(delays, 0.5):.0f} ms, p95 {percentile(delays, 0.95):.0f} ms, "
        f"longest {max(delays):.0f} ms of {markers}"
    )


async def cpu(found: Findings, quick: bool) -> None:
    """The dashboard's own processor time."""
    seconds = 10 if quick else 60
    drawn = await charts_per_frame()
    async with running() as stack, load(stack.ports["gateway"], 500), watching(stack) as terminal:
        await asyncio.sleep(5)
        process = psutil.Process(terminal.pid)
        before, bytes_before = sum(process.cpu_times()[:2]), terminal.bytes
        await asyncio.sleep(seconds)
        used = sum(process.cpu_times()[:2]) - before
        painted = (terminal.bytes - bytes_before) / seconds
        memory = process.memory_info().rss / 2**20
    found.add("CPU at 120×40, the gateway at 500 requests/s, of a core", used / seconds * 100, 15, " %")
    found.note(
        f"a frame for each tick, 6.7 a second; the four charts {drawn:.1f} ms a frame; "
        f"{painted / 1000:.0f} kB/s to the terminal; {memory:.0f} MiB resident"
    )


async def charts_per_frame() -> float:
    """Milliseconds to draw the overview's four charts anew, as every frame does."""
    from lab.dashboard.app import Dashboard
    from lab.dashboard.widgets.chart import Chart

    view = View(status="live")
    totals = {"requests": 0, "2xx": 0, "hits": 0, "misses": 0, "upstream_calls": 0}
    for second in range(300):
        totals = {name: count + second * 7 % 13 + 1 for name, count in totals.items()}
        latency = {"p50": 0.002, "p95": 0.004 + second % 9 / 1000, "p99": 0.02 + second % 5 / 100}
        view.fold(
            {"type": "tick", "time": 1e9 + second, "totals": totals, "latency": latency, "services": {}}
        )
    app = Dashboard(view=view)
    async with app.run_test(size=(120, 40)) as pilot:
        charts = list(app.screen.query(Chart))
        times = []
        for frame in range(100):
            view.advance(1e9 + 300 + frame / 5)
            await pilot.pause()
            began = time.perf_counter()
            for chart in charts:
                chart.watch_view()
                for row in range(chart.content_size.height):
                    chart.render_line(row)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def feed(found: Findings, quick: bool) -> None:
    """What a viewer costs the gateway."""
    from websockets.asyncio.client import connect

    seconds, rounds = (4, 3) if quick else (10, 12)
    async with running() as stack, load(stack.ports["gateway"], 500) as latencies:
        headers = {"Authorization": f"Bearer {stack.admin_token}"}
        url = stack.gateway_url.replace("http", "ws", 1) + "/admin/events"
        ticks = size = 0
        async with connect(url, additional_headers=headers, max_size=None, compression=None) as socket:
            await socket.recv()
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    message = await asyncio.wait_for(socket.recv(), left)
                    ticks += json.loads(message)["type"] == "tick"
                    size += len(message)
        found.add("the feed's aggregates a second, at 500 requests/s", ticks / seconds, 10, "")
        found.note(f"the feed sends {size / seconds / 1000:.0f} kB/s to a viewer")

        async def p99() -> float:
            latencies.clear()
            await asyncio.sleep(seconds)
            return percentile(latencies, 0.99) * 1000

        gateway = psutil.Process(stack.processes["gateway"].pid)
        p99s: dict[str, list[float]] = {"none": [], "looking": [], "stopped": []}
        for _ in range(rounds):
            p99s["none"].append(await p99())
            async with watching(stack) as terminal:
                p99s["looking"].append(await p99())
                os.kill(terminal.pid, signal.SIGSTOP)
                p99s["stopped"].append(await p99())
                os.kill(terminal.pid, signal.SIGCONT)
        async with watching(stack) as terminal:
            await asyncio.sleep(2)
            before = gateway.memory_info().rss
            os.kill(terminal.pid, signal.SIGSTOP)
            await asyncio.sleep(10 if quick else 60)
            grown = (gateway.memory_info().rss - before) / 2**20
            os.kill(terminal.pid, signal.SIGCONT)
    medians = {who: statistics.median(values) for who, values in p99s.items()}
    for who in ("none", "looking"):
        change = (medians["stopped"] / medians[who] - 1) * 100
        other = "without a viewer" if who == "none" else "with one that looks"
        found.add(f"the gateway's p99 with a stopped viewer, against {other}", change, 5, " %")
    spread = ", ".join(
        f"{who} {medians[who]:.2f} ({min(values):.2f} to {max(values):.2f})" for who, values in p99s.items()
    )
    found.note(f"p99 at 500/s, in ms, median and range of {rounds} rounds by viewer: {spread}")
    found.add("memory that a stopped viewer adds to the gateway", grown, 1, " MiB")


async def panic(found: Findings, quick: bool) -> None:
    """The key that undoes everything."""
    undone, stopped, said = [], [], []
    with tempfile.TemporaryDirectory() as home:
        env = environ(LAB_HOME=home, GATEWAY__RATE_LIMIT__LIMIT="1000000")
        command = [sys.executable, "-m", "lab", "dashboard", "--port-base", "0"]
        terminal = await asyncio.to_thread(Terminal, command, env)
        try:
            await asyncio.to_thread(terminal.when("service-b ● up").wait, 60)
            run = runfile.read(Path(home))
            if run is None:
                sys.exit("the dashboard's stack wrote no run file")
            services = {name: url for name, url in run.urls.items() if name != "gateway"}
            async with FaultClient(services) as faults:
                for _ in range(3 if quick else 15):
                    await faults.set("service-a", {"kind": "latency", "ms": 100, "ttl": 60})
                    await faults.set("service-b", {"kind": "hang", "ttl": 60})
                    loaded = terminal.when("● steady")
                    await asyncio.to_thread(terminal.press, "8")
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(terminal.press, "\r")
                    await asyncio.to_thread(loaded.wait)
                    await asyncio.sleep(2)
                    load_processes = locusts(terminal.pid)
                    if not load_processes:
                        sys.exit("no process of Locust was found")
                    word = terminal.when("everything is undone")
                    pressed = terminal.press("!")
                    ends = await asyncio.gather(
                        _until(partial(_no_fault, faults)), _until(partial(_none_runs, load_processes))
                    )
                    undone.append((ends[0] - pressed) * 1000)
                    stopped.append((ends[1] - pressed) * 1000)
                    said.append((await asyncio.to_thread(word.wait) - pressed) * 1000)
                    await asyncio.sleep(2)
        finally:
            await asyncio.to_thread(terminal.close)
    both = [max(pair) for pair in zip(undone, stopped, strict=True)]
    found.add("panic key → no fault is set and no load runs, the longest", max(both), 200, " ms")
    found.note(
        f"panic key, median and longest of {len(both)}: faults undone {statistics.median(undone):.0f} and "
        f"{max(undone):.0f} ms, load ended {statistics.median(stopped):.0f} and {max(stopped):.0f} ms, "
        f"said on the screen {statistics.median(said):.0f} and {max(said):.0f} ms"
    )


def locusts(pid: int) -> list[psutil.Process]:
    """The processes of Locust below this one."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "locust" in " ".join(process.cmdline()):
                found.append(process)
    return found


async def _no_fault(faults: FaultClient) -> bool:
    return not any((await faults.list()).values())


async def _none_runs(processes: list[psutil.Process]) -> bool:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


async def _until(true: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> float:
    """When it came true, looked at every two milliseconds."""
    until = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > until:
            sys.exit("the panic key did not undo everything")
        await asyncio.sleep(0.002)
    return time.monotonic()


async def hour(found: Findings, quick: bool) -> None:
    """An hour's memory, in a process of its own."""
    minutes = 10 if quick else 60
    command = [sys.executable, "-m", "loadtests.bench.hour", "--minutes", str(minutes)]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environ(), cwd=ROOT
    )
    out, _ = await child.communicate()
    if child.returncode:
        sys.exit("the hour was not drawn to its end")
    mib = {int(minute): value for minute, value in json.loads(out)["mib"].items()}
    found.add(f"memory that {minutes} minutes add", mib[minutes] - mib[START], 20, " MiB")
    found.note("MiB resident after so many minutes: " + ", ".join(f"{m}: {v}" for m, v in mib.items()))


PARTS: dict[str, Callable[[Findings, bool], Awaitable[None]]] = {
    "start": start,
    "paint": paint,
    "cpu": cpu,
    "feed": feed,
    "panic": panic,
    "hour": hour,
}


def markdown(found: Findings, command: str, before: float | None) -> str:
    """For a document."""
    rows = ["| figure | must be | measured | |", "| --- | ---: | ---: | ---: |"]
    for target in found.targets:
        sign = "≥" if target.at_least else "≤"
        verdict = {True: "reached", False: "missed", None: ""}[target.reached]
        measured = f"{number(target.measured, 1)}{target.unit}"
        rows.append(f"| {target.name} | {sign} {target.bound:g}{target.unit} | {measured} | {verdict} |")
    notes = [f"- {note}" for note in found.notes]
    where = machine()
    closing = (
        f"{where['system']}, {where['cores']} cores shared by all; Python {where['python']}; "
        f"load average {before} before, {load_average()} after."
    )
    return "\n\n".join([f"Made with `{command}`.", "\n".join(rows), "\n".join(notes), closing])


async def measure(only: list[str], quick: bool) -> Findings:
    """The parts, one after the other."""
    found = Findings()
    for part in only:
        await PARTS[part](found, quick)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute and a half; coarser figures")
    parser.add_argument("--only", default=",".join(PARTS), metavar="A,B", help=f"of: {', '.join(PARTS)}")
    parser.add_argument(
        "--doc", type=Path, metavar="FILE", help="write the table between its dashboard marks"
    )
    given = parser.parse_args()
    chosen = [part.strip() for part in given.only.split(",")]
    for part in chosen:
        if part not in PARTS:
            parser.error(f"--only: {part!r} is not one of {', '.join(PARTS)}")
    before = load_average()
    found = asyncio.run(measure(chosen, given.quick))
    if given.doc is not None:
        command = "python -m loadtests.bench.dashboard" + (" --quick" if given.quick else "")
        section = markdown(found, command, before)
        document = replace_section(given.doc.read_text("utf-8"), section, MARKS)
        given.doc.write_text(document, encoding="utf-8")
