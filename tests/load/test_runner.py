"""Locust as a child against a small server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cli import main
from lab.errors import UserError
from lab.launcher.runfile import Run
from lab.load import commands, runner
from lab.load.clients import own_addresses
from lab.load.commands import gateway_url, seconds
from lab.load.runner import Figures, LoadError, LoadRun
from tests.load.runs import stopped_after
from tests.processes import survivors

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


class Gateway:
    """Answers every request with `status`, and remembers who asked."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.clients: Counter[str] = Counter()
        self.peers: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.url = ""
        self.connections: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                self.clients[fields.get("x-forwarded-for", "")] += 1
                self.peers[writer.get_extra_info("peername")[0]] += 1
                self.keys.add(fields.get("x-api-key", ""))
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % self.status)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def gateway(status: int = 200) -> AsyncIterator[Gateway]:
    it = Gateway(status)
    listener = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        listener.close()
        for connection in filter(None, it.connections):
            connection.cancel()
        await asyncio.gather(*filter(None, it.connections))


async def test_a_run_with_its_figures() -> None:
    async with gateway() as there:
        run = LoadRun(there.url, users=3, seconds=2, rate=30, api_keys=["k1", "k2"])
        await run.start()
        figures = [each async for each in run.figures()]
        await run.stop()
    *during, last = figures
    assert during  # four a second, on a machine that is not busy
    assert [each.final for each in figures] == [False] * len(during) + [True]
    assert [each.requests for each in figures] == sorted(each.requests for each in figures)
    assert any(each.users == 3 for each in during)
    assert 0 < last.requests <= 66
    assert (last.failures, last.limited, last.errors) == (0, 0, {})
    assert last.p50 is not None
    assert last.p99 is not None
    assert 0 <= last.p50 <= last.p99  # Locust knows whole milliseconds only
    assert there.keys == {"k1", "k2"}


async def test_after_a_visit_another_client_comes() -> None:
    async with gateway() as there, LoadRun(there.url, users=2, seconds=600, rate=30, visit=5) as run:
        last = await stopped_after(20, run)
    # At the end each user may have one under way, which is not counted any more.
    assert last.requests <= sum(there.clients.values()) <= last.requests + 2
    assert len(there.clients) >= last.requests / 5
    assert set(there.clients.values()) <= {1, 2, 3, 4, 5}
    if own_addresses(there.url):
        assert sorted(there.peers.values()) == sorted(there.clients.values())
        assert all(peer.startswith("127.") and not peer.startswith("127.0.") for peer in there.peers)


async def test_who_stays_is_one_client_for_ever() -> None:
    async with gateway() as there, LoadRun(there.url, users=2, seconds=600, rate=40, visit=0) as run:
        await stopped_after(10, run)
    assert len(there.clients) == 2


@pytest.mark.parametrize(
    ("errors", "limited", "shape", "told"),
    [
        ({"URL …: code=401": 60}, 0, "steady", "--api-keys"),
        ({"URL …: code=429": 60}, 60, "steady", "rate_limit.limit"),
        ({"URL …: code=429": 60}, 60, "noisy", None),  # which is what it is there to show
        ({"URL …: code=429": 40}, 40, "steady", None),
    ],
)
def test_what_to_set_where_most_was_refused(
    errors: dict[str, int], limited: int, shape: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "own_addresses", lambda host: host == "http://127.0.0.1:1")
    last = figures_of(requests=100, limited=limited, failures=60 - limited, errors=errors)
    lines = commands.advice(last, LoadRun("http://127.0.0.1:1", shape=shape))
    assert [told in line for line in lines] == ([] if told is None else [True])  # type: ignore[operator]
    if limited == 60 and told is not None:
        [line] = commands.advice(last, LoadRun("http://192.0.2.1:1", shape=shape))
        assert "trusted_proxies" in line


def figures_of(**data: Any) -> Figures:
    zeros: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(Figures)}
    return Figures(**{**zeros, **data})


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
        assert time.monotonic() - began < PATIENCE  # a second is promised, and met on a quiet machine
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
        assert await asyncio.to_thread(survivors, [process]) == []


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
        deadline = time.monotonic() + PATIENCE
        while not shares[-1] and time.monotonic() < deadline:
            shares.append(cpu.of(busy.pid))
        busy.kill()
    assert shares[0] == 0
    assert 0 < shares[-1] <= 1
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
        ({"visit": -1}, "visit: "),
        ({"shape": "noisy", "rate": 5}, "rate: the shape 'noisy' has a pace of its own"),
        ({"host": "ftp://127.0.0.1"}, "an address such as http://127.0.0.1:8000 was expected"),
        ({"host": "http://127.0.0.1:99999"}, "an address such as http://127.0.0.1:8000 was expected"),
    ],
)
def test_mistakes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        LoadRun(**{"host": "http://127.0.0.1:8000", **given})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_gateway_that_is_meant() -> None:
    run = Run(1, 1.0, "http://127.0.0.1:9000", {}, {}, "")
    assert gateway_url(run, None) == gateway_url(run, 0) == "http://127.0.0.1:9000"
    assert gateway_url(run, 9100) == gateway_url(None, 9100) == "http://127.0.0.1:9100"
    assert gateway_url(None, None) == "http://127.0.0.1:8000"


def test_times() -> None:
    assert [seconds(text) for text in ("45", "30s", "2m", "1.5m")] == [45, 30, 120, 90]


async def command(*arguments: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab", "load", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
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


def test_the_command_used_wrongly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    assert main(["load", "--host", "http://127.0.0.1:1"]) == 2
    assert "nothing listens at http://127.0.0.1:1" in capsys.readouterr().err
    monkeypatch.setenv("LAB_PORT_BASE", str(free_port()))
    assert main(["load"]) == 2
    assert f"nothing listens at http://127.0.0.1:{os.environ['LAB_PORT_BASE']};" in capsys.readouterr().err
    assert main(["load", "--time", "soon"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


async def test_an_ordinary_locust_file_distributed_too(free_port: Callable[[], int]) -> None:
    port = str(free_port())
    common = (sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py")
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    async with gateway() as there:
        master = await asyncio.create_subprocess_exec(
            *(*common, "--headless", "--only-summary", "--json", "--host", there.url),
            *("--users", "4", "--run-time", "3s", "--rate", "40"),
            *("--master", "--expect-workers", "2", "--master-bind-port", port),
            cwd=ROOT, **streams,
        )  # fmt: skip
        workers = [
            await asyncio.create_subprocess_exec(
                *common, "--worker", "--master-port", port, cwd=ROOT, **streams
            )
            for _ in range(2)
        ]
        try:
            out, err = await asyncio.wait_for(master.communicate(), PATIENCE)
        finally:
            # One that missed its master's last message waits another minute for it: that is Locust's affair.
            for child in (master, *workers):
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            said = [(await worker.communicate())[1].decode() for worker in workers]
    assert master.returncode == 0, "\n".join([err.decode(), *said])
    rows = json.loads(out[out.index(b"[\n") :])
    assert 0 < sum(row["num_requests"] for row in rows) < 240  # 120 were asked for: the rate is that of all
    assert sum(row["num_failures"] for row in rows) == 0
    assert len(there.clients) >= 4
