"""Server processes: started, waited for, watched from outside through the operating system, always ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
START = 20.0
"""Seconds a server may take to listen."""


class NotStarted(Exception):
    """A server did not come up; the text is one line."""


class Server:
    """One server process and what the operating system says about it (its children included)."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        self._process = process
        self._system = psutil.Process(process.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _all(self) -> list[psutil.Process]:
        return [self._system, *self._system.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of processor time used so far, in user and in kernel mode."""
        total = 0.0
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss(self) -> int:
        """Bytes of memory that are resident now."""
        total = 0
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    async def ready(self, seconds: float = START) -> None:
        """Wait until the port is served. Raises `NotStarted`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.alive:
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
        last = self.log.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise NotStarted(f"{self.name} did not start: {last[0][:200]}")

    def stop(self) -> None:
        if self.alive:
            self._process.terminate()

    def wait(self, seconds: float = 5.0) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Servers:
    """Starts servers, and ends all of them when its block is left, however that happens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Server] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._running:
            server.stop()
        for server in self._running:
            server.wait()

    async def start(
        self, name: str, command: Sequence[str], port: int, environ: Mapping[str, str] | None = None
    ) -> Server:
        """Run `command`, its output going to a file, and wait until `port` is served."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            # Blocking on purpose: nothing else is going on, and `stop` has to work without a loop.
            process = subprocess.Popen(  # noqa: ASYNC220
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        server = Server(name, process, port, log)
        self._running.append(server)
        await server.ready()
        return server


class Peak:
    """The most memory that a server had while it was watched."""

    def __init__(self, rss: int) -> None:
        self.start = rss
        self.bytes = rss

    @property
    def growth(self) -> int:
        return self.bytes - self.start


@contextlib.asynccontextmanager
async def watching(server: Server, every: float = 0.02) -> AsyncIterator[Peak]:
    """Look at the server's memory `every` so many seconds; what comes and goes in between is not seen."""
    peak = Peak(server.rss())

    async def look() -> None:
        while True:
            await asyncio.sleep(every)
            peak.bytes = max(peak.bytes, server.rss())

    task = asyncio.create_task(look())
    try:
        yield peak
    finally:
        task.cancel()
        peak.bytes = max(peak.bytes, server.rss())


def allow_many_files(wanted: int = 8192) -> None:
    """Raise this process's limit of open files, and so its children's, where there is such a limit."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, top), hard))
