"""`pytest exercises --submission PATH`, in a process of its own as one would call it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.grading import plugin, pool
from lab.grading.verdict import Verdict

ROOT = Path(__file__).resolve().parents[2]
NAME = "03_fixed_window"


@pytest.fixture
def run_pytest():
    def run(*arguments):
        command = [sys.executable, "-m", "pytest", f"exercises/{NAME}", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout

    return run


def test_a_submission_is_graded_with_its_hidden_checks_and_what_failed_is_told(run_pytest, fixed_window):
    status, text = run_pytest("--submission", fixed_window.folder / "mistakes" / "never_ends.py")
    assert status == 1
    assert "expected  admitted at the moment at which the window ends" in text
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped)", text)}
    assert counts.keys() == {"passed", "failed", "skipped"}
    assert sum(counts.values()) == len(fixed_window.checks())


def test_what_ends_the_process_costs_its_checks_only(tmp_path, fixed_window):
    (tmp_path / "x.py").write_text("import os; os._exit(0)")
    report = plugin.grade(tmp_path / "x.py", [fixed_window])[NAME]
    assert {result.status for result in report.results} == {"crashed", "unloadable"}
    assert len(report.results) == len(fixed_window.checks())


def test_a_class_is_for_another_command(tmp_path, fixed_window):
    for name in ("ada.py", "bob.py"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="has 2 of them; 'lab grade' grades a class"):
        plugin.grade(tmp_path, [fixed_window])


def test_the_hidden_checks_draw_by_chance(tmp_path, fixed_window, monkeypatch):
    """With the seed that students have, the hidden checks would be public ones."""
    seeds = set()

    class Seeds(pool.Pool):
        def run(self, work, done):
            seeds.add(self._seed)
            done(Verdict("x", ()))

    monkeypatch.setattr(plugin, "Pool", Seeds)
    for _ in range(3):
        plugin.grade(fixed_window.solution, [fixed_window])
    assert len(seeds) == 3
