import dataclasses
import os
import uuid
import zlib
from pathlib import Path

import pytest

from lab.exercises.catalog import Exercise, find
from lab.grading.grade import Grader
from lab.grading.sandbox import Limits, Sandboxes
from lab.grading.worker import sources_of

collect_ignore = ["cheats", "fixtures"]  # submissions and checks, no tests

HERE = Path(__file__).parent
COUNTER = Exercise(90, HERE / "fixtures/90_counter", "Counter", "For these tests", 13, None)
PATIENT = 30.0
"""How many times its limit a check may last here on the wall clock, where it is to end by itself: the machine
may be busier than any on which people grade."""
SUITE = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SLOT = 2000 + (zlib.crc32(SUITE.encode()) + WORKER) % 1000
"""Sandboxes of these tests have a user of their own: what they leave behind can be told apart. Its processes
are counted all over the machine, also those of another container that runs the same tests just now."""


@pytest.fixture(scope="session")
def fixed_window():
    return find("03_fixed_window")


@pytest.fixture(scope="session")
def sandboxes(fixed_window):
    with Sandboxes(slot=SLOT, sources=sources_of([fixed_window, find("16_capstone")])) as made:
        yield made


@pytest.fixture
def work(tmp_path):
    """`work(text)`: a folder with that text as its exercise.py, which a sandbox can read."""
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)

    def write(text, name="exercise.py"):
        folder = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
        folder.mkdir(mode=0o755)
        (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def grade(sandboxes, work):
    """`grade(text)`: what the counter's checks say about it, by their names."""

    def run(text, *, seed=7, slack=PATIENT, **limits):
        grader = Grader(sandboxes, dataclasses.replace(Limits(), **limits), seed=seed, slack=slack)
        verdicts, _ = grader.grade(COUNTER, work(text), "exercise.py")
        assert sum(verdict.maximum for verdict in verdicts) == COUNTER.points
        return {verdict.name.removeprefix("test_"): verdict for verdict in verdicts}

    return run


@pytest.fixture(scope="session")
def solution():
    return (COUNTER.folder / "solution.py").read_text(encoding="utf-8")
