"""`lab grade`, as the one who grades meets it."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from lab import cli
from lab.grading import commands, intake, pool, run
from lab.grading.sandbox import LACKING, GraderProblem
from tests.processes import survivors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lab(capsys):
    """`lab(argument…)`: exit status, standard output, standard error."""

    def call(*arguments):
        status = cli.main(["grade", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def handed_in(tmp_path, fixed_window):
    """A class of six: right, wrong, nothing, no archive, a file that ends the process, the starter."""
    folder = tmp_path / "class"
    folder.mkdir()
    shutil.copy(fixed_window.solution, folder / "right.py")
    shutil.copy(fixed_window.folder / "mistakes" / "never_ends.py", folder / "wrong.py")
    (folder / "nothing").mkdir()
    (folder / "nothing" / "readme.txt").write_text("sorry")
    (folder / "broken.zip").write_bytes(b"no archive")
    (folder / "exits.py").write_text("import os; os._exit(0)")
    (folder / "starter.py").write_bytes(fixed_window.starter)
    return folder


POINTS = {"broken": 0, "exits": 0, "nothing": 0, "right": 20, "starter": 0}


def test_a_class_is_graded_and_the_maximum_is_always_the_same(lab, handed_in, tmp_path, fixed_window):
    out = tmp_path / "out"
    status, text, _ = lab(handed_in, "-e", 3, "--seed", 1, "--out", out, "--jobs", 2)
    assert status == 1
    documents = {path.stem: json.loads(path.read_text()) for path in (out / "gradescope").iterdir()}
    assert {name: document["score"] for name, document in documents.items() if name != "wrong"} == POINTS
    assert 0 < documents["wrong"]["score"] < fixed_window.points
    for document in documents.values():
        assert sum(test["max_score"] for test in document["tests"]) == fixed_window.points
        assert len(document["tests"]) == len(fixed_window.checks())
    assert [line.split()[0] for line in text.splitlines()[:6]] == sorted(documents)
    assert "cannot be read" in text
    assert "100 % like the reference solution" in (out / "grades.csv").read_text("utf-8")


def test_an_honest_submission_passes(lab, fixed_window):
    status, text, _ = lab(fixed_window.solution, "--exercise", "fixed_window")
    assert status == 0
    assert re.search(r"20 of 20 points \(\d+ of \d+ public checks passed, \d+ of \d+ hidden", text)


@pytest.fixture(scope="module")
def result(fixed_window, tmp_path_factory):
    """What grading the solution gives."""
    copies = tmp_path_factory.mktemp("copies")
    return run.Run([fixed_window.solution], [fixed_window], fixed_window, copies, seed=1).go()


@pytest.fixture
def already_graded(result, monkeypatch):
    """For tests of what is done with verdicts: they are there at once."""
    monkeypatch.setattr(run.Run, "go", lambda self, each=None: result)


@pytest.mark.usefixtures("already_graded")
def test_one_report_goes_to_standard_output(lab, fixed_window):
    status, text, _ = lab(fixed_window.solution, "-e", 3, "--format", "gradescope")
    assert (status, json.loads(text)["score"]) == (0, 20)


@pytest.mark.usefixtures("already_graded")
def test_json_is_all_there_is_to_know(lab, fixed_window):
    status, text, _ = lab(fixed_window.solution, "-e", 3, "--json")
    (verdict,) = json.loads(text)
    assert (status, verdict["name"], sum(check["points"] for check in verdict["checks"])) == (
        0,
        "solution",
        20,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/no/such/path"], "there is no /no/such/path"),
        (["."], "which exercise"),
        ([".", "--format", "pdf"], "there is no format 'pdf'"),
        ([".", "--format", ","], "name at least one"),
        ([".", "--resume"], "--out"),
        ([".", "--format", "csv", "--json"], "--out"),
        ([".", "-e", "99"], "there is no exercise '99'"),
        ([], "PATH"),
    ],
)
def test_a_mistake_is_one_line(lab, tmp_path, arguments, told):
    (tmp_path / "x.py").write_text("")
    status, out, err = lab(*(str(tmp_path) if argument == "." else argument for argument in arguments))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_without_isolation_it_grades_all_the_same_and_says_what_is_lacking(lab, fixed_window):
    status, text, _ = lab(fixed_window.solution, "-e", 3, "--isolation", "none", "--no-similarity")
    assert (status, "20 of 20 points" in text) == (0, True)
    lacking = [f"note: {told}" for kind, told in LACKING.items() if kind != "libraries"]
    assert text.splitlines()[-len(lacking) :] == lacking


def test_what_was_lacking_is_told_when_a_run_is_taken_up_too(lab, fixed_window, tmp_path):
    args = [
        fixed_window.solution,
        "-e",
        3,
        "--isolation",
        "none",
        "--no-similarity",
        "--out",
        tmp_path / "out",
    ]
    for more in ([], ["--resume"]):
        _, text, _ = lab(*args, *more)
        assert f"note: {LACKING['network']}" in text.splitlines()
    for name in ("results.json", "junit.xml", "grades.csv", "report.txt", "report.html"):
        assert LACKING["network"] in (tmp_path / "out" / name).read_text("utf-8"), name


@pytest.mark.usefixtures("already_graded")
def test_several_reports_on_standard_output_have_their_names_above_them(lab, fixed_window):
    """As the contract has it: all five formats, and a folder for them only where one is named."""
    status, text, _ = lab(fixed_window.solution, "-e", 3, "--format", "gradescope,junit,classroom,csv,text")
    parts = re.split(r"^==> (.*) <==\n", text, flags=re.MULTILINE)
    assert (status, parts[0]) == (0, "")
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(found) == ["results.json", "junit.xml", "classroom.json", "grades.csv", "report.txt"]
    assert (
        json.loads(found["results.json"])["score"] == json.loads(found["classroom.json"])["max_score"] == 20
    )
    assert ElementTree.fromstring(found["junit.xml"]).tag == "testsuites"
    assert found["grades.csv"].splitlines()[1].startswith("solution,20,20,100.0,11,1,")
    assert "20 of 20 points" in found["report.txt"]


def test_a_folder_that_cannot_be_written_is_one_line(lab, fixed_window, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = lab(fixed_window.solution, "-e", 3, "--out", tmp_path / "file" / "below")
    assert (status, err.count("\n")) == (2, 1)


def test_what_is_graded_is_not_graded_again(lab, handed_in, tmp_path, monkeypatch, fixed_window):
    for name in ("exits.py", "starter.py", "broken.zip"):
        (handed_in / name).unlink()
    out = tmp_path / "out"
    lab(handed_in, "-e", 3, "--out", out)
    first = (out / "grades.csv").read_text("utf-8")
    graded = []
    monkeypatch.setattr(pool.Worker, "grade", counted(pool.Worker.grade, graded))
    shutil.copy(fixed_window.solution, handed_in / "wrong.py")
    lab(handed_in, "-e", 3, "--out", out, "--resume")
    assert graded == ["wrong"]  # only what has changed
    lines = (out / "grades.csv").read_text("utf-8").splitlines()
    assert [line for line in lines if line[:5] != "wrong"][1].split(",")[0] == first.splitlines()[1].split(
        ","
    )[0]
    assert next(line for line in lines if line.startswith("wrong")).startswith("wrong,20,20,100.0")


def counted(grade, names):
    def wrapped(self, submission, key):
        names.append(submission.name)
        return grade(self, submission, key)

    return wrapped


def test_a_run_that_is_killed_is_taken_up_where_it_was(handed_in, tmp_path, fixed_window):
    for number in range(2):
        shutil.copy(fixed_window.solution, handed_in / f"more{number:02}.py")
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "lab",
        "grade",
        str(handed_in),
        "-e",
        "3",
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = out / run.JOURNAL
    for _ in range(2000):
        if journal.exists() and journal.read_text("utf-8").count("\n") >= 4:
            break
        try:
            first.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    below = psutil.Process(first.pid).children(recursive=True) if first.poll() is None else []
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert survivors(below, 20) == []
    with open(journal, "a", encoding="utf-8") as file:
        file.write('{"name": "more01", "checks": [{"exer')  # as if it had been killed while it wrote
    head, known = run.load(journal)
    assert 3 <= len(known) < 8
    again = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 1, again.stderr
    after, all_known = run.load(journal)
    assert (after["seed"], len(all_known)) == (head["seed"], 8)
    assert {name: verdict.seconds for name, verdict in known.items()}.items() <= {
        name: verdict.seconds for name, verdict in all_known.items()
    }.items()


def test_where_no_sandbox_comes_up_there_are_no_verdicts(lab, fixed_window, monkeypatch):
    def broken(self, submission, key):
        raise GraderProblem("a sandbox cannot be set up: no room")

    monkeypatch.setattr(pool.Worker, "grade", broken)
    status, out, err = lab(fixed_window.solution, "-e", 3)
    assert (status, out) == (2, "")
    assert "no room" in err
    assert err.count("\n") == 1


def test_one_on_which_the_grader_fails_costs_nobody_else_their_verdict(lab, handed_in, tmp_path, monkeypatch):
    """And no verdict is made up for it: the reports say so, and the next run tries again."""
    for name in ("exits.py", "starter.py", "wrong.py"):
        (handed_in / name).unlink()
    grade = pool.Worker.grade

    def fails(self, submission, key):
        if submission.name == "broken":
            raise GraderProblem("no room")
        return grade(self, submission, key)

    monkeypatch.setattr(pool.Worker, "grade", fails)
    out = tmp_path / "out"
    status, text, err = lab(handed_in, "-e", 3, "--out", out, "--jobs", 1)
    assert (status, err.count("\n"), "not graded" in err and "broken" in err) == (2, 1, True)
    assert "right" in text
    points = {path.stem: json.loads(path.read_text()) for path in (out / "gradescope").iterdir()}
    assert (points["right"]["score"], points["broken"]["score"]) == (20, 0)
    assert "no room" in points["broken"]["output"]
    assert "broken" not in run.load(out / run.JOURNAL)[1]
    monkeypatch.setattr(pool.Worker, "grade", grade)
    status, _, err = lab(handed_in, "-e", 3, "--out", out, "--resume")
    assert (status, err) == (1, "")
    assert "broken" in run.load(out / run.JOURNAL)[1]


def test_a_worker_that_says_nothing_is_ended(fixed_window, tmp_path):
    """A check that never comes back costs one check's time, and not that of all of them."""
    worker = pool.Worker(99, 0, "auto", [fixed_window])
    try:
        assert worker._patience < pool.START + 60
        worker._patience = 0.2
        process = psutil.Process(worker._process.pid)
        process.suspend()
        with pytest.raises(GraderProblem, match="a grading process died"):
            worker.grade(intake.Submission("ada", tmp_path, None), "")
        assert not process.is_running()
    finally:
        worker.close()


def test_a_grading_process_that_dies_is_replaced(lab, fixed_window, monkeypatch):
    grade, deaths = pool.Worker.grade, []

    def dies_once(self, submission, key):
        if not deaths:
            deaths.append(self)
            self.kill()
        return grade(self, submission, key)

    monkeypatch.setattr(pool.Worker, "grade", dies_once)
    assert lab(fixed_window.solution, "-e", 3)[0] == 0
    assert len(deaths) == 1


def test_the_order_and_the_verdicts_do_not_depend_on_how_many_grade(handed_in, fixed_window, tmp_path):
    found = []
    for jobs in (1, 3):
        copies = tmp_path / f"copies{jobs}"
        copies.mkdir()
        job = run.Run([handed_in], [fixed_window], fixed_window, copies, jobs=jobs, seed=5)
        result = job.go()
        found.append(
            [(v.name, v.points, [(c.name, c.status) for c in v.checks], v.notes) for v in result.verdicts]
        )
    assert found[0] == found[1]


def test_every_mistake_is_rejected_by_its_check(fixed_window, tmp_path):
    job = run.Run(fixed_window.mistakes, [fixed_window], fixed_window, tmp_path, seed=1, similarity=False)
    for verdict in job.go().verdicts:
        head = (fixed_window.folder / "mistakes" / f"{verdict.name}.py").read_text("utf-8")
        declared = re.search(r"rejected by: (\w+)", head).group(1)
        assert [check.name for check in verdict.checks if check.name == declared and check.status == "failed"]


def test_formats_are_chosen_by_name():
    assert commands.chosen_formats(None, None) == ["text"]
    assert commands.chosen_formats("csv, junit,csv", Path("out")) == ["csv", "junit"]
