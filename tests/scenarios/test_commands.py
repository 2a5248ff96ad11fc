"""`lab scenarios` and `lab run` as they are typed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lab.cli import main
from lab.faults.client import FaultClient
from lab.launcher import ports, runfile, undo
from lab.launcher.stack import Stack
from lab.scenarios import commands, table

ROOT = Path(__file__).resolve().parents[2]


def start(home, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "LAB_HOME": str(home), "PYTHONUTF8": "1"},
    )


def test_the_list(capsys):
    assert main(["scenarios"]) == 0
    lines = capsys.readouterr().out
    assert all(name in lines for name in table.NAMES)
    assert main(["scenarios", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [scenario["name"] for scenario in listed] == list(table.NAMES)
    assert all(scenario["questions"] and scenario["source"] for scenario in listed)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stampedes"], "no scenario is called 'stampedes'; did you mean 'stampede'?"),
        (["stampede", "--attach"], "no lab runs that a scenario could be played on; start one with: lab up"),
        (["noisy-neighbour", "--attach"], "no lab runs that"),
        (["stampede", "--cure", "perhaps"], "'perhaps' is not one of"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_who_speaks_for_many_needs_addresses_for_them(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    runfile.write("http://127.0.0.1:1", {}, {}, "secret", tmp_path)
    monkeypatch.setattr(commands, "own_addresses", lambda host: False)
    assert main(["run", "noisy-neighbour", "--attach"]) == 2
    assert "omit --attach" in capsys.readouterr().err


@pytest.mark.parametrize(("without", "status"), [((), 0), (("--without", "policies"), 1)])
def test_the_exit_status_says_whether_all_came_true(tmp_path, without, status):
    child = start(tmp_path, "partial-outage", "--cure", "on", "--json", *without)
    out, err = child.communicate(timeout=50)
    assert child.returncode == status, out + err
    document = json.loads(out)
    assert document["ok"] is (status == 0)
    assert [play["cured"] for play in document["plays"]] == [True]
    assert bool(document["plays"][0]["missed"]) is (status == 1)


SHORT = """
import sys
from lab.cli import main
from lab.scenarios import play
play.FAULT_TTL = 2.0
sys.exit(main(["run", "slow-dependency", "--attach", "--cure", "on"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_kill_9_of_a_runner_leaves_nothing_behind(tmp_path):
    stack = Stack(ports=ports.free(), home=tmp_path, env={"GATEWAY_CONFIG": ""})
    await stack.start()
    try:
        assert await stack.wait_healthy(20), stack.processes
        service_a = stack.processes["service-a"].url
        async with (
            httpx.AsyncClient(
                base_url=stack.gateway_url,
                headers={"Authorization": f"Bearer {stack.admin_token}"},
                trust_env=False,
            ) as client,
            FaultClient({"service-a": service_a}) as faults,
            asyncio.timeout(30),
        ):

            async def settings():
                policies = (await client.get("/admin/policies")).json()
                kept = {name: (p["enabled"], p["use"], p["options"]) for name, p in policies.items()}
                return kept, (await client.get("/admin/services")).json()

            before = await settings()
            runner = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SHORT),
                cwd=ROOT,
                env={**os.environ, "LAB_HOME": str(tmp_path)},
                stdout=subprocess.DEVNULL,
            )
            while await faults.list() == {"service-a": []}:
                assert runner.returncode is None
            assert await settings() != before
            assert undo.state(tmp_path) == "playing"
            runner.kill()
            await runner.wait()
            while await settings() != before or undo.state(tmp_path) != "none":
                pass
            while await faults.list() != {"service-a": []}:
                pass
            ended = (await client.get(service_a + "/_faults")).json()["ended"]
            assert [each["name"] for each in ended] == ["latency"]
            assert ended[0]["late"] < 1.0
            assert (await client.get("/service-a/items/1")).status_code == 200
        assert {process.restarts for process in stack.processes.values()} == {0}
        assert {process.state for process in stack.processes.values()} == {"healthy"}
    finally:
        await stack.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to one process")
def test_ctrl_c_ends_it_with_its_stack(tmp_path):
    child = start(tmp_path, "slow-dependency")
    assert child.stdout is not None
    for line in child.stdout:
        if "become slow" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "came true" not in out
