"""Locust as a child against a small server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cli import main
from lab.load import runner
from lab.load.commands import seconds
from lab.load.runner import LoadError, LoadRun
from tests.processes import survivors

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0


class Gateway:
    """Answers every request with `status`, and remembers who asked."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.clients: set[str] = set()
        self.keys: set[str] = set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                self.clients.add(fields.get("x-forwarded-for", ""))
                self.keys.add(fields.get("x-api-key", ""))
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % self.status)
        writer.close()


@contextlib.asynccontextmanager
async def gateway(status: int = 200) -> AsyncIterator[Gateway]:
    it = Gateway(status)
    listener = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        listener.close()


async def test_a_run_with_its_figures() -> None:
    async with gateway() as there:
        run = LoadRun(there.url, users=3, seconds=2, rate=30, api_keys=["k1", "k2"])
        await run.start()
        figures = [each async for each in run.figures()]
        await run.stop()
    *during, last = figures
    assert len(during) >= 6  # four a second
    assert [each.final for each in figures] == [False] * len(during) + [True]
    assert [each.requests for each in figures] == sorted(each.requests for each in figures)
    assert any(each.users == 3 for each in during)
    assert 30 <= last.requests <= 66
    assert (last.failures, last.limited, last.errors) == (0, 0, {})
    assert last.p50 is not None
    assert 0 < last.p50 <= (last.p99 or 0) < 1
    assert there.clients == {"10.0.0.0", "10.0.0.1", "10.0.0.2"}
    assert there.keys == {"k1", "k2"}


@pytest.mark.parametrize(("status", "failures", "limited"), [(500, True, False), (429, False, True)])
async def test_failures_and_limited_requests_are_told_apart(
    status: int, failures: bool, limited: bool
) -> None:
    async with gateway(status) as there, LoadRun(there.url, users=1, seconds=1, rate=20) as run:
        figures = [each async for each in run.figures()]
    last = figures[-1]
    assert (last.failures == last.requests > 0) is failures
    assert (last.limited == last.requests > 0) is limited
    assert sum(last.errors.values()) == last.requests


async def test_a_stop_takes_less_than_a_second_and_leaves_nobody() -> None:
    async with gateway() as there:
        run = LoadRun(there.url, users=5, seconds=600)
        await run.start()
        assert run._child is not None
        process = psutil.Process(run._child.pid)
        began = time.monotonic()
        last = await run.stop()
        assert time.monotonic() - began < 1.0
        assert not process.is_running()
        assert last is not None
        assert [each async for each in run.figures()][-1] == last
        assert [each async for each in run.figures()] == []
        assert await run.stop() == last  # once more does no harm


PARENT = """
import asyncio, sys
from lab.load.runner import LoadRun
async def main():
    run = LoadRun(sys.argv[1], users=1, seconds=600, rate=5)
    await run.start()
    print(run._child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_it_dies_with_its_parent() -> None:
    async with gateway() as there:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PARENT, there.url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        process = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), PATIENCE)))
        os.kill(parent.pid, signal.SIGKILL)
        await parent.wait()
        assert await asyncio.to_thread(survivors, [process], 5) == []


async def test_a_generator_at_its_limit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SATURATED", 0.001)  # which is what anything uses
    async with gateway() as there, LoadRun(there.url, users=1, seconds=2) as run:
        figures = [each async for each in run.figures()]
    assert figures[-1].saturated
    assert not figures[0].saturated  # it has only just begun


def test_the_use_of_a_core_is_measured() -> None:
    cpu = runner.Cpu()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        shares = [cpu.of(busy.pid)]
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            shares.append(cpu.of(busy.pid))
        busy.kill()
    assert shares[0] == 0
    assert 0.1 < max(shares) <= 1
    assert cpu.of(busy.pid) == 0


async def test_locust_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "locustfile.py"
    broken.write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.setattr(runner, "LOCUSTFILE", broken)
    with pytest.raises(LoadError, match="no such luck"):
        await LoadRun("http://127.0.0.1:1").start()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": "stedy"}, "did you mean 'steady'?"),
        ({"users": 0}, "users: 1 to 10000 were expected, got 0"),
        ({"seconds": 0.5}, "time: 1 to 3600 seconds were expected, got 0.5"),
        ({"rate": -1}, "rate: "),
        ({"host": "127.0.0.1:8000"}, "host: an address such as http://127.0.0.1:8000 was expected"),
    ],
)
def test_mistakes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError) as caught:
        LoadRun(**{"host": "http://127.0.0.1:8000", **given})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_times() -> None:
    assert [seconds(text) for text in ("45", "30s", "2m", "1.5m")] == [45, 30, 120, 90]


async def command(*arguments: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab", "load", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_the_command() -> None:
    async with gateway() as there:
        status, out, err = await command("--host", there.url, "--users", "2", "--time", "2s", "--rate", "20")
        assert (status, err) == (0, "")
        assert "answered well" in out.splitlines()[-2]
        status, out, err = await command("--host", there.url, "--time", "1", "--rate", "20", "--json")
        assert (status, json.loads(out)["final"]) == (0, True)
        there.status = 500
        status, out, _ = await command("--host", there.url, "--time", "1", "--rate", "20")
        assert status == 1
        assert "code=500" in out


def test_the_command_used_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--host", "http://127.0.0.1:1"]) == 2
    assert "nothing listens at http://127.0.0.1:1" in capsys.readouterr().err
    assert main(["load", "--time", "soon"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


async def test_an_ordinary_locust_file_distributed_too() -> None:
    async with gateway() as there:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"),
            *("--only-summary", "--host", there.url, "--users", "4", "--run-time", "3s"),
            *("--processes", "2", "--rate", "40"),
            "--json",
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    assert child.returncode == 0, err.decode()[-2000:]
    rows = json.loads(b"[" + out.rpartition(b"\n[\n")[2])  # each process prints one; the master's comes last
    assert sum(row["num_requests"] for row in rows) > 40
    assert sum(row["num_failures"] for row in rows) == 0
