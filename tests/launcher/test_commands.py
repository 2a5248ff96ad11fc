import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.launcher import ports, runfile

from .conftest import gone, until

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def lab(tmp_path):
    """`lab(…)`: that command as a process, its output as text."""
    started = []

    def start(*arguments, **env):
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "LAB_HOME": str(tmp_path), **env},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process, part):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError(f"{part!r} did not come in {lines}, {process.stderr.read()}")


@posix
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_up_runs_until_it_is_told_to_stop(lab, tmp_path, number):
    up = lab("up", "--port-base", "0")
    lines = read_until(up, "stop       Ctrl-C")
    assert any("all healthy after" in line for line in lines)
    run = runfile.read(tmp_path)
    assert any(f"curl -i {run.gateway_url}/service-a/items/1" in line for line in lines)
    pids = [child.pid for child in psutil.Process(up.pid).children()]
    assert len(pids) == 3
    up.send_signal(getattr(signal, number))
    assert up.wait(60) == 0
    assert all(gone(pid) for pid in pids)
    assert all(ports.is_free(port) for port in run.ports.values())
    assert not runfile.path(tmp_path).exists()
    assert f"{number}: stopping" in up.stdout.read()


@posix
async def test_a_second_signal_forces_the_end(lab, tmp_path, monkeypatch):
    up = lab("up", "--port-base", "0")
    read_until(up, "stop       Ctrl-C")
    children = psutil.Process(up.pid).children()
    up.send_signal(signal.SIGINT)
    up.send_signal(signal.SIGTERM)  # two of the same kind may arrive as one
    assert up.wait(60) == 0
    assert "again: killing what is left" in up.stdout.read()
    await until(lambda: all(gone(child.pid) for child in children))


@posix
async def test_up_ends_when_nobody_reads_it(lab):
    up = lab("up", "--port-base", "0")
    read_until(up, "stop       Ctrl-C")
    child = psutil.Process(up.pid).children()[0]
    up.stdout.close()
    child.kill()  # something to tell
    up.stdout = open(os.devnull)  # noqa: ASYNC230, SIM115
    assert up.wait(60) == 0


def test_up_says_who_holds_the_port(lab):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]  # service A's, and the first that is looked at
        up = lab("up", "--port-base", str(port - 1))
        out, error = up.communicate(timeout=120)
    assert up.returncode == 2
    assert f"port {port}, which service-a needs, is held by process {os.getpid()}" in error
    assert "Traceback" not in error
    assert out == ""


def test_up_refuses_a_bad_configuration_in_one_line(lab, tmp_path):
    up = lab("up", "--port-base", "0", "--config", str(tmp_path / "none.yaml"))
    _, error = up.communicate(timeout=120)
    assert up.returncode == 2
    assert error.count("\n") == 1
    assert "none.yaml" in error


def test_up_refuses_what_only_the_gateway_can_find_wrong_in_one_line(lab):
    up = lab("up", "--port-base", "0", GATEWAY__RATE_LIMIT__USE="sliding")
    _, error = up.communicate(timeout=120)
    assert up.returncode == 2
    assert error.count("\n") == 1
    assert error.startswith("lab: rate_limit.use: 'sliding' is neither")


def test_doctor_tells_in_json_and_by_its_status(lab):
    with socket.create_server(("127.0.0.1", 0)) as other:
        base = str(other.getsockname()[1])
        doctor = lab("doctor", "--json", "--port-base", base)
        findings = json.loads(doctor.communicate(timeout=120)[0])
    assert doctor.returncode == 1
    bad = [finding["what"] for finding in findings if finding["level"] == "bad"]
    assert f"port {base}" in bad
    assert all(set(finding) == {"level", "what", "seen", "todo"} for finding in findings)


async def test_doctor_looks_at_the_ports_of_the_lab_that_runs(lab, tmp_path):
    up = lab("up", "--port-base", "0")
    read_until(up, "stop       Ctrl-C")
    out, _ = lab("doctor").communicate(timeout=120)
    for port in runfile.read(tmp_path).ports.values():
        assert f"port {port}" in out
    assert "of a lab that runs" in out
    assert "nothing stands in the way" in out or "left" in out
