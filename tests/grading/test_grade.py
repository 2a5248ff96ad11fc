"""What a submission does to itself costs it the check in which it does so, and nothing else."""

import pytest

from lab.grading.grade import LOAD, Grader

from .conftest import COUNTER, PATIENT

FULL = {
    "counts": 2,
    "refuses_what_is_no_number": 1,
    "waits_for_its_turn": 3,
    "asks_the_check": 2,
    "lets_go_when_cancelled": 1,
    "serves": 3,
    "any_number": 1,
}
LATER = "    async def add_later(self, number, clock, sleep):\n"


def points(verdicts):
    return {name: verdict.points for name, verdict in verdicts.items()}


def test_a_correct_submission_has_all_points(grade, solution):
    verdicts = grade(solution)
    assert points(verdicts) == FULL, [v.text for v in verdicts.values()]


@pytest.mark.parametrize(
    ("does", "status", "told"),
    [
        ("import os; os._exit(0)", "crashed", "ended the Python process (exit status 0)"),
        ("import sys; sys.exit(0)", "failed", "the code ended the program"),
        ("import ctypes; ctypes.string_at(1)", "crashed", "crashed (signal 11)"),
        ("import os; os.abort()", "crashed", "crashed (signal"),
        ("while True: pass", "hung", "still running"),
        ("import threading; threading.Event().wait()", "hung", "still running"),
        ("import os; os.closerange(3, 256)", "crashed", "it "),
        ("x = b'x' * (2 << 30)", "failed", "MemoryError"),
        ("raise KeyError('mine')", "failed", "KeyError: 'mine'"),
        ("return object()", "failed", "expected"),
        ("return 'x' * (20 << 20)", "failed", "larger than"),
    ],
)
def test_what_a_call_does_is_told_with_its_check(grade, solution, does, status, told):
    slack = 4 if status == "hung" else PATIENT
    verdicts = grade(solution.replace(LATER, LATER + f"        {does}\n"), slack=slack)
    lost = verdicts["waits_for_its_turn"]
    assert (lost.status, lost.points) == (status, 0), lost.text
    assert told in lost.text
    assert points(verdicts) == FULL | {"waits_for_its_turn": 0, "lets_go_when_cancelled": 0}


def test_a_flood_of_output_is_told_with_its_check(grade, solution):
    flood = LATER + "        while True: print('x' * 1000)\n"
    verdicts = grade(solution.replace(LATER, flood), output=1 << 20)
    assert verdicts["waits_for_its_turn"].status == "crashed"
    assert "printed more than 1 MiB" in verdicts["waits_for_its_turn"].text
    assert len(verdicts["waits_for_its_turn"].printed) <= 16_384
    assert points(verdicts) == FULL | {"waits_for_its_turn": 0, "lets_go_when_cancelled": 0}


def test_processes_together_may_not_use_more_memory_than_one(grade, solution):
    hog = LATER + (
        "        import os, threading\n"
        "        for _ in range(4):\n"
        "            if os.fork() == 0:\n"
        "                held = b'x' * (60 << 20)\n"
        "                threading.Event().wait()\n"
        "        threading.Event().wait()\n"
    )
    verdict = grade(solution.replace(LATER, hog), memory=150 << 20)["waits_for_its_turn"]
    assert verdict.status in ("crashed", "hung")
    assert "150 MiB of memory" in verdict.text or "still running" in verdict.text


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("def broken(:", "unloadable", "SyntaxError"),
        ("import nothing_of_this_name", "unloadable", "ModuleNotFoundError"),
        ("import os; os._exit(3)", "crashed", "exit status 3"),
        ("raise SystemExit(0)", "unloadable", "ended the program"),
        ("'" + "\\0" * 3, "unloadable", "SyntaxError"),
        ("", "failed", "no class Counter"),
        ("Counter = 7", "failed", "no class Counter"),
    ],
)
def test_a_file_that_cannot_be_loaded_brings_nothing_and_keeps_the_maximum(grade, source, status, told):
    verdicts = grade(source)
    assert sum(points(verdicts).values()) == 0
    first = verdicts["counts"]
    assert (first.status, told in first.text) == (status, True), first.text
    if status != "failed":  # no check saw anything, so none of the known mistakes was made
        assert {verdict.mistake for verdict in verdicts.values()} == {""}


def test_a_file_that_hangs_while_it_is_loaded_is_tried_once(grade, monkeypatch):
    monkeypatch.setattr("lab.grading.grade.LOAD", 0.3)
    verdicts = grade("import threading\nthreading.Event().wait()", slack=3)
    assert {verdict.status for verdict in verdicts.values()} == {"hung", "unloadable"}
    assert "still running when its 0.3 seconds were over" in verdicts["counts"].text
    assert sum(verdict.seconds > 0.5 for verdict in verdicts.values()) == 1


def test_what_hung_before_changes_nothing_for_the_others(sandboxes, work, solution, monkeypatch):
    """Every check has the same time and is told the same, however many hung before it."""
    waits = "        import threading; threading.Event().wait()\n"
    hangs = solution.replace("        return await call_next(request)\n", waits)
    hangs = hangs.replace(LATER, LATER + waits)
    given = []
    start = sandboxes.start
    monkeypatch.setattr(
        sandboxes, "start", lambda work, file, limits: given.append(limits.wall) or start(work, file, limits)
    )
    verdicts, _ = Grader(sandboxes, slack=1.5).grade(COUNTER, work(hangs), "exercise.py")
    hung = [verdict.text for verdict in verdicts if verdict.status == "hung"]
    assert len(hung) == 3
    assert {"still running when its 1 seconds were over" in text for text in hung} == {True}
    assert given == [(check.limit + LOAD) * 1.5 + 1 for check in COUNTER.checks()]


def test_a_check_that_builds_on_another_is_skipped_with_the_reason(grade, solution):
    verdicts = grade(solution.replace("self.count += number", "pass"))
    assert verdicts["refuses_what_is_no_number"].status == "skipped"
    assert "test_counts" in verdicts["refuses_what_is_no_number"].text


def test_printing_disturbs_nothing(grade, solution):
    noisy = (
        "import os, sys\nprint('hello')\nos.write(1, b'raw\\n')\nsys.stderr.write('error\\n')\n" + solution
    )
    verdicts = grade(noisy)
    assert points(verdicts) == FULL
    assert set(verdicts["counts"].printed.split()) == {"hello", "raw", "error"}


def test_each_check_gets_the_graders_seed(grade, solution):
    lucky = solution.replace("self.count += number", "self.count += number if number < 100 else 0")
    assert grade(lucky, seed=5)["any_number"].points == 1
    assert grade(lucky, seed=5000)["any_number"].points == 0


def test_files_beside_the_submission_can_be_read_and_imported(sandboxes, work):
    folder = work("from other import Counter\nassert open('note.txt').read() == 'mine'")
    (folder / "other.py").write_text((COUNTER.folder / "solution.py").read_text())
    (folder / "note.txt").write_text("mine")
    verdicts, _ = Grader(sandboxes, seed=1, slack=PATIENT).grade(COUNTER, folder, "exercise.py")
    assert [verdict.name for verdict in verdicts if not verdict.passed] == ["test_serves"]
