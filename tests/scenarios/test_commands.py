"""`lab scenarios` and `lab run` as they are typed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from lab.cli import main
from lab.faults.client import FaultClient
from lab.launcher import runfile, undo
from lab.scenarios import commands, play, table

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


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of a `lab up` that runs."""
    home = tmp_path_factory.mktemp("lab")
    child = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--port-base", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "LAB_HOME": str(home), "GATEWAY_CONFIG": ""},
    )
    try:
        assert any("all healthy" in line for line in child.stdout)
        yield home
    finally:
        child.terminate()
        child.communicate(timeout=60)


@pytest.mark.parametrize(("without", "status"), [((), 0), (("--without", "policies"), 1)])
def test_the_exit_status_says_whether_all_came_true(home, monkeypatch, capsys, without, status):
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setattr(play, "LINGER", 0.0)
    assert main(["run", "partial-outage", "--attach", "--cure", "on", "--json", *without]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is (status == 0)
    assert [each["cured"] for each in document["plays"]] == [True]
    assert bool(document["plays"][0]["missed"]) is (status == 1)


def test_what_is_told(home, monkeypatch, capsys):
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setattr(play, "LINGER", 0.0)
    assert main(["run", "partial-outage", "--attach", "--ask"]) == 0
    told = capsys.readouterr().out
    scenario = table.load("partial-outage")
    assert all(len(line) <= 100 for line in told.splitlines())
    for text in (scenario.story, scenario.source, scenario.look_at, scenario.cure):
        assert text in " ".join(told.split())
    for cured in (False, True):
        assert all(expect.what in told for step in scenario.script(cured) for expect in step.expect)
    [table_row] = [line for line in told.splitlines() if "requests for healthy shards that" in line]
    assert table_row.split()[-1] == "45"
    asked, played, rest = " ".join(told.split()).partition("without the cure")
    middle, counted, answered = rest.partition("7 of 7 expectations came true")
    assert played
    assert counted
    for question in scenario.questions:
        assert question.ask in asked
        assert question.answer in answered
        assert question.answer not in asked + middle


SHORT = """
import sys
from lab.cli import main
from lab.scenarios import play
play.FAULT_TTL = 2.0
sys.exit(main(["run", "slow-dependency", "--attach", "--cure", "on"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_kill_9_of_a_runner_leaves_nothing_behind(home):
    lab = runfile.load(home)
    processes = set(psutil.Process(lab.pid).children())
    async with (
        httpx.AsyncClient(
            base_url=lab.gateway_url, headers={"Authorization": f"Bearer {lab.admin_token}"}, trust_env=False
        ) as client,
        FaultClient({"service-a": lab.urls["service-a"]}) as faults,
        asyncio.timeout(120),
    ):

        async def settings():
            policies = (await client.get("/admin/policies")).json()
            kept = {name: (p["enabled"], p["use"], p["options"]) for name, p in policies.items()}
            return kept, (await client.get("/admin/services")).json()

        before = await settings()
        runner = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SHORT),
            cwd=ROOT,
            env={**os.environ, "LAB_HOME": str(home)},
            stdout=subprocess.DEVNULL,
        )
        while await faults.list() == {"service-a": []}:
            assert runner.returncode is None
        assert await settings() != before
        assert undo.state(home) == "playing"
        runner.kill()
        await runner.wait()
        while await settings() != before or undo.state(home) != "none":
            pass
        while await faults.list() != {"service-a": []}:
            pass
        ended = (await client.get(lab.urls["service-a"] + "/_faults")).json()["ended"]
        assert [each["name"] for each in ended] == ["latency"]
        assert ended[0]["late"] < 10
        assert (await client.get("/service-a/items/1")).status_code == 200
    assert set(psutil.Process(lab.pid).children()) == processes


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to one process")
def test_ctrl_c_ends_it_with_its_stack(tmp_path):
    child = start(tmp_path, "slow-dependency")
    assert child.stdout is not None
    for line in child.stdout:
        if "become slow" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, out + err
    assert "Traceback" not in err
    assert "came true" not in out
