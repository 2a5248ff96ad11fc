"""Whatever ends the launcher, soon no child lives and no port is held."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.launcher import child, ports, runfile

from .conftest import gone, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOON = 60.0
"""Seconds; two are promised, and met where the machine is not busy."""


@pytest.fixture
def start_parent(tmp_path):
    """`start_parent(then, ports)`: a launcher process whose stack is healthy, and the children's pids."""
    started = []

    def start(then, numbers):
        command = [sys.executable, str(HERE / "parent.py"), then, json.dumps(numbers), str(tmp_path)]
        parent = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(parent)
        line = parent.stdout.readline()
        return parent, json.loads(line or "[]")

    yield start
    for parent in started:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def all_gone(pids, numbers):
    return all(gone(pid) for pid in pids) and all(ports.is_free(port) for port in numbers.values())


def children_of(launcher):
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and ports.launcher_of(process.info["cmdline"] or []) == launcher
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
async def test_no_child_survives_a_signal_and_the_next_start_works(start_parent, number, tmp_path):
    numbers = ports.free()
    for _ in range(2):  # the second start finds the ports free and the run file stale
        parent, pids = start_parent("wait", numbers)
        assert len(pids) == 3
        assert runfile.read(tmp_path).pid == parent.pid
        parent.send_signal(getattr(signal, number))
        await until(lambda pids=pids: all_gone(pids, numbers), SOON)
        parent.wait(SOON)
        assert runfile.read(tmp_path) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
async def test_a_stopped_child_dies_too(start_parent):
    numbers = ports.free()
    parent, pids = start_parent("paused", numbers)
    parent.kill()
    await until(lambda: all_gone(pids, numbers), SOON)


async def test_no_child_survives_an_exception(start_parent):
    numbers = ports.free()
    parent, pids = start_parent("exception", numbers)
    await until(lambda: all_gone(pids, numbers), SOON)
    assert parent.wait(SOON) == 1


async def test_no_child_survives_a_launcher_that_ends_while_they_start(start_parent):
    numbers = ports.free()
    parent, _ = start_parent("at-once", numbers)
    assert parent.wait(SOON) == 3
    await until(lambda: not children_of(parent.pid), SOON)
    assert all(ports.is_free(port) for port in numbers.values())


async def test_the_end_of_standard_input_alone_is_enough(tmp_path):
    command = [sys.executable, "-m", "lab.launcher.child", "--name", "alone", "--app", "standin:app"]
    numbers = ports.free()
    log = tmp_path / "alone.log"
    with log.open("ab") as output:
        alone = subprocess.Popen(  # noqa: ASYNC220
            [*command, "--port", str(numbers["gateway"]), "--parent", str(os.getpid()), "--log", str(log)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
    try:
        await until(lambda: not ports.is_free(numbers["gateway"]))
        alone.stdin.close()  # what the kernel does for a dead launcher
        assert alone.wait(SOON) == 1
    finally:
        alone.kill()
        alone.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_whose_launcher_died_before_the_request_to_the_kernel_leaves(tmp_path):
    script = "import os; from lab.launcher.child import die_with; die_with(os.getpid()); print('lives')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_a_full_log_starts_anew_and_loses_nothing(tmp_path):
    log = tmp_path / "service.log"
    script = (
        "import os, sys, threading; from pathlib import Path; from lab.launcher import child\n"
        f"log = Path({str(log)!r})\n"
        "file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)\n"
        "os.dup2(file, 1); os.dup2(file, 2)\n"
        "for n in range(100):\n"
        "    print(n, flush=True)\n"
        "    if n == 49: child.rotate(log)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=120)
    assert log.read_text().split() == [str(n) for n in range(50, 100)]
    assert (tmp_path / "service.log.1").read_text().split() == [str(n) for n in range(50)]


def test_logs_are_looked_at_until_they_are_full(tmp_path, monkeypatch):
    rotated = []

    def rotate(path):
        rotated.append(path)
        raise InterruptedError  # out of the endless loop

    sizes = iter([10, 99, 100])
    monkeypatch.setattr(child, "rotate", rotate)
    monkeypatch.setattr(child.os, "fstat", lambda fd: os.stat_result((0,) * 6 + (next(sizes),) + (0,) * 3))
    with pytest.raises(InterruptedError):
        child.bound_log(tmp_path / "x.log", size=100, every=0)
    assert rotated == [tmp_path / "x.log"]
    assert next(sizes, None) is None
