"""Where the system offers nothing: a process like any other, watched, and hunted down."""

import os
import secrets
import socket
import threading

import psutil
import pytest

from lab.grading import plain
from lab.grading.channel import RemoteChannel
from lab.grading.grade import Grader
from lab.grading.plain import PlainSandbox, PlainSandboxes
from lab.grading.sandbox import LACKING, Limits
from tests.processes import survivors

from .conftest import COUNTER, PATIENT

WAITS = "import threading\nthreading.Event().wait()\n"
DAEMON = (
    "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        "
    "import threading\n        threading.Event().wait()\n    os._exit(0)\nos.wait()\n"
)


@pytest.fixture(scope="module")
def boxes():
    with PlainSandboxes() as made:
        yield made


@pytest.fixture
def end_of(boxes, work):
    """`end_of(text)`: how a submission with that text ends, by itself or because of its limits."""

    def run(text, **limits):
        sandbox = boxes.start(work(text), "exercise.py", Limits(**{"wall": 30.0, **limits}))
        with pytest.raises(OSError, match="gone"):
            RemoteChannel(sandbox.channel, 40).ask("load", {})
        return sandbox.end(patience=20)

    return run


def test_a_submission_is_graded_as_elsewhere(boxes, work, solution):
    verdicts, _ = Grader(boxes, seed=7, slack=PATIENT).grade(COUNTER, work(solution), "exercise.py")
    assert [verdict.text for verdict in verdicts if not verdict.passed] == []


def test_all_that_is_lacking_is_said(boxes):
    assert LACKING.keys() - boxes.isolation == LACKING.keys() - {"libraries"}


@pytest.mark.parametrize(
    ("text", "reason", "limits"),
    [
        ("import os; os._exit(5)", "exit", {}),
        ("import os; os.abort()", "signal", {}),
        ("while True: pass", "cpu", {"cpu": 1.0}),
        (WAITS, "wall", {"wall": 0.5}),
        ("while True: print('x' * 10_000)", "output", {"output": 1 << 20}),
        (
            "held = b'x' * (80 << 20)\nimport os\nos.fork()\nos.fork()\n" + WAITS,
            "memory",
            {"memory": 350 << 20},
        ),
        (
            "import threading\nwait = threading.Event().wait\n"
            "for _ in range(60): threading.Thread(target=wait).start()\nwait()",
            "processes",
            {"processes": 20, "memory": 64 << 30},
        ),
        (
            "for n in range(9): open(str(n), 'wb').write(b'x' * (1 << 20))\n" + WAITS,
            "disk",
            {"disk": 4 << 20},
        ),
        ("for n in range(4100): open(str(n), 'wb').close()\n" + WAITS, "disk", {}),
    ],
    ids=["exit", "abort", "cpu", "wall", "output", "memory", "threads", "disk", "files"],
)
def test_its_limits_are_watched(end_of, text, reason, limits):
    assert end_of(text, **limits).reason == reason


def test_only_what_it_may_print_is_kept(boxes, work):
    sandbox = boxes.start(work("print('y' * 50_000)"), "exercise.py", Limits())
    assert RemoteChannel(sandbox.channel, 20).ask("load", {}) == {"value": None}
    end = sandbox.end()
    assert (len(end.output), end.output_bytes) == (16_384, 50_001)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_what_has_left_its_family_is_found_and_ended(boxes, work):
    sandbox = boxes.start(work(DAEMON), "exercise.py", Limits())
    assert RemoteChannel(sandbox.channel, 20).ask("load", {}) == {"value": None}
    mark = sandbox._mark
    marked = [process for process in psutil.process_iter() if environment(process).get(plain.MARK) == mark]
    assert len(marked) == 2  # it and its daemon
    sandbox.end()
    assert survivors(marked) == []


def environment(process):
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_it_starts_in_an_empty_home_with_a_clean_environment(boxes, work, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "x")
    text = (
        "import os\ndef seen():\n    return [sorted(os.listdir('.')), os.getcwd() == os.environ['HOME'], "
        "sorted(os.environ), os.read(0, 1)]\n"
    )
    sandbox = boxes.start(work(text), "exercise.py", Limits())
    fields = {"ref": 0, "method": "seen", "args": [], "kwargs": {"dict": []}}
    files, at_home, names, read = RemoteChannel(sandbox.channel, 20).ask("call", fields)["value"]
    home = sandbox._home
    sandbox.end()
    assert (files, at_home, read) == (["exercise.py"], True, {"bytes": ""})
    assert set(names) <= {*plain.NEEDED, *plain.HOMES, plain.MARK, "LANG", "LC_CTYPE"} | {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
    }
    assert not home.exists()


def test_who_does_not_know_the_token_is_sent_away():
    token = secrets.token_bytes(32)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        got = []
        thread = threading.Thread(target=lambda: got.append(plain.accepted(listener, token)))
        thread.start()
        for said in (b"", b"passed", bytes(32)):
            with socket.create_connection(listener.getsockname()) as stranger:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(10)
                assert stranger.recv(1) == b""
        with socket.create_connection(listener.getsockname()) as friend:
            friend.sendall(token)
            thread.join(10)
            assert got[0].getpeername() == friend.getsockname()
        got[0].close()


def test_when_the_grader_is_gone_it_ends(boxes, work):
    sandbox = PlainSandbox(boxes._command)
    sandbox.begin(work(WAITS), "exercise.py", Limits(wall=600.0))
    sandbox.channel.sendall(b'\x00\x00\x00\x25{"n": 1, "op": "load", "fields": {}}  ')
    sandbox._process.stdin.close()
    assert sandbox._process.wait(20) != 0
    sandbox.end()
