import json
import os
import stat
import subprocess
import sys

import psutil
import pytest

from lab.launcher import runfile


def write(folder, token="secret"):
    return runfile.write(
        "http://127.0.0.1:1", {"gateway": "http://127.0.0.1:1"}, {"gateway": 1}, token, folder
    )


def test_what_is_written_is_read(tmp_path):
    assert write(tmp_path / "new")
    run = runfile.read(tmp_path / "new")
    assert (run.pid, run.gateway_url, run.ports, run.admin_token) == (
        os.getpid(),
        "http://127.0.0.1:1",
        {"gateway": 1},
        "secret",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_only_its_owner_can_read_it(tmp_path):
    runfile.path(tmp_path).touch(0o644)
    write(tmp_path)
    assert stat.S_IMODE(runfile.path(tmp_path).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def change(folder, **values):
    path = runfile.path(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_one_of_a_process_that_is_gone_is_stale(tmp_path):
    write(tmp_path)
    change(tmp_path, pid=2**22 + 1)
    assert runfile.read(tmp_path) is None
    assert runfile.load(tmp_path) is not None


def test_one_of_another_process_with_the_same_number_is_stale(tmp_path):
    write(tmp_path)
    change(tmp_path, started=1.0)
    assert runfile.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": 1}', "null"])
def test_an_unreadable_one_is_none(tmp_path, text):
    runfile.path(tmp_path).write_text(text)
    assert runfile.read(tmp_path) is None


def test_none_is_none(tmp_path):
    assert runfile.read(tmp_path) is None


def test_a_stack_that_runs_is_not_displaced(tmp_path):
    write(tmp_path, "first")
    parent = os.getppid()
    change(tmp_path, pid=parent, started=runfile.psutil.Process(parent).create_time())
    assert not write(tmp_path, "second")
    assert runfile.read(tmp_path).admin_token == "first"
    runfile.remove(tmp_path)
    assert runfile.read(tmp_path) is not None


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="no process stays when it has ended")
def test_who_was_killed_and_not_waited_for_lives_no_more():
    child = psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    created = child.create_time()
    assert runfile.lives(child.pid, created)
    assert not runfile.lives(child.pid, created - 100)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # until it has ended; it stays a zombie
    lives = runfile.lives(child.pid, created)
    child.communicate()
    assert not lives


def test_a_stale_one_is_displaced_and_removed(tmp_path):
    write(tmp_path, "first")
    change(tmp_path, started=1.0)
    assert write(tmp_path, "second")
    assert runfile.read(tmp_path).admin_token == "second"
    runfile.remove(tmp_path)
    runfile.remove(tmp_path)  # twice is fine
    assert not runfile.path(tmp_path).exists()


def test_the_home_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    assert runfile.home() == tmp_path
    monkeypatch.delenv("LAB_HOME")
    assert runfile.home().name == ".lab"
