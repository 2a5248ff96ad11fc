"""Everything that can come out of a submission, made to come out: the totals are the same in every format."""

import io
import tarfile
import zipfile
from collections import Counter

import pytest

from lab.grading import intake, reports
from lab.grading.grade import Grader, missing
from lab.grading.sandbox import Limits
from lab.grading.verdict import Class, Verdict

from .conftest import COUNTER, PATIENT
from .test_grade import FULL, LATER
from .test_reports import READERS


def zipped(entries):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def leading_outside():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("../../exercise.py")
        archive.addfile(info, io.BytesIO())
    return data.getvalue()


HOG = (
    "import os, threading\n        for _ in range(4):\n            if os.fork() == 0:\n"
    "                held = b'x' * (60 << 20)\n                threading.Event().wait()\n"
    "        threading.Event().wait()"
)
DOES = {
    "fails": ("return 7", "failed"),
    "raises": ("raise KeyError('mine')", "failed"),
    "hangs": ("import threading; threading.Event().wait()", "hung"),
    "crashes": ("import ctypes; ctypes.string_at(1)", "crashed"),
    "exits": ("import os; os._exit(0)", "crashed"),
    "needs too much memory": (HOG, "crashed"),
    "floods": ("while True: print('x' * 1000)", "crashed"),
}
"""What a submission does in one of its methods, and what becomes of the check of that method."""
ARCHIVES = {
    "no archive.zip": b"no archive",
    "cut off.tar.gz": b"\x1f\x8b\x08\x00\x00",
    "bomb.zip": zipped({"exercise.py": b"\0" * (40 << 20)}),
    "outside.tar": leading_outside(),
    "many files.zip": zipped({f"f{n}.py": "" for n in range(10_000)}),
    "empty.zip": zipped({}),
}


@pytest.fixture(scope="module")
def outcomes(sandboxes, solution, tmp_path_factory):
    """The verdicts on a class in which everybody has another problem."""
    folder = tmp_path_factory.mktemp("class")
    (folder / "passes.py").write_text(solution)
    (folder / "does not count.py").write_text(solution.replace("self.count += number", "pass"))
    for name, (does, _) in DOES.items():
        (folder / f"{name}.py").write_text(solution.replace(LATER, f"{LATER}        {does}\n"))
    (folder / "cannot be loaded.py").write_text("def broken(:")
    (folder / "the starter.py").write_text("")
    for name, content in ARCHIVES.items():
        (folder / name).write_bytes(content)
    (folder / "nothing").mkdir()
    limits = Limits(memory=220 << 20, output=1 << 20)
    verdicts = []
    into = tmp_path_factory.mktemp("copies")
    for one in intake.collect([folder], [COUNTER], COUNTER, into):
        if path := one.files.get(COUNTER.name):
            work = tmp_path_factory.mktemp("work")
            for parent in (work, *work.parents[:2]):
                parent.chmod(0o755)
            grader = Grader(sandboxes, limits, seed=1, slack=4.0 if one.name == "hangs" else PATIENT)
            checks, _ = grader.grade(COUNTER, work / "work", intake.work_folder(path, work / "work"))
        else:
            checks = missing(COUNTER, one.problem or "nothing was handed in")
        verdicts.append(Verdict(one.name, tuple(checks), one.problem))
    return Class(tuple(verdicts), (COUNTER.name,))


def test_each_outcome_is_what_it_was_meant_to_be(outcomes):
    points = {verdict.name: verdict.points for verdict in outcomes.verdicts}
    full = sum(FULL.values())
    assert points.pop("passes") == full == COUNTER.points
    for name, (_, status) in DOES.items():
        (found,) = (verdict for verdict in outcomes.verdicts if verdict.name == name)
        of = {check.name: check.status for check in found.checks}
        assert of["test_waits_for_its_turn"] == status, name
        assert points.pop(name) == full - 4, name  # another check needs that method too
    assert 0 < points.pop("does not count") < full
    assert set(points.values()) == {0}
    assert {verdict.maximum for verdict in outcomes.verdicts} == {full}
    seen = Counter(check.status for verdict in outcomes.verdicts for check in verdict.checks)
    assert seen.keys() == {"passed", "failed", "hung", "crashed", "unloadable", "skipped", "missing"}


@pytest.mark.parametrize("format_", reports.FORMATS)
def test_the_totals_are_the_same_in_every_format(outcomes, tmp_path, format_):
    found = READERS[format_](reports.write(outcomes, [format_], tmp_path))
    assert found == [(verdict.points, verdict.maximum) for verdict in outcomes.verdicts]


def test_what_the_report_calls_them(outcomes):
    text = reports.WHOLE["text"][1](outcomes)
    said = {
        "cannot be loaded": "cannot be loaded\n         expected  a file that can be loaded",
        "hangs": "took too long\n",
        "crashes": "ended the program\n",
        "needs too much memory": "it used more than 220 MiB of memory",
        "floods": "it printed more than 1 MiB",
        "no archive": "cannot be read",
        "bomb": "more than 32 MiB",
        "outside": "leads outside",
        "many files": "more than 2000 files",
    }
    parts = {part.partition(":")[0]: part for part in text.split("\n\n")}
    for name, words in said.items():
        assert words in parts[name], name
    assert "ended the program" not in parts["cannot be loaded"]
