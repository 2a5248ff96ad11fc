"""What came out for a submission. Every report is made of these, and of no other numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "hung", "crashed", "unloadable", "skipped", "missing"]
"""unloadable: no check could be run, since the file has an error.

missing: there was nothing to check, since the file is not there or the archive cannot be read.
"""

MEANING: dict[str, str] = {
    "passed": "passed",
    "failed": "did not pass",
    "hung": "took too long",
    "crashed": "ended the program",
    "unloadable": "cannot be loaded",
    "skipped": "skipped",
    "missing": "nothing to check",
}


TOLD: tuple[Status, ...] = ("hung", "crashed", "unloadable", "missing")
"""How often these happened is part of a summary: they say more than that a check did not pass."""


@dataclass(frozen=True)
class CheckVerdict:
    """What one check of one exercise gave."""

    exercise: str
    name: str
    status: Status
    points: int
    maximum: int
    hidden: bool = False
    why: str = ""
    """What the check is good for."""
    text: str = ""
    """For the student: what was sent, what was expected, what came."""
    mistake: str = ""
    """The known mistake that was recognised."""
    printed: str = ""
    """The beginning of what the submission printed meanwhile."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def title(self) -> str:
        """The check's name as a sentence."""
        return self.name.removeprefix("test_").replace("_", " ")


@dataclass(frozen=True)
class Verdict:
    """What one submission is worth. There is an entry in `checks` for every check, whatever happened."""

    name: str
    """Whose it is: the file's, folder's or archive's name."""
    checks: tuple[CheckVerdict, ...]
    problem: str = ""
    """Why there is nothing to grade, such as an archive that cannot be read."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as similar submissions."""
    lacking: tuple[str, ...] = ()
    """The isolation that was not to be had, in words."""
    cpu: float = 0.0
    """Seconds of processor time of its sandboxes."""
    seconds: float = 0.0
    key: str = field(default="", repr=False)
    """Changes when the submission, the checks or the grader's settings change: for taking up a run again."""

    @property
    def points(self) -> int:
        return sum(check.points for check in self.checks)

    @property
    def maximum(self) -> int:
        return sum(check.maximum for check in self.checks)

    @property
    def percent(self) -> float:
        return round(100 * self.points / self.maximum, 1) if self.maximum else 0.0

    @property
    def mistakes(self) -> list[str]:
        """The known mistakes, each once, in the checks' order."""
        return list(dict.fromkeys(check.mistake for check in self.checks if check.mistake))

    @property
    def all_notes(self) -> tuple[str, ...]:
        """For a report in which this verdict is alone."""
        return (*self.notes, *self.lacking)

    def summary(self) -> str:
        """`12 of 13 public checks passed, 5 of 5 hidden checks passed; 1 took too long`."""
        parts = []
        for hidden, word in ((False, "public"), (True, "hidden")):
            some = [check for check in self.checks if check.hidden == hidden]
            if some:
                parts.append(f"{sum(check.passed for check in some)} of {len(some)} {word} checks passed")
        told = ", ".join(parts) or "no checks"
        count = Counter(check.status for check in self.checks)
        return "; ".join([told, *(f"{count[status]} {MEANING[status]}" for status in TOLD if count[status])])

    def data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Verdict:
        """The verdict that `data()` was made of. Raises TypeError or KeyError where it is none."""
        checks = tuple(CheckVerdict(**check) for check in data["checks"])
        return cls(
            **{**data, "checks": checks, "notes": tuple(data["notes"]), "lacking": tuple(data["lacking"])}
        )


@dataclass(frozen=True)
class Class:
    """The verdicts of one run, in their order."""

    verdicts: tuple[Verdict, ...]
    exercises: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What holds for the whole run, such as isolation that this machine does not offer."""

    @property
    def maximum(self) -> int:
        return max((verdict.maximum for verdict in self.verdicts), default=0)


def median(numbers: Sequence[float]) -> float:
    """The middle of `numbers`, 0 where there are none."""
    if not numbers:
        return 0.0
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
