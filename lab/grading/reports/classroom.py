"""One document for two readers: GitHub Classroom's autograding reporter and Exercism's test runner (v3).

Exercism (exercism.org, "The Test Runner Interface") defines the document; Classroom's reporter reads the same
one and in addition `max_score` and each test's `score` (classroom-resources/autograding-grading-reporter).
"""

from __future__ import annotations

import re
from typing import Any

from lab.grading.reports.gradescope import exercise_number
from lab.grading.reports.text import printable, told
from lab.grading.verdict import Status, Verdict

COMMAND = re.compile(r"^(\s*[:#])([:#]\S)")
LONGEST_OUTPUT = 500
"""Characters of a test's `output`; Exercism allows no more."""
LONGEST_MESSAGE = 65_535
"""Characters of the document's `message`."""

STATUS: dict[Status, str] = {
    "passed": "pass",
    "failed": "fail",
    "skipped": "fail",
    "hung": "error",
    "crashed": "error",
    "unloadable": "error",
    "missing": "error",
}


def document(verdict: Verdict) -> dict[str, Any]:
    statuses = [STATUS[check.status] for check in verdict.checks]
    # "error" is for a run in which no test could do its work.
    loaded = any(check.status in ("passed", "failed", "hung") for check in verdict.checks)
    status = "error" if not loaded else "pass" if set(statuses) == {"pass"} else "fail"
    first = verdict.checks[0].text if verdict.checks else "there are no checks"
    return {
        "version": 3,
        "status": status,
        "message": printable(verdict.problem or first)[:LONGEST_MESSAGE] if status == "error" else None,
        "max_score": verdict.maximum,
        "tests": [
            {
                "name": check.title,
                "status": state,
                "score": check.points,
                "message": None if check.passed else harmless(told(check)),
                "output": shortened(harmless(check.printed)) or None,
                "test_code": check.why,
                "task_id": exercise_number(check.exercise),
            }
            for check, state in zip(verdict.checks, statuses, strict=True)
        ],
    }


def harmless(text: str) -> str:
    """Whoever prints this in a workflow of GitHub's: no line of it is a command there (`::error::…`)."""
    return "\n".join(COMMAND.sub(r"\1 \2", line) for line in printable(text).split("\n"))


def shortened(output: str) -> str:
    note = "\nOutput was truncated. Please limit to 500 chars"
    return output if len(output) <= LONGEST_OUTPUT else output[: LONGEST_OUTPUT - len(note)] + note
