"""`pytest exercises/03_*`: the checks as pytest items, with the verdicts of `lab check`.

The first item of an exercise has all that are wanted run in a worker, so that a hang, a `sys.exit` or a crash
costs one check and not the session. With `--pdb` or `-s` the checks run in this process instead, where
`breakpoint()` and `print()` work, and nothing bounds their time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.exercises import kit
from lab.exercises.agent import Agent
from lab.exercises.catalog import Exercise, find
from lab.exercises.progress import Progress
from lab.exercises.runner import Report, Runner

REPORTS = pytest.StashKey[dict[str, Report]]()
NOT_PASSED = pytest.StashKey[set[tuple[str, str]]]()


class NotPassed(Exception):
    """Carries the message of a failed check to where pytest prints it."""


class ChecksFile(pytest.File):
    """An exercise's `checks.py`."""

    def collect(self) -> Iterator[pytest.Item]:
        exercise = find(self.path.parent.name)
        for check in exercise.checks():
            if not check.hidden:
                yield CheckItem.from_parent(self, name=check.name, exercise=exercise, check=check)


class CheckItem(pytest.Item):
    """One check."""

    def __init__(self, *, exercise: Exercise, check: kit.Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.exercise = exercise
        self.check = check

    def runtest(self) -> None:
        option = self.config.option
        if option.usepdb or option.capture == "no":
            result = self._run_here()
        else:
            report = self._report()
            result = next(each for each in report.results if each.name == self.check.name)
            if report.printed and not result.passed:
                self.add_report_section("call", "what your code printed", report.printed)
        if result.status == "skipped":
            pytest.skip(result.text.removeprefix("skipped: "))
        if not result.passed:
            raise NotPassed(f"why       {self.check.why}\n{result.text}")

    def _run_here(self) -> kit.Result:
        not_passed = self.session.stash.setdefault(NOT_PASSED, set())
        missing = next((name for name in self.check.after if (self.exercise.name, name) in not_passed), None)
        if missing is not None:
            result = kit.skipped(self.check, missing)
        else:
            agent = Agent(self.exercise.file)
            result = kit.execute(self.check, kit.LocalChannel(agent))
            agent.handle("stop", {})
        if not result.passed:
            not_passed.add((self.exercise.name, self.check.name))
        return result

    def _report(self) -> Report:
        reports = self.session.stash.setdefault(REPORTS, {})
        if self.exercise.name not in reports:
            with Runner(self.exercise) as runner:
                reports[self.exercise.name] = runner.run(hidden=False)
            Progress().checked(reports[self.exercise.name])
        return reports[self.exercise.name]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        if isinstance(excinfo.value, NotPassed):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name.removeprefix("test_").replace("_", " ")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.name == "checks.py":
        return ChecksFile.from_parent(parent, path=file_path)
    return None
