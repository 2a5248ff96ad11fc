"""What other rooms may use: list, progress, check, hint, plug. All of it blocks; call it from a thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.exercises import hints, kit
from lab.exercises.catalog import Exercise, exercises, find
from lab.exercises.progress import Entry, Progress
from lab.exercises.runner import Report, Runner
from lab.launcher import runfile

__all__ = [
    "Hint",
    "Report",
    "Runner",
    "Standing",
    "check",
    "hint",
    "listing",
    "next_step",
    "reset",
    "standing",
]


@dataclass(frozen=True)
class Standing:
    """An exercise and how far its student is."""

    exercise: Exercise
    entry: Entry

    @property
    def state(self) -> str:
        """`done`, `begun` or `open`."""
        return "done" if self.entry.passed else "begun" if self.entry.tries else "open"


@dataclass(frozen=True)
class Hint:
    key: str
    text: str
    shown: int
    """How many of the graded hints have been shown, this one included."""
    of: int


def listing() -> list[Standing]:
    """All exercises in order."""
    progress = Progress()
    return [Standing(exercise, progress.of(exercise.name)) for exercise in exercises()]


def standing(exercise: Exercise) -> Standing:
    return Standing(exercise, Progress().of(exercise.name))


def next_step(standings: list[Standing]) -> Exercise | None:
    """The first that is not done; None where all are."""
    return next((standing.exercise for standing in standings if not standing.entry.passed), None)


def check(
    name: str | Exercise,
    file: Path | None = None,
    each: Callable[[kit.Result], None] = lambda result: None,
    runner: Runner | None = None,
) -> Report:
    """Check the student's file (or another) with the public checks; the student's own counts as progress."""
    exercise = find(name) if isinstance(name, str) else name
    if runner is not None:
        report = runner.run(file, hidden=False, each=each)
    else:
        with Runner(exercise) as once:
            report = once.run(file, hidden=False, each=each)
    if file is None:
        Progress().checked(report)
    return report


def hint(name: str | Exercise) -> Hint:
    """The next hint: the one for the mistake that the last check recognised, else the next graded one."""
    exercise = find(name) if isinstance(name, str) else name
    progress = Progress()
    known = hints.read(exercise.folder / "hints.md")
    key = hints.choose(known, progress.of(exercise.name))
    progress.hinted(exercise.name, key)
    graded = [each for each in known if each.isdecimal()]
    seen = set(progress.of(exercise.name).hints)
    return Hint(key, known[key], len(seen.intersection(graded)), len(graded))


def reset(name: str | Exercise) -> Path | None:
    """Put the starter back, byte for byte, and forget the progress.

    The value is where the file that was there is kept; None where it was the starter, or none was there.
    """
    exercise = find(name) if isinstance(name, str) else name
    backup = None
    if exercise.file.is_file() and exercise.file.read_bytes() != exercise.starter:
        folder = runfile.home() / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        numbered = (folder / f"{exercise.name}.{number}.py" for number in itertools.count(1))
        backup = next(path for path in numbered if not path.exists())
        backup.write_bytes(exercise.file.read_bytes())
    exercise.file.write_bytes(exercise.starter)
    Progress().forget(exercise.name)
    return backup
