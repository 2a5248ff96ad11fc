"""A gradebook: a row for each submission, a column for each check (RFC 4180)."""

from __future__ import annotations

import csv
import io

from lab.grading.reports.text import one_line
from lab.grading.verdict import Class

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""With these a cell begins that a spreadsheet would compute, some of them in wide letters too."""


def document(result: Class) -> str:
    columns = [(check.exercise, check.name) for check in result.verdicts[0].checks] if result.verdicts else []
    file = io.StringIO()
    writer = csv.writer(file)
    head = ["submission", "points", "maximum", "percent", "public", "hidden", "problem", "mistakes", "notes"]
    writer.writerow(head + [f"{exercise}/{name.removeprefix('test_')}" for exercise, name in columns])
    for verdict in result.verdicts:
        points = {(check.exercise, check.name): check.points for check in verdict.checks}
        passed = [[c.passed for c in verdict.checks if c.hidden == hidden] for hidden in (False, True)]
        row = [verdict.name, verdict.points, verdict.maximum, verdict.percent, sum(passed[0]), sum(passed[1])]
        row += [verdict.problem, "; ".join(verdict.mistakes), "; ".join(verdict.all_notes)]
        writer.writerow([cell(value) for value in row] + [points.get(column, 0) for column in columns])
    return file.getvalue()


def cell(value: object) -> object:
    """Names are chosen by those who are graded: none of them may become a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
