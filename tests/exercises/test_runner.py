"""The runner: whatever a submission does, there is one result for each check, and the others still count."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from lab.exercises import kit
from lab.exercises import runner as runner_module
from lab.exercises import worker as worker_module
from lab.exercises.catalog import Exercise, find
from lab.exercises.runner import Report, Runner

EXERCISE = find("03")
SOLUTION = EXERCISE.solution.read_text(encoding="utf-8").replace("from __future__ import annotations\n", "")
ALL = [check.name for check in EXERCISE.checks()]


def run(tmp_path: Path, source: str | bytes) -> Report:
    path = tmp_path / "exercise.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    with Runner(EXERCISE) as runner:
        report = runner.run(path)
    assert [result.name for result in report.results] == ALL
    assert sum(result.maximum for result in report.results) == EXERCISE.points
    return report


def around(body: str) -> str:
    """The solution, whose `take` first does `body`."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"""{SOLUTION}
original = FixedWindow.take
def take(self, key, now):
{indented}
    return original(self, key, now)
FixedWindow.take = take
"""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f(:", "SyntaxError: invalid syntax (line 1: def f(:)"),
        (
            "import nowhere_at_all",
            "ModuleNotFoundError: No module named 'nowhere_at_all' (line 1: import nowhere_at_all)",
        ),
        ("import sys; sys.exit(0)", "the code ended the program (line 1: import sys; sys.exit(0))"),
        ("import os; os._exit(0)", "it ended the Python process"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (line 1: raise KeyboardInterrupt)"),
        (b"\xff\xfe", "SyntaxError"),
        ("x = '\0'", ""),  # a ValueError until Python 3.11.3, a SyntaxError since then
        ("input()", "EOFError"),
    ],
)
def test_a_file_that_cannot_be_loaded(tmp_path: Path, source: str | bytes, problem: str) -> None:
    report = run(tmp_path, source)
    assert report.problem.startswith(f"exercise.py cannot be loaded: {problem}")
    assert (report.points, report.passed) == (0, False)
    assert {result.status for result in report.results} == {"unloadable"}


def test_an_endless_loop_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(tmp_path, "x = 1\nwhile True: pass")
    assert "still running after 5 seconds, at line 2: while True: pass" in report.problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with Runner(EXERCISE) as runner:
        report = runner.run(tmp_path / "nothing.py")
    assert "there is no file" in report.problem
    assert len(report.results) == len(ALL)


def test_a_hang_names_its_check_and_its_line_and_the_others_count(tmp_path: Path) -> None:
    report = run(tmp_path, around("while now == 107.5:\n    pass"))
    (hung,) = [result for result in report.results if not result.passed]
    assert (hung.name, hung.status) == ("test_reset_says_when_the_window_ends", "hung")
    assert "still running after 3 seconds, at line " in hung.text
    assert ": while now == 107.5:" in hung.text or ": pass" in hung.text
    assert "take('ada', 107.5)" in hung.text  # what was sent last is what it hangs at
    assert report.points == EXERCISE.points - hung.maximum


def test_a_hang_that_holds_the_interpreter_is_found_from_outside(tmp_path: Path) -> None:
    report = run(tmp_path, around("if now == 107.5:\n    print(len(str(9 ** 9 ** 8)))"))
    (hung,) = [result for result in report.results if not result.passed]
    assert hung.status in ("hung", "failed")  # a Python that refuses so large a number says so at once
    assert report.points == EXERCISE.points - hung.maximum


def test_a_crash_costs_its_check_alone(tmp_path: Path) -> None:
    report = run(tmp_path, around("import os\nif now == 107.5:\n    os._exit(0)"))
    (crashed,) = [result for result in report.results if not result.passed]
    assert (crashed.name, crashed.status) == ("test_reset_says_when_the_window_ends", "crashed")
    assert report.points == EXERCISE.points - crashed.maximum


def test_what_builds_on_a_failed_check_is_skipped(tmp_path: Path) -> None:
    report = run(tmp_path, around("if now == 110.0: raise ValueError('not now')"))
    by_name = {result.name: result for result in report.results}
    assert by_name["test_a_window_ends_after_its_length"].status == "failed"
    skipped = by_name["test_retry_after_is_the_wait"]
    assert (skipped.status, skipped.points) == ("skipped", 0)
    assert skipped.text == "skipped: it needs test_a_window_ends_after_its_length, which did not pass"
    assert by_name["test_each_client_counts_for_itself"].passed


def test_printing_harms_nothing_and_is_kept_to_a_bound(tmp_path: Path) -> None:
    noise = around(
        "import sys\nprint('{\"done\": true}')\nsys.stderr.write('x' * 100_000)\nsys.stdout.flush()"
    )
    report = run(tmp_path, "print('loading')\n" + noise)
    assert report.passed
    assert report.printed.startswith("loading")
    assert len(report.printed) <= runner_module.PRINTED


@pytest.mark.parametrize(
    "leftover",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        "import atexit, time\natexit.register(time.sleep, 600)",
        "import sys\nsys.stdout.close(); sys.stderr.close()",
        "import sys\nsys.setrecursionlimit(10**6)",
        "import os\nos.chdir('/')",
    ],
)
def test_leftovers_of_a_submission_keep_nobody_waiting(tmp_path: Path, leftover: str) -> None:
    report = run(tmp_path, f"{leftover}\n{SOLUTION}")
    assert report.passed
    assert report.seconds < 300  # and not 600


def test_checks_do_not_see_each_others_state(tmp_path: Path) -> None:
    counting = around("global calls\ncalls += 1\nassert calls < 320")
    assert run(tmp_path, f"calls = 0\n{counting}").points >= EXERCISE.points - 1


def test_hidden_checks_are_left_out_for_students(tmp_path: Path) -> None:
    with Runner(EXERCISE) as runner:
        report = runner.run(EXERCISE.solution, hidden=False)
    assert report.passed
    assert [result.name for result in report.results] == ALL[:-1]


def test_a_runner_that_is_kept_runs_again(tmp_path: Path) -> None:
    heard: list[str] = []
    with Runner(EXERCISE, keep_spare=True) as runner:
        assert runner.run(EXERCISE.solution, each=lambda result: heard.append(result.name)).passed
        assert not runner.run(EXERCISE.mistakes[0]).passed
        assert runner.run(EXERCISE.solution).passed
    assert heard == ALL


def test_one_worker_can_do_many_files(tmp_path: Path) -> None:
    class Counting(Runner):
        started = 0

        def _start(self) -> runner_module.Worker:
            self.started += 1
            return super()._start()

    endless = tmp_path / "endless.py"
    endless.write_text(around("while now == 107.5: pass"), encoding="utf-8")
    with Counting(EXERCISE, reuse=True) as runner:
        assert runner.run(EXERCISE.solution).passed
        assert not runner.run(EXERCISE.mistakes[0]).passed
        assert runner.run(EXERCISE.solution).passed
        assert runner.started == 1
        assert not runner.run(endless).passed
        assert runner.run(EXERCISE.solution).passed
        assert runner.started == 2


class Scripted:
    """Stands in for a worker: its messages, and how long each was waited for."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.waits: list[float] = []

    def send(self, job: dict[str, Any]) -> None:
        self.checks: list[str] = job["checks"]

    def next(self, timeout: float) -> dict[str, Any]:
        self.waits.append(timeout)
        return self.messages.pop(0)


@pytest.mark.parametrize(
    ("end", "lost", "status"),
    [({"hung": "test_1", "at": "line 3", "sent": ""}, "test_1", "hung"), (None, "test_0", "crashed")],
)
def test_of_several_checks_under_way_one_is_lost_and_the_others_wait_for_the_next_worker(
    end: dict[str, Any] | None, lost: str, status: str
) -> None:
    run = runner_module._Run(EXERCISE, EXERCISE.solution, True, lambda result: None)
    run.waiting = [kit.Check(f"test_{n}", lambda: None, 1, "", False, (), "", "", 3.0) for n in range(3)]
    begin = [{"begin": check.name, "limit": check.limit} for check in run.waiting]
    passed = {"result": asdict(kit.Result("test_2", "passed", 1, 1))}
    worker = Scripted({"loaded": True}, *begin, passed, cast(dict[str, Any], end))
    assert not run.go_on(cast(runner_module.Worker, worker))
    assert {result.name: result.status for result in run.report.results} == {"test_2": "passed", lost: status}
    assert [check.name for check in run.waiting] == [n for n in ("test_0", "test_1") if n != lost]


def test_a_check_has_its_whole_time_however_many_hung_before() -> None:
    run = runner_module._Run(EXERCISE, EXERCISE.solution, True, lambda result: None)
    run.waiting = [kit.Check(f"test_{n}", lambda: None, 1, "", False, (), "", "", 3.0) for n in range(4)]
    for check in list(run.waiting[:3]):
        worker = Scripted(
            {"begin": check.name, "limit": check.limit}, {"hung": check.name, "at": "", "sent": ""}
        )
        run.go_on(cast(runner_module.Worker, worker))
    assert [result.status for result in run.report.results] == ["hung"] * 3
    (last,) = run.waiting
    passed = asdict(kit.Result(last.name, "passed", last.points, last.points))
    worker = Scripted({"begin": last.name, "limit": last.limit}, {"result": passed}, {"done": True})
    assert run.go_on(cast(runner_module.Worker, worker))
    assert worker.waits[1] > last.limit
    assert last.name in worker.checks


CHECKS = """
from pathlib import Path
from lab.exercises.kit import check, expect

def note(name):
    with Path(__file__).with_name("ran").open("a") as file:
        file.write(name + " ")

@check(points=1, why="The first.")
def test_one(student):
    note("one")
    expect(student.call("number"), 1)

@check(points=1, why="The second.", after=("test_one",))
def test_two(student):
    note("two")

@check(points=1, why="The third.", after=("test_two",))
def test_three(student):
    note("three")

@check(points=1, why="The fourth.")
def test_four(student):
    note("four")
"""


def test_a_skipped_check_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(CHECKS, encoding="utf-8")
    exercise = Exercise(3, tmp_path, "", "", 4, None)
    submission = tmp_path / "submission.py"
    submission.write_text("def number(): return 2", encoding="utf-8")
    names = [check.name for check in exercise.checks()]
    messages = list(worker_module.run(exercise, submission, names, io.StringIO()))
    assert (tmp_path / "ran").read_text(encoding="utf-8").split() == ["one", "four"]
    assert [message["begin"] for message in messages if "begin" in message] == ["test_one", "test_four"]


def test_a_submissions_clients_share_their_tls_context(tmp_path: Path) -> None:
    asks = "import ssl\nprint(ssl.create_default_context() is ssl.create_default_context())"
    report = run(tmp_path, f"{asks}\n{SOLUTION}")
    assert report.printed.startswith("True")
