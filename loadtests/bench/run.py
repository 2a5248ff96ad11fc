"""One run: start everything, measure, stop everything, say what it came to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from loadtests.bench.peers import PEERS, start_services
from loadtests.bench.processes import NotStarted, Servers, allow_many_files
from loadtests.bench.report import Report
from loadtests.bench.scenarios import SCENARIOS, Bench, Plan

LIMIT = 420.0
"""Seconds after which a run is broken off, whatever it waits for."""


async def measure(
    plan: Plan, peers: Sequence[str], only: Sequence[str], say: Callable[[str], None]
) -> Report:
    """Measure the named peers in the named scenarios. Raises `NotStarted`, `TimeoutError`."""
    allow_many_files()
    report = Report(machine=machine(), command="lab bench")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lab-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with Servers(folder) as servers:
            async with asyncio.timeout(LIMIT):
                behind = await start_services(servers, folder)
                report.machine["service"] = behind.web_is
                bench = Bench({}, behind, plan, say)
                for peer in peers:
                    if (missing := PEERS[peer].missing) is not None:
                        report.skipped[peer] = missing
                        say(f"without {peer}: {missing}")
                        continue
                    try:
                        bench.servers[peer] = await PEERS[peer].start(servers, folder, behind)
                    except NotStarted as error:
                        if peer == "gateway":
                            raise
                        report.skipped[peer] = str(error)
                        say(f"without {peer}: {error}")
                        continue
                    await asyncio.sleep(0.3)
                    report.start_mib[peer] = bench.servers[peer].rss() / 2**20
                for scenario in only:
                    say(f"{time.monotonic() - started:5.0f} s  {scenario}: {summary_of(scenario)}")
                    await SCENARIOS[scenario](bench)
                report.rows = bench.rows
                report.failures = bench.failures
    report.machine["load_after"] = load_average()
    report.seconds = time.monotonic() - started
    return report


def summary_of(scenario: str) -> str:
    return (SCENARIOS[scenario].__doc__ or "").splitlines()[0]


def run(plan: Plan, peers: Sequence[str], only: Sequence[str], say: Callable[[str], None]) -> Report:
    """`measure` on an event loop that ends what it started also when it is told to stop."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return _runner(measure(plan, peers, only, say))
    finally:
        signal.signal(signal.SIGTERM, before)


def _runner(work: Any) -> Report:
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        report: Report = runner.run(work)
        return report


def machine() -> dict[str, Any]:
    """Where this was measured, without names."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: v for name in _PACKAGES if (v := _version(name))},
        "load_tool": "wrk" if shutil.which("wrk") else "own",
        "load_before": load_average(),
        "platform": sys.platform,
    }


_PACKAGES = (
    "gateway-lab",
    "uvicorn",
    "uvloop",
    "httptools",
    "httpx",
    "fastapi",
    "aiohttp",
    "fastapi-proxy-lib",
)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def load_average() -> float | None:
    """Processes that wanted a core, over the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
