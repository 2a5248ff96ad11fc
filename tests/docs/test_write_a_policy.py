"""docs/write-a-policy.md, taken at its word: its files are written into a copy of the lab and run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import DOCS, ROOT, files, patch, sessions

PAGE = (DOCS / "write-a-policy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the lab after all steps of the page."""
    root = tmp_path_factory.mktemp("lab")
    (root / "tests" / "policies").mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("lab", "docs", "tests/control", "tests/docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=skip)
    for file in ("gateway.py", "pyproject.toml"):
        shutil.copy(ROOT / file, root / file)
    for name, text in files(PAGE).items():
        assert not (root / name).exists(), f"the lab has a {name} of its own"
        (root / name).write_text(text, encoding="utf-8")
    assert patch(root, PAGE) == 4
    return root


def run(tree: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_step_does_what_the_page_says(tree: Path) -> None:
    assert "passed" in run(
        tree, "pytest", "-q", "-p", "no:cacheprovider", "tests/docs/write_a_policy_steps.py"
    )


def test_the_test_that_is_shown_runs_and_passes(tree: Path) -> None:
    (shown,) = [(words, output) for words, output in sessions(PAGE) if words[:2] == ["python", "-m"]]
    words, output = shown
    assert re.search(output, run(tree, *words[2:]))


def test_the_code_is_as_clean_as_the_lab_s(tree: Path) -> None:
    ours = [name for name in files(PAGE) if name.startswith("lab/")]
    assert len(ours) == 6
    run(tree, "ruff", "check", "--no-cache", *ours)
    run(tree, "ruff", "format", "--no-cache", "--check", *files(PAGE))
