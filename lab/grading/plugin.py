"""`pytest exercises --submission PATH`: the same items, with the grader's verdicts on what was handed in.

Hidden checks are there too. An exercise that the submission has no file for is left out.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.exercises import kit
from lab.exercises.catalog import Exercise
from lab.exercises.plugin import REPORTS, CheckItem
from lab.exercises.runner import Report
from lab.grading import intake
from lab.grading.pool import Pool
from lab.grading.sandbox import GraderProblem
from lab.grading.verdict import Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--submission",
        type=Path,
        metavar="PATH",
        help="grade this file, folder or archive, sandboxed, instead of your own exercise.py",
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    path: Path | None = config.getoption("submission")
    if path is None:
        return
    chosen = {item.exercise.name: item.exercise for item in items if isinstance(item, CheckItem)}
    try:
        reports = grade(path, list(chosen.values()))
    except (UserError, GraderProblem) as error:
        raise pytest.UsageError(str(error)) from None
    session.stash[REPORTS] = reports
    kept: list[pytest.Item] = []
    for item in items:
        if not isinstance(item, CheckItem):
            kept.append(item)
        elif item.exercise.name in reports:
            kept.append(item)
            if item is last_of(items, item.exercise):
                kept += hidden_items(item)
    items[:] = kept


def last_of(items: list[pytest.Item], exercise: Exercise) -> pytest.Item:
    return [item for item in items if isinstance(item, CheckItem) and item.exercise is exercise][-1]


def hidden_items(beside: CheckItem) -> list[pytest.Item]:
    assert beside.parent is not None
    return [
        CheckItem.from_parent(beside.parent, name=check.name, exercise=beside.exercise, check=check)
        for check in beside.exercise.checks()
        if check.hidden
    ]


def grade(path: Path, exercises: list[Exercise]) -> dict[str, Report]:
    """The reports on the submission at `path`, by exercise. Raises `UserError`, `GraderProblem`."""
    folder = Path(tempfile.mkdtemp(prefix="lab-intake-"))
    try:
        wanted = exercises[0] if len(exercises) == 1 else None
        submission, *others = intake.collect([path], exercises, wanted, folder)
        if others:
            raise UserError(f"--submission: {path} has {len(others) + 1} of them; 'lab grade' grades a class")
        chosen = [exercise for exercise in exercises if exercise.name in submission.files] or exercises
        verdicts: list[Verdict] = []
        Pool(chosen, jobs=1, seed=secrets.randbelow(1 << 32)).run([(submission, "")], verdicts.append)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    reports = {exercise.name: Report(exercise, path, []) for exercise in chosen}
    for check in verdicts[0].checks:
        status: kit.Status = "unloadable" if check.status == "missing" else check.status
        result = kit.Result(
            check.name,
            status,
            check.points,
            check.maximum,
            check.text,
            check.mistake,
            check.hidden,
            check.why,
            check.seconds,
        )
        reports[check.exercise].results.append(result)
        reports[check.exercise].printed = reports[check.exercise].printed or check.printed
    return reports
