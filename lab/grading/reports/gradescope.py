"""Gradescope's results.json (gradescope-autograders.readthedocs.io, "Autograder Specifications")."""

from __future__ import annotations

from typing import Any

from lab.grading.reports.text import printable, told
from lab.grading.verdict import Verdict


def document(verdict: Verdict) -> dict[str, Any]:
    """A test for each check; hidden ones are shown to students once the grades are published."""
    return {
        "score": verdict.points,
        "execution_time": verdict.seconds,
        "output": "\n".join([verdict.summary(), *([printable(verdict.problem)] if verdict.problem else [])]),
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": check.title,
                "number": f"{exercise_number(check.exercise)}.{at}",
                "score": check.points,
                "max_score": check.maximum,
                "status": "passed" if check.passed else "failed",
                "output": told(check),
                "tags": [check.exercise, check.status],
                "visibility": "after_published" if check.hidden else "visible",
                "extra_data": {"status": check.status, "mistake": check.mistake},
            }
            for at, check in enumerate(verdict.checks, 1)
        ],
        "extra_data": {"name": verdict.name, "max_score": verdict.maximum, "notes": list(verdict.all_notes)},
    }


def exercise_number(name: str) -> int:
    """3 of `03_fixed_window`."""
    digits = name.partition("_")[0]
    return int(digits) if digits.isdecimal() else 0
