"""`lab scenarios` and `lab run` as they are typed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import main
from lab.scenarios import table

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
        (["noisy-neighbour", "--attach"], "run it without --attach"),
        (["stampede", "--cure", "perhaps"], "'perhaps' is not one of"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("without", "status"), [((), 0), (("--without", "policies"), 1)])
def test_the_exit_status_says_whether_all_came_true(tmp_path, without, status):
    child = start(tmp_path, "partial-outage", "--cure", "on", "--json", *without)
    out, err = child.communicate(timeout=50)
    assert child.returncode == status, out + err
    document = json.loads(out)
    assert document["ok"] is (status == 0)
    assert [play["cured"] for play in document["plays"]] == [True]
    assert bool(document["plays"][0]["missed"]) is (status == 1)


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
