"""How far a student is: `.lab/progress.json`, replaced as a whole at each change, so never half a file."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.exercises.runner import Report
from lab.launcher import runfile


@dataclass
class Entry:
    """What is remembered of one exercise."""

    points: int = 0
    """The most that any check of it brought."""
    passed: bool = False
    """Whether all checks passed at some time."""
    tries: int = 0
    """How often it was checked."""
    hints: list[str] = field(default_factory=list)
    """The hints that were shown, by key."""
    mistake: str = ""
    """The mistake that the last check recognised."""


class Progress:
    """All exercises' entries. Reading a file that is not there, or is no longer readable, starts afresh."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or runfile.home() / "progress.json"
        self.entries = self._read()

    def _read(self) -> dict[str, Entry]:
        known = Entry.__dataclass_fields__
        entries: dict[str, Entry] = {}
        try:
            for name, values in json.loads(self.path.read_text(encoding="utf-8"))["exercises"].items():
                entries[name] = Entry(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return entries

    def of(self, name: str) -> Entry:
        return self.entries.get(name, Entry())

    def checked(self, report: Report) -> Entry:
        """Take in what a check said, and save. Nothing that was reached is lost by a later failure."""
        self.entries = self._read()  # another `lab watch` may have written meanwhile
        entry = self.entries.setdefault(report.exercise.name, Entry())
        entry.tries += 1
        entry.points = max(entry.points, report.points)
        entry.passed = entry.passed or report.passed
        entry.mistake = "" if report.passed else report.mistake
        self.save()
        return entry

    def hinted(self, name: str, key: str) -> None:
        """Remember that a hint was shown."""
        self.entries = self._read()
        self.entries.setdefault(name, Entry()).hints.append(key)
        self.save()

    def forget(self, name: str) -> None:
        """Start an exercise over."""
        self.entries = self._read()
        self.entries.pop(name, None)
        self.save()

    def save(self) -> None:
        """Write a new file and put it in the old one's place: a kill at any moment leaves one of both."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {"version": 1, "exercises": {name: asdict(entry) for name, entry in self.entries.items()}}
        number, draft = tempfile.mkstemp(dir=self.path.parent, prefix="progress.", suffix=".tmp")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
