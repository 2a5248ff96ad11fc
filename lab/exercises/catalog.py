"""Which exercises there are: the manifest and the folders."""

from __future__ import annotations

import difflib
import sys
import threading
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.exercises import kit

ROOT = Path(__file__).resolve().parents[2] / "exercises"
STARTERS = Path(__file__).resolve().parent / "starters"
LOADING = threading.Lock()
"""Checks are loaded one after the other: while they are, their module has a name that all of them share."""


@dataclass(frozen=True)
class Plug:
    """Where the exercise's class goes in the gateway."""

    section: str
    """The configuration section, as in `PUT /admin/policies/{section}`."""
    name: str
    """The class."""
    reference: str
    """The algorithm of the lab's that does the same, as in `use`."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. Paths are absolute."""

    number: int
    folder: Path
    title: str
    summary: str
    points: int
    """The maximum, whatever happens."""
    plug: Plug | None
    program: bool = False
    """Whether the file is started as a program; else it is loaded, and its parts are called."""
    also: tuple[str, ...] = ()
    """What else the file may be called when it is handed in, best first."""

    @property
    def name(self) -> str:
        """The folder's name, `03_fixed_window`."""
        return self.folder.name

    @property
    def file(self) -> Path:
        """The student's file."""
        return self.folder / "exercise.py"

    @property
    def solution(self) -> Path:
        return self.folder / "solution.py"

    @property
    def checks_file(self) -> Path:
        return self.folder / "checks.py"

    @property
    def mistakes(self) -> list[Path]:
        return sorted((self.folder / "mistakes").glob("*.py"))

    @property
    def starter(self) -> bytes:
        """The student's file as it was in the beginning, from the package's own copy."""
        return (STARTERS / f"{self.name}.txt").read_bytes()

    def checks(self) -> list[kit.Check]:
        """The checks, in order. They are loaded afresh each time, so that an edited one counts."""
        from lab.exercises.agent import load_file

        with LOADING:
            before = sys.modules.get("submission_checks")
            try:
                return kit.checks_in(load_file(self.checks_file))
            finally:
                if before is None:
                    sys.modules.pop("submission_checks", None)


@cache
def exercises(root: Path = ROOT) -> tuple[Exercise, ...]:
    """All exercises, by number. Raises `UserError` where there is no readable manifest."""
    path = root / "manifest.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        found = [_exercise(root, entry) for entry in document["exercise"]]
    except OSError:
        raise UserError(f"there are no exercises in {root}: run this in a clone of the lab") from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a manifest of exercises: {error}") from None
    return tuple(sorted(found, key=lambda exercise: exercise.number))


def _exercise(root: Path, entry: dict[str, Any]) -> Exercise:
    plug = entry.get("plug")
    return Exercise(
        number=entry["number"],
        folder=root / entry["folder"],
        title=entry["title"],
        summary=entry["summary"],
        points=entry["points"],
        plug=Plug(plug["section"], plug["class"], plug["reference"]) if plug else None,
        program=entry.get("program", False),
        also=tuple(entry.get("also", ())),
    )


def find(name: str) -> Exercise:
    """The exercise that a person means: `3`, `03`, `fixed_window`, `03_fixed_window`, or its folder's path.

    Raises `UserError`.
    """
    known = exercises()
    wanted = Path(name.rstrip("/\\")).name.lower().replace("-", "_").replace(" ", "_")
    tests: list[Callable[[Exercise], bool]] = [
        lambda e: wanted.isdecimal() and int(wanted) == e.number,
        lambda e: wanted in (e.name, e.name[3:]),
        lambda e: wanted == "exercise.py" and Path(name).resolve() == e.file,
        lambda e: len(wanted) > 2 and e.name[3:].startswith(wanted),
    ]
    for fits in tests:
        if found := [exercise for exercise in known if fits(exercise)]:
            return found[0]
    match = difflib.get_close_matches(wanted, [exercise.name[3:] for exercise in known], n=1)
    hint = f"did you mean '{match[0]}'?" if match else "'lab exercises' lists them"
    raise UserError(f"there is no exercise '{name}'; {hint}")
