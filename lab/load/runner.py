"""Locust as a child process: started, its figures as a stream, stopped within a second.

    run = LoadRun("http://127.0.0.1:8000", shape="spike", users=50, seconds=20)
    await run.start()
    async for figures in run.figures():     # four times a second, the last one of the whole run
        print(figures.rate)

Locust brings gevent, which changes how all of Python waits; hence never in our own process. The child ends
when this process does, however that ends: its standard input is a pipe that we hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lab.address import address
from lab.errors import UserError
from lab.load.clients import VISIT
from lab.load.shapes import SHAPES, USUAL_TIME
from lab.notes import Notes
from lab.settings import nearest

LOCUSTFILE = Path(__file__).resolve().parents[2] / "loadtests" / "locustfile.py"
MAX_USERS = 10_000
MAX_SECONDS = 3600.0
SATURATED = 0.9
"""Share of a core beyond which the load generator itself is what limits the load."""
CPU_WINDOW = 1.0
"""Seconds over which the generator's use of a core is taken."""
GRACE = 0.7
"""Seconds from SIGTERM to SIGKILL."""
START_WITHIN = 20.0
"""Seconds until the first figures must be there."""


class LoadError(UserError):
    """A load that cannot be run as asked, or whose generator did not start."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A load at a moment. Rates are per second and, like the latencies, of the last two seconds; in the last
    figures of a run they are of all of it.
    """

    time: float
    """Seconds since the first request could be sent."""
    users: int
    requests: int
    """All so far, failures and limited ones included."""
    failures: int
    """Without an answer, or with a status from 400 on that is not 429."""
    limited: int
    """Answered 429: the gateway's limiter said no."""
    rate: float
    failure_rate: float
    limited_rate: float
    p50: float | None
    """Seconds; None without requests."""
    p95: float | None
    p99: float | None
    cpu: float
    """The generator's use of a core over the last second, 0 to 1; of several processes the busiest one's."""
    saturated: bool
    """Whether the generator is the bottleneck: what it measures is then its own slowness too."""
    final: bool = False
    errors: dict[str, int] = field(default_factory=dict)
    """How often which error was met; in the last figures only."""


class LoadRun:
    """One run of Locust against the gateway at `host`.

    `rate` is requests a second of all users together, 0 as many as they can; for the shape `open` it is the
    rate of arrivals (0: 100). After `visit` requests a user leaves and another client comes; 0: never. With
    `notes` the gateway's viewers see when it ran. Raises `UserError` for what cannot be run.
    """

    def __init__(
        self,
        host: str,
        *,
        shape: str = "steady",
        users: int = 20,
        seconds: float = USUAL_TIME,
        rate: float = 0.0,
        visit: int = VISIT,
        api_keys: Sequence[str] = (),
        notes: Notes | None = None,
    ) -> None:
        if shape not in SHAPES:
            raise LoadError(f"no shape is called {shape!r}; {nearest(shape, SHAPES)}")
        if not 1 <= users <= MAX_USERS:
            raise LoadError(f"users: 1 to {MAX_USERS} were expected, got {users}")
        if not 1 <= seconds <= MAX_SECONDS:
            raise LoadError(f"time: 1 to {MAX_SECONDS:g} seconds were expected, got {seconds:g}")
        if not 0 <= rate <= 1_000_000:
            raise LoadError(f"rate: 0 to 1000000 requests a second were expected, got {rate:g}")
        if rate and not SHAPES[shape].paced:
            raise LoadError(f"rate: the shape '{shape}' has a pace of its own; leave it out")
        if not 0 <= visit <= 1_000_000:
            raise LoadError(f"visit: 0 to 1000000 requests were expected, got {visit}")
        if not LOCUSTFILE.is_file():
            raise LoadError(f"{LOCUSTFILE} is missing; a load runs from a clone of the lab")
        self.host = address(host)
        self.shape = shape
        self.users = users
        self.seconds = seconds
        self.label = f"{shape}, {users} users" + (f", {rate:g}/s" if rate else "")
        self.latest: Figures | None = None
        self.busiest = 0.0
        """The generator's highest use of a core so far."""
        self._command = [
            *(
                sys.executable,
                "-m",
                "locust",
                "--locustfile",
                str(LOCUSTFILE),
                "--headless",
                "--only-summary",
            ),
            *("--host", self.host, "--users", str(users), "--run-time", f"{round(seconds)}s"),
            *("--shape", shape, "--rate", str(rate), "--visit", str(visit), "--figures"),
            *("--exit-code-on-error", "0"),
        ]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if api_keys:
            self._env["LAB_API_KEYS"] = ",".join(api_keys)  # keys have no place in a list of processes
        self._notes = notes
        self._child: asyncio.subprocess.Process | None = None
        self._queue: asyncio.Queue[Figures | None] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []
        self._complaints: deque[str] = deque(maxlen=20)
        self._cpu = Cpu()

    async def start(self) -> None:
        """Start Locust and wait for its first figures. Raises `LoadError` where it does not come up."""
        group: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        pipe = asyncio.subprocess.PIPE
        self._child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self._env,
            cwd=LOCUSTFILE.parents[1],
            **group,
        )
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers = [
            asyncio.create_task(self._read_figures(first)),
            asyncio.create_task(self._read_complaints()),
        ]
        try:
            async with asyncio.timeout(START_WITHIN):
                await first
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise LoadError(f"Locust did not start within {START_WITHIN:g} s") from None
            raise
        if self._notes is not None:
            await self._notes.post("started", self.label, until=time.time() + self.seconds)

    async def figures(self) -> AsyncIterator[Figures]:
        """Figures as they come, until the run has ended; each is given once, to whoever asks first."""
        while (figures := await self._queue.get()) is not None:
            yield figures
        self._queue.put_nowait(None)  # whoever asks later hears that it is over

    async def stop(self, grace: float = GRACE) -> Figures | None:
        """End the run within a second, also where it has not begun or is over; the last figures.

        `grace` seconds are for Locust to end by itself and say the last figures; 0 kills it at once.
        """
        child = self._child
        if child is None:
            return self.latest
        if child.returncode is None and grace > 0:
            self._signal(child, "SIGTERM")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await child.wait()
        self._signal(child, "SIGKILL")  # its workers too, whatever became of it
        await child.wait()
        await asyncio.wait(self._readers)
        if child.stdin is not None:
            child.stdin.close()
        if self._notes is not None:
            await self._notes.post("stopped", self.label)
            await self._notes.aclose()
        self._child = None
        return self.latest

    async def __aenter__(self) -> LoadRun:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- behind it -------------------------------------------------------------------------------------------

    def _signal(self, child: asyncio.subprocess.Process, name: str) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                child.kill()
            else:
                os.killpg(child.pid, getattr(signal, name))

    async def _read_figures(self, first: asyncio.Future[None]) -> None:
        child = self._child
        assert child is not None
        assert child.stdout is not None
        try:
            async for line in child.stdout:
                if not line.startswith(b'{"figures"'):
                    continue  # Locust's own summary
                data = json.loads(line)
                del data["figures"]
                cpu = self._cpu.of(child.pid)
                self.busiest = max(self.busiest, cpu)
                saturated = (self.busiest if data["final"] else cpu) > SATURATED
                self.latest = Figures(cpu=round(cpu, 3), saturated=saturated, **data)
                self._queue.put_nowait(self.latest)
                if not first.done():
                    first.set_result(None)
        finally:
            self._queue.put_nowait(None)
            if not first.done():
                await child.wait()
                await asyncio.wait(self._readers[1:])
                reason = next(
                    (line for line in reversed(self._complaints) if line.strip()), "no reason given"
                )
                first.set_exception(LoadError(f"Locust ended with status {child.returncode}: {reason[:200]}"))

    async def _read_complaints(self) -> None:
        child = self._child
        assert child is not None
        assert child.stderr is not None
        async for line in child.stderr:
            self._complaints.append(line.decode("utf-8", "replace").strip())


class Cpu:
    """How much of a core the busiest process of a group uses, over the last second."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, dict[int, float]]] = deque()

    def of(self, pid: int) -> float:
        """The share at this moment, 0 to 1; 0 where the processes are gone."""
        now, used = time.monotonic(), {}
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    used[process.pid] = times.user + times.system
        self._marks.append((now, used))
        while len(self._marks) > 2 and self._marks[1][0] <= now - CPU_WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        if now - then < CPU_WINDOW / 2:
            return 0.0  # too short to say, and the start itself is work
        shares = [(used[pid] - before[pid]) / (now - then) for pid in used.keys() & before.keys()]
        return min(max(shares, default=0.0), 1.0)
