"""`pytest exercises --submission PATH`, in a process of its own as one would call it."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_submission_is_graded_with_its_hidden_checks(run_pytest, fixed_window):
    status, text = run_pytest("--submission", fixed_window.solution)
    assert (status, f"{len(fixed_window.checks())} passed" in text) == (0, True), text


def test_what_failed_is_told(run_pytest, fixed_window):
    status, text = run_pytest("--submission", fixed_window.folder / "mistakes" / "never_ends.py")
    assert status == 1
    assert "expected  admitted at the moment at which the window ends" in text
    assert "failed" in text
    assert "skipped" in text


def test_what_ends_the_process_does_not_end_pytest(run_pytest, tmp_path, fixed_window):
    (tmp_path / "x.py").write_text("import os; os._exit(0)")
    status, text = run_pytest("--submission", tmp_path / "x.py")
    assert status == 1
    assert f"{len(fixed_window.checks())} failed" in text
