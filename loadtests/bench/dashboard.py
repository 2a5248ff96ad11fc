"""What the dashboard costs: first paint, CPU while it shows a busy gateway, memory, time to draw its charts.

    python loadtests/bench/dashboard.py [--rate 500] [--time 20]

Starts a stack of its own on free ports, sends traffic at a fixed rate, and runs `lab attach` in a terminal of
120×40 cells that nobody looks at. Needs a system with pseudo-terminals (Linux, macOS).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import psutil

from lab.dashboard.state import View
from lab.dashboard.traffic import TRUST, VISITORS, steady_path
from lab.launcher import ports
from lab.launcher.stack import Stack

COLUMNS, ROWS = 120, 40


class Terminal:
    """A program in a pseudo-terminal, whose output is read and thrown away, and when it came first."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.started = time.monotonic()
        self.painted: float | None = None
        """Seconds from the start to the first line of the picture."""
        self.bytes = 0
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._screen, 65_536):
                self.bytes += len(chunk)
                if self.painted is None and b"Overview" in chunk:
                    self.painted = time.monotonic() - self.started

    def close(self) -> None:
        """Press q and wait for the end."""
        os.write(self._screen, b"q")
        os.waitpid(self.pid, 0)


async def send(port: int, rate: float, stop: asyncio.Event) -> int:
    """Requests at a fixed rate over eight kept connections; how many were answered."""
    answered = 0
    numbers = iter(range(10**9))

    async def client(pause: float) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = time.monotonic()
        while not stop.is_set():
            n = next(numbers)
            head = f"GET {steady_path(n)} HTTP/1.1\r\nHost: bench\r\n"
            head += f"X-Forwarded-For: {VISITORS[n % len(VISITORS)]}\r\n\r\n"
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = (line.lower().partition(b":") for line in answer.split(b"\r\n"))
            length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
            await reader.readexactly(length)
            answered += 1
            due += pause
            await asyncio.sleep(max(due - time.monotonic(), 0))
        writer.close()

    await asyncio.gather(*(client(8 / rate) for _ in range(8)))
    return answered


async def charts_per_frame() -> float:
    """Milliseconds to draw four charts of 60×8 cells anew, as every frame does."""
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
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
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
    return sorted(times)[len(times) // 2] * 1000


async def main(rate: float, seconds: float) -> None:
    print(f"four charts: {await charts_per_frame():.1f} ms a frame (median)")
    env = {**TRUST, "GATEWAY__RATE_LIMIT__LIMIT": "1000000"}
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(ports=ports.free(), env=env, home=Path(folder), announce=False)
        await stack.start()
        try:
            if not await stack.wait_healthy(30):
                sys.exit("the stack did not become healthy")
            stop = asyncio.Event()
            sending = asyncio.create_task(send(stack.ports["gateway"], rate, stop))
            command = [sys.executable, "-m", "lab", "attach", stack.gateway_url]
            environ = {
                **os.environ,
                "GATEWAY_ADMIN_TOKEN": stack.admin_token,
                "COLORTERM": "truecolor",
                "TERM": "xterm-256color",
            }
            terminal = await asyncio.to_thread(Terminal, command, environ)
            await asyncio.sleep(5)
            process = psutil.Process(terminal.pid)
            before, memory = sum(process.cpu_times()[:2]), process.memory_info().rss
            await asyncio.sleep(seconds)
            used = sum(process.cpu_times()[:2]) - before
            grown = process.memory_info().rss - memory
            print(f"first paint: {(terminal.painted or 0) * 1000:.0f} ms after the start of the process")
            print(f"CPU: {used / seconds:.1%} of a core at {COLUMNS}×{ROWS} and {rate:.0f} requests/s")
            print(f"memory: {memory / 2**20:.0f} MiB, {grown / 2**20:+.1f} MiB in {seconds:.0f} s")
            await asyncio.to_thread(terminal.close)
            stop.set()
            print(f"answered: {await sending} requests")
        finally:
            await stack.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=500, help="requests a second (500)")
    parser.add_argument("--time", type=float, default=20, help="seconds to measure (20)")
    given = parser.parse_args()
    asyncio.run(main(given.rate, given.time))
