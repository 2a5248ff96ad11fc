"""A copy of the lab in a folder of its own, so that tests can work on exercises as a student does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Clone:
    """What a student has after `git clone`: commands run in it, its progress is its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".lab"
        self.environ = {**os.environ, "LAB_HOME": str(self.home), "COLUMNS": "100", "PYTHONUTF8": "1"}
        # Installed plugins that the exercises do not use take longer to load than the checks to run.
        self.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "FORCE_COLOR", "PY_COLORS"):
            self.environ.pop(name, None)

    def folder(self, name: str) -> Path:
        return self.root / "exercises" / name

    def write(self, name: str, text: str) -> None:
        """Save `text` as the student's file of the exercise `name`."""
        (self.folder(name) / "exercise.py").write_text(text, encoding="utf-8")

    def solve(self, name: str) -> None:
        self.write(name, (self.folder(name) / "solution.py").read_text(encoding="utf-8"))

    def lab(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "lab", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tmp_path / "clone"
    root.mkdir()
    for name in ("lab", "exercises"):
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for copy in (root / "lab/exercises/starters").glob("*.txt"):
        # Whoever runs the tests may have begun with the exercises.
        shutil.copy(copy, root / "exercises" / copy.stem / "exercise.py")
    for name in ("pyproject.toml", "gateway.py"):
        shutil.copy(ROOT / name, root / name)
    return Clone(root)
