"""The student's loop, as a student runs it: commands in a clone of one's own."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.exercises import hints
from lab.exercises.progress import Entry, Progress
from lab.exercises.watch import Event, Kind, Watched
from tests.exercises.conftest import Clone

NAME = "03_fixed_window"


def test_from_the_starter_to_the_solution(clone: Clone) -> None:
    listed = clone.lab("exercises")
    assert listed.returncode == 0
    assert "Fixed window" in listed.stdout
    assert "next: lab watch 1" in listed.stdout

    failed = clone.lab("check", "3")
    assert failed.returncode == 1
    assert "take is not written yet (line " in failed.stdout
    assert "stuck? lab hint 3" in failed.stdout
    assert failed.stderr == ""

    assert clone.lab("solution", "3").returncode == 1
    assert "class FixedWindow" in clone.lab("solution", "3", "--give-up").stdout

    clone.solve(NAME)
    passed = clone.lab("check", "fixed_window")
    assert passed.returncode == 0, passed.stdout
    assert "11 of 11 checks passed, 19 of 19 points" in passed.stdout
    assert "lab plug 3" in passed.stdout
    assert clone.lab("solution", "3").returncode == 0

    document = json.loads(clone.lab("exercises", "--json").stdout)
    states = {entry["name"]: entry["state"] for entry in document["exercises"]}
    assert states[NAME] == "done"
    assert states["04_sliding_window"] == "open"


def test_check_as_json(clone: Clone) -> None:
    ran = clone.lab("check", "3", "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["passed"], document["points"]) == (1, False, 0)
    assert document["checks"][0]["status"] == "failed"


def test_hints_begin_with_the_mistake_that_was_recognised(clone: Clone) -> None:
    known = hints.read(clone.folder(NAME) / "hints.md")
    clone.write(NAME, (clone.folder(NAME) / "mistakes/shared_counter.py").read_text(encoding="utf-8"))
    clone.lab("check", "3")
    given = [json.loads(clone.lab("hint", "3", "--json").stdout) for _ in range(6)]
    assert [each["key"] for each in given] == ["mistake: shared-counter", "1", "2", "3", "4", "4"]
    assert given[1]["text"] == known["1"]
    assert "hint 4 of 4" in clone.lab("hint", "3").stdout


def test_reset_gives_the_starter_back_and_keeps_what_was_there(clone: Clone) -> None:
    starter = (clone.folder(NAME) / "exercise.py").read_bytes()
    for text in ("first = 1\n", "second = 2\n"):
        clone.write(NAME, text)
        ran = clone.lab("reset", "3")
        assert ran.returncode == 0
        assert "backups" in ran.stdout
        assert (clone.folder(NAME) / "exercise.py").read_bytes() == starter
    kept = sorted((clone.home / "backups").iterdir())
    assert [path.read_text(encoding="utf-8") for path in kept] == ["first = 1\n", "second = 2\n"]
    (clone.folder(NAME) / "exercise.py").unlink()
    assert clone.lab("reset", "3").returncode == 0
    assert (clone.folder(NAME) / "exercise.py").read_bytes() == starter


def test_what_is_handed_out_can_be_checked_and_kept(clone: Clone) -> None:
    tool = ("-m", "lab.exercises.starters")
    said = clone.python(*tool, "--check")
    assert (said.returncode, said.stdout) == (0, "the folders are as they are to be handed out\n")

    clone.write(NAME, "new = 1\n")
    (clone.folder(NAME) / "notes.txt").touch()
    (clone.folder(NAME) / "mistakes/one.py~").touch()
    said = clone.python(*tool, "--check")
    assert said.returncode == 1
    assert [line.partition(" ")[0] for line in said.stdout.splitlines()] == [
        f"{NAME}/exercise.py",
        f"{NAME}/notes.txt",
        f"{NAME}/mistakes/one.py~",
    ]

    assert clone.python(*tool, NAME).stdout == f"{NAME}\n"
    clone.write(NAME, "changed = 1\n")
    clone.lab("reset", "3")
    assert (clone.folder(NAME) / "exercise.py").read_text(encoding="utf-8") == "new = 1\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "fixd_window"], "there is no exercise 'fixd_window'; did you mean 'fixed_window'?"),
        (["check", "99"], "there is no exercise '99'; 'lab exercises' lists them"),
        (["check"], "Missing argument 'EXERCISE'"),
        (["plug", "1"], "exercise 1 is no policy"),
        (["plug", "3", "--force"], "no lab runs"),
        (["unplug", "3"], "no lab runs"),
    ],
)
def test_used_wrongly(clone: Clone, arguments: list[str], says: str) -> None:
    ran = clone.lab(*arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_class_that_does_not_pass_is_not_plugged_in(clone: Clone) -> None:
    ran = clone.lab("plug", "3")
    assert ran.returncode == 1
    assert "not plugged in; lab plug 3 --force" in ran.stdout


def test_plain_pytest_gives_the_same_verdicts(clone: Clone) -> None:
    wrong = (clone.folder(NAME) / "mistakes/ends_too_late.py").read_text(encoding="utf-8")
    for source in (wrong, (clone.folder(NAME) / "solution.py").read_text(encoding="utf-8")):
        clone.write(NAME, source)
        document = json.loads(clone.lab("check", "3", "--json").stdout)
        verdicts = {check["name"]: check["status"] for check in document["checks"]}
        for extra in ([], ["-s"]):
            ran = clone.python("-m", "pytest", f"exercises/{NAME}", "-v", "-p", "no:cacheprovider", *extra)
            assert ran.returncode == (0 if document["passed"] else 1), ran.stdout + ran.stderr
            for name, status in verdicts.items():
                assert f"::{name} {status.upper()}" in ran.stdout
            if not document["passed"]:
                shown = [check["text"] for check in document["checks"] if check["status"] == "failed"]
                assert shown
                assert all(text in ran.stdout for text in shown)
                assert "lab/exercises" not in ran.stdout.partition("short test summary")[0]


def test_the_pytest_of_another_python_is_told_where_ours_is(clone: Clone) -> None:
    bare = "import sys; sys.modules['psutil'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    ran = clone.python("-c", bare, f"exercises/{NAME}")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
    assert "has no psutil" in ran.stderr
    assert "activate" in ran.stderr


# -- progress ------------------------------------------------------------------------------------------------


def test_progress_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    script = f"""
import sys
from pathlib import Path
from lab.exercises.progress import Progress
progress = Progress(Path({str(path)!r}))
for number in range(10**9):
    print(number, flush=True)
    progress.hinted("x" * 1000, str(number))
"""
    root = Path(__file__).resolve().parents[2]
    for turn in range(3):
        child = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        # It is somewhere in its work by the time that it has said so, each time a little further on.
        for _ in range(1 + 7 * turn):
            child.stdout.readline()
        child.kill()
        child.wait()
        child.stdout.close()
        assert "version" in json.loads(path.read_text(encoding="utf-8")) if path.exists() else True
    assert Progress(path).of("x" * 1000).hints


def test_progress_of_another_version_or_broken_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    for text in ("", "[]", '{"exercises": {"a": {"points": 3, "unknown": 1}}}', "{"):
        path.write_text(text, encoding="utf-8")
        assert Progress(path).of("a").passed is False
    path.write_text('{"exercises": {"a": {"points": 3, "unknown": 1}}}', encoding="utf-8")
    assert Progress(path).of("a").points == 3


def test_the_hint_for_a_mistake_is_not_repeated() -> None:
    known = {"1": "a", "2": "b", "mistake: x": "c"}
    assert hints.choose(known, Entry(mistake="x")) == "mistake: x"
    assert hints.choose(known, Entry(mistake="x", hints=["mistake: x"])) == "1"
    assert hints.choose(known, Entry(mistake="unknown", hints=["1"])) == "2"
    assert hints.choose(known, Entry(hints=["1", "2"])) == "2"


# -- watching ------------------------------------------------------------------------------------------------


def test_what_a_change_means(tmp_path: Path) -> None:
    current, other = tmp_path / "a" / "exercise.py", tmp_path / "b" / "exercise.py"
    for path in (current, other):
        path.parent.mkdir()
        path.touch()
    watched = Watched(current)
    checks = tmp_path / "a" / "checks.py"
    assert watched.told({current}) is None
    assert watched.told({other}) == Event(Kind.OTHER, other)
    assert watched.told({checks}) == Event(Kind.CHECKS, checks)
    assert watched.told({checks, other}) == Event(Kind.OTHER, other)
    assert watched.told({tmp_path / "c" / "exercise.py", tmp_path / "a" / "4913"}) is None
    assert watched.told({tmp_path / "a" / "exercise.py~"}) is None


def test_a_late_notification_is_no_reason_to_go_back(tmp_path: Path) -> None:
    done, current, third = (tmp_path / name / "exercise.py" for name in "abc")
    for path in (done, current, third):
        path.parent.mkdir()
        path.touch()
    watched = Watched(done)
    done.write_text("solved", encoding="utf-8")
    assert watched.news() == Event(Kind.SAVED, done)  # the glance saw it
    watched.path = current
    watched.look()
    assert watched.told({done}) is None
    third.write_text("begun", encoding="utf-8")
    assert watched.told({done, third}) == Event(Kind.OTHER, third)
    done.write_text("saved again", encoding="utf-8")
    assert watched.told({done}) == Event(Kind.OTHER, done)


def test_a_save_is_news_once(tmp_path: Path) -> None:
    path = tmp_path / "exercise.py"
    path.write_text("a", encoding="utf-8")
    watched = Watched(path)
    assert watched.news() is None
    path.write_text("ab", encoding="utf-8")
    assert watched.news() == Event(Kind.SAVED, path)
    assert watched.news() is None
    path.write_text("abc", encoding="utf-8")
    watched.look()
    assert watched.news() is None
    path.unlink()
    assert watched.news() == Event(Kind.GONE, path)
    assert watched.news() is None


@pytest.fixture(params=["notified", "polling"])
def watch(clone: Clone, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """`lab watch 3` on the clone; the value waits for a line that contains a text and returns it."""
    environ = {**clone.environ, "WATCHFILES_FORCE_POLLING": "true" if request.param == "polling" else "false"}
    child = subprocess.Popen(
        [sys.executable, "-m", "lab", "watch", "3"],
        cwd=clone.root,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    lines: queue.Queue[str] = queue.Queue()
    assert child.stdout is not None
    stream = child.stdout
    reader = threading.Thread(target=lambda: [lines.put(line) for line in stream], daemon=True)
    reader.start()

    def until(text: str) -> str:
        while text not in (line := lines.get(timeout=120)):
            pass
        return line

    yield until
    child.terminate()
    child.wait(20)
    reader.join(10)
    stream.close()


def test_watch_checks_each_save_and_goes_on_when_done(clone: Clone, watch: Callable[[str], str]) -> None:
    watch("watching exercises/03_fixed_window/exercise.py")
    clone.write(NAME, (clone.folder(NAME) / "mistakes/never_ends.py").read_text(encoding="utf-8"))
    assert "4 of 11 checks passed" in watch("checks passed")
    watch("watching")
    clone.write(NAME, "x = 1")
    assert "0 of 11 checks passed" in watch("checks passed")
    watch("watching")
    clone.solve(NAME)
    assert "11 of 11 checks passed" in watch("checks passed")
    watch("now watching exercises/01_routing/exercise.py")
    clone.write("04_sliding_window", "x = 1")
    watch("Exercise 04")
    watch("watching exercises/04_sliding_window/exercise.py")
