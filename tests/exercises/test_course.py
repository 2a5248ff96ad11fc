"""Every exercise, taken at its word: starters bring nothing, solutions everything, mistakes are caught.

An exercise that is added to the manifest is tested by this file without a change to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.exercises import hints
from lab.exercises.catalog import STARTERS, Exercise, exercises
from lab.exercises.runner import Report, Runner
from lab.exercises.starters import PARTS

COURSE = exercises()
VARIANTS = Path(__file__).parent / "variants"


def correct(exercise: Exercise) -> list[Path]:
    return [exercise.solution, *sorted((VARIANTS / exercise.name).glob("*.py"))]


every = pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.name)


class Desk:
    """Checks files, with one worker for all that come one after the other and are of one exercise."""

    def __init__(self) -> None:
        self._runner: Runner | None = None

    def report(self, exercise: Exercise, path: Path) -> Report:
        if self._runner is None or self._runner.exercise != exercise:
            self.close()
            self._runner = Runner(exercise, reuse=True)
        return self._runner.run(path)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def declared(path: Path) -> dict[str, str]:
    """The `# key: value` lines at the top of a mistake."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not (match := re.match(r"# (rejected by|recognised as): (\S+)", line)):
            break
        found[match[1]] = match[2]
    return found


# In the order in which one worker can take them.
FILES = [
    pytest.param(exercise, kind, path, id=f"{exercise.name}-{path.parent.name}-{path.stem}")
    for exercise in COURSE
    for kind, paths in (
        ("starter", [STARTERS / f"{exercise.name}.txt"]),
        ("correct", correct(exercise)),
        ("mistake", exercise.mistakes),
    )
    for path in paths
]


@pytest.mark.parametrize(("exercise", "kind", "path"), FILES)
def test_a_file_gets_the_verdict_that_it_deserves(
    desk: Desk, exercise: Exercise, kind: str, path: Path
) -> None:
    report = desk.report(exercise, path)
    if kind == "starter":
        assert [result.name for result in report.results if result.points] == []
        assert report.problem == "", "a starter loads, so that its first failure is about the task"
    elif kind == "correct":
        assert [f"{result.name}\n{result.text}" for result in report.results if not result.passed] == []
        assert report.points == exercise.points
    else:
        failed = [result for result in report.results if result.status not in ("passed", "skipped")]
        wanted = declared(path)
        assert wanted["rejected by"] in [result.name for result in failed]
        # The first failure is what a student reads, and its hint comes first.
        assert failed[0].mistake == wanted.get("recognised as", failed[0].mistake)
        speak_of_the_task(report)


def speak_of_the_task(report: Report) -> None:
    """No message speaks of the checks."""
    for result in report.results:
        if result.passed:
            continue
        assert not re.search(r"Traceback|assert|lab/|checks\.py|conftest|0x[0-9a-f]{6}", result.text)
        if result.status != "skipped":
            assert re.search(r"^expected  \S", result.text, re.MULTILINE)
            assert re.search(r"^came      \S", result.text, re.MULTILINE)
            assert re.search(r"^look at   \S", result.text, re.MULTILINE) or result.status != "failed"


@every
def test_the_points_are_those_of_the_manifest(exercise: Exercise) -> None:
    checks = exercise.checks()
    assert sum(check.points for check in checks) == exercise.points
    assert all(check.why.endswith(".") and check.look for check in checks)
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for place, check in enumerate(checks):
        assert set(check.after) <= set(names[:place]), f"{check.name}: after what comes before it"


@every
def test_the_folder_is_complete(exercise: Exercise) -> None:
    # What else lies there, and the student's file, are nobody's business here: somebody may be working on it.
    found = {path.name for path in exercise.folder.iterdir()}
    assert PARTS - {"exercise.py"} <= found
    assert len(exercise.mistakes) >= 8
    assert len(list((VARIANTS / exercise.name).glob("*.py"))) >= 2
    assert exercise.folder.name.startswith(f"{exercise.number:02}_")


def test_the_starters_are_those_of_the_exercises() -> None:
    assert {path.stem for path in STARTERS.glob("*.txt")} == {exercise.name for exercise in COURSE}


@every
def test_hints(exercise: Exercise) -> None:
    known = hints.read(exercise.folder / "hints.md")
    graded = [key for key in known if key.isdecimal()]
    assert graded == [str(number) for number in range(1, len(graded) + 1)]
    assert len(graded) >= 3
    assert all(len(text) > 40 for text in known.values())
    recognised = {check.mistake for check in exercise.checks() if check.mistake}
    recognised |= {value for path in exercise.mistakes if (value := declared(path).get("recognised as"))}
    recognised |= set(re.findall(r'mistake="([a-z0-9-]+)"', exercise.checks_file.read_text(encoding="utf-8")))
    assert {f"mistake: {key}" for key in recognised} == {key for key in known if key not in graded}


def test_checks_are_loaded_by_several_threads_at_once(tmp_path: Path) -> None:
    """As a grader does it, whose workers each want to know what there is to check."""
    (tmp_path / "checks.py").write_text(
        "import sys, time\nfor _ in range(100):\n    time.sleep(0)  # another thread's turn\n"
        "    assert sys.modules[__name__].__dict__ is globals()\n"
    )
    exercise = Exercise(90, tmp_path, "Threads", "For this test", 0, None)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(Exercise.checks, [exercise] * 8)) == [[]] * 8


def test_numbers_and_folders() -> None:
    assert [exercise.number for exercise in COURSE] == sorted({exercise.number for exercise in COURSE})
    root = COURSE[0].folder.parent
    folders = {path.name for path in root.iterdir() if path.is_dir() and re.match(r"\d\d_", path.name)}
    assert folders == {exercise.name for exercise in COURSE}
