"""Every cheat that we could think of brings no more than the starter, and harms nobody who comes after it."""

from pathlib import Path

import psutil
import pytest

from lab.exercises.catalog import find
from lab.grading import intake
from lab.grading.grade import Grader
from lab.grading.sandbox import FIRST_UID

from .conftest import PATIENT, SLOT

FOLDER = Path(__file__).parent / "cheats"
CHEATS = [
    *((path, "03_fixed_window") for path in sorted(FOLDER.iterdir()) if path.name[0] not in "_01"),
    *((path, path.parent.name) for path in sorted(FOLDER.glob("[01]*/*.py"))),
]
"""And the exercise that they are handed in for; those of other exercises than the third have its folder."""


def points(sandboxes, exercise, path, tmp_path, slack=PATIENT):
    work = tmp_path / "work"
    tmp_path.chmod(0o755)
    file = intake.work_folder(path / "exercise.py", work) if path.is_dir() else "exercise.py"
    if path.is_file():
        work.mkdir(mode=0o755)
        (work / file).write_bytes(path.read_bytes())
    verdicts, _ = Grader(sandboxes, seed=3, slack=slack).grade(exercise, work, file)
    assert sum(verdict.maximum for verdict in verdicts) == exercise.points
    return sum(verdict.points for verdict in verdicts)


def test_there_are_enough_of_them():
    assert len(CHEATS) >= 20


@pytest.mark.parametrize(("cheat", "exercise"), CHEATS, ids=lambda value: getattr(value, "stem", ""))
def test_a_cheat_brings_no_more_than_the_starter(sandboxes, cheat, exercise, tmp_path):
    if not sandboxes.isolation >= {"files", "processes", "user"}:
        pytest.skip(f"this machine offers only {sorted(sandboxes.isolation)}")
    assert points(sandboxes, find(exercise), cheat, tmp_path, slack=1.0) == 0
    left = [
        p.pid
        for p in psutil.process_iter(["uids"])
        if p.info["uids"] and p.info["uids"].real == FIRST_UID + SLOT
    ]
    assert left == []


def test_after_all_of_them_an_honest_submission_has_all_points(sandboxes, fixed_window, tmp_path):
    assert points(sandboxes, fixed_window, fixed_window.solution, tmp_path) == fixed_window.points


def test_the_starter_brings_nothing(sandboxes, fixed_window, tmp_path):
    path = tmp_path / "starter.py"
    path.write_bytes(fixed_window.starter)
    assert points(sandboxes, fixed_window, path, tmp_path) == 0
