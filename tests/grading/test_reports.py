"""One run, many reports: valid in their format, with the same totals, whatever happened."""

import csv
import dataclasses
import io
import json
import re
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree as xml

import jsonschema
import pytest

from lab.grading import reports
from lab.grading.reports import classroom, gradescope
from lab.grading.verdict import CheckVerdict, Class, Verdict

STATUSES = ("passed", "failed", "hung", "crashed", "unloadable", "skipped", "missing")
NASTY = '\x1b[31m<script>alert("x")</script>&amp;]]>\x00\ud800=cmd|\u2028'

# From "Autograder Specifications", gradescope-autograders.readthedocs.io.
VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
TEXT_FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
GRADESCOPE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "score": {"type": "number", "minimum": 0},
        "execution_time": {"type": "number"},
        "output": {"type": "string"},
        "output_format": TEXT_FORMAT,
        "test_output_format": TEXT_FORMAT,
        "test_name_format": TEXT_FORMAT,
        "visibility": VISIBILITY,
        "stdout_visibility": VISIBILITY,
        "extra_data": {"type": "object"},
        "leaderboard": {"type": "array"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["score", "max_score"],
                "properties": {
                    "score": {"type": "number"},
                    "max_score": {"type": "number"},
                    "status": {"enum": ["passed", "failed"]},
                    "name": {"type": "string"},
                    "name_format": TEXT_FORMAT,
                    "number": {"type": "string"},
                    "output": {"type": "string"},
                    "output_format": TEXT_FORMAT,
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "visibility": VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
    },
}
# From "The Test Runner Interface", exercism.org, and what Classroom's grading reporter reads.
EXERCISM = {
    "type": "object",
    "required": ["version", "status", "tests", "max_score"],
    "properties": {
        "version": {"const": 3},
        "status": {"enum": ["pass", "fail", "error"]},
        "message": {"type": ["string", "null"], "maxLength": 65535},
        "max_score": {"type": "number"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "status", "score"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "status": {"enum": ["pass", "fail", "error"]},
                    "score": {"type": "number"},
                    "message": {"type": ["string", "null"], "maxLength": 65535},
                    "output": {"type": ["string", "null"], "maxLength": 500},
                    "test_code": {"type": "string"},
                    "task_id": {"type": "integer"},
                },
            },
        },
    },
    "if": {"properties": {"status": {"const": "error"}}},
    "then": {"required": ["message"], "properties": {"message": {"type": "string", "minLength": 1}}},
    "else": {"properties": {"message": {"type": "null"}}},
}


def verdict(name, statuses, **more):
    checks = tuple(
        CheckVerdict(
            exercise="03_fixed_window",
            name=f"test_number_{at}",
            status=status,
            points=at if status == "passed" else 0,
            maximum=at,
            hidden=at == 2,
            why="Because.",
            text="" if status == "passed" else f"expected  this\ncame      {NASTY}",
            mistake="off-by-one" if status == "failed" else "",
            printed=NASTY * 100 if status == "crashed" else "",
            seconds=0.5,
        )
        for at, status in enumerate(statuses, 1)
    )
    return Verdict(name, checks, **more)


EVERYTHING = Class(
    (
        verdict("ada", ["passed"] * 4),
        verdict("bob", ["failed"] * 4, notes=(f"like {NASTY}",)),
        verdict("../eve/=1+1", ["passed", "failed", "hung", "crashed"]),
        verdict("zoe", ["missing"] * 4, problem="it cannot be read: <b>"),
        verdict("Zoe", ["passed", "skipped", "passed", "unloadable"]),
        verdict(NASTY, ["crashed"] * 4),
        verdict("eve\nada 10 of 10", ["crashed"] * 4, problem="it has\nmore lines"),
    ),
    ("03_fixed_window",),
    ("a submission can reach the network",),
)
TOTALS = [(10, 10), (0, 10), (1, 10), (0, 10), (4, 10), (0, 10), (0, 10)]


def from_gradescope(files):
    documents = [json.loads(path.read_text("utf-8")) for path in files if path.parent.name == "gradescope"]
    for document in documents:
        assert document["score"] == sum(test["score"] for test in document["tests"])
    return [(d["score"], sum(test["max_score"] for test in d["tests"])) for d in documents]


def from_classroom(files):
    documents = [json.loads(path.read_text("utf-8")) for path in files if path.parent.name == "classroom"]
    return [(sum(test["score"] for test in d["tests"]), d["max_score"]) for d in documents]


def from_junit(files):
    (path,) = (path for path in files if path.suffix == ".xml")
    found = []
    for suite in xml.parse(path).getroot():
        values = {p.get("name"): int(p.get("value")) for p in suite.find("properties")}
        found.append((values["points"], values["max_points"]))
    return found


def from_csv(files):
    (path,) = (path for path in files if path.suffix == ".csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    for row in rows:
        assert int(row["points"]) == sum(int(value) for column, value in row.items() if "/" in column)
    return [(int(row["points"]), int(row["maximum"])) for row in rows]


def from_text(files):
    (path,) = (path for path in files if path.suffix == ".txt")
    table = path.read_text("utf-8").partition("\n\n")[0]
    return [tuple(map(int, re.search(r" (\d+)/(\d+)  ", line).groups())) for line in table.splitlines()]


class Summaries(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags, self._inside = [], set(), False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._inside = tag == "summary"

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.found.append(tuple(map(int, re.search(r": (\d+) of (\d+)$", data).groups())))


def from_html(files):
    (path,) = (path for path in files if path.suffix == ".html")
    parser = Summaries()
    parser.feed(path.read_text("utf-8"))
    assert not parser.tags & {"script", "link", "img", "iframe", "b"}
    return parser.found


READERS = {
    "gradescope": from_gradescope,
    "classroom": from_classroom,
    "junit": from_junit,
    "csv": from_csv,
    "text": from_text,
    "html": from_html,
}


@pytest.mark.parametrize("format_", reports.FORMATS)
def test_every_format_has_the_same_totals(tmp_path, format_):
    files = reports.write(EVERYTHING, [format_], tmp_path)
    assert READERS[format_](files) == TOTALS
    assert [(v.points, v.maximum) for v in EVERYTHING.verdicts] == TOTALS


def test_all_formats_can_be_read(tmp_path):
    assert set(READERS) == set(reports.FORMATS)


@pytest.mark.parametrize("one", EVERYTHING.verdicts, ids=range(len(TOTALS)))
def test_json_reports_are_valid(one):
    jsonschema.validate(json.loads(json.dumps(gradescope.document(one))), GRADESCOPE)
    jsonschema.validate(json.loads(json.dumps(classroom.document(one))), EXERCISM)


def test_hidden_checks_are_not_shown_before_the_grades_are_published():
    shown = [test["visibility"] for test in gradescope.document(EVERYTHING.verdicts[0])["tests"]]
    assert shown == ["visible", "after_published", "visible", "visible"]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["passed", "passed"], "pass"),
        (["passed", "failed"], "fail"),
        (["hung", "skipped"], "fail"),
        (["crashed", "skipped"], "error"),
        (["missing", "missing"], "error"),
    ],
)
def test_exercisms_status_of_the_whole(statuses, status):
    assert classroom.document(verdict("ada", statuses))["status"] == status


def test_junit_xml_is_as_its_schema_has_it(tmp_path):
    """The rules of JUnit.xsd: the order of elements, required attributes, their types, counts that agree."""
    (path,) = reports.write(EVERYTHING, ["junit"], tmp_path)
    root = xml.parse(path).getroot()
    assert root.tag == "testsuites"
    assert [suite.get("id") for suite in root] == [str(n) for n in range(len(root))]
    for suite in root:
        assert suite.tag == "testsuite"
        needed = {
            "name",
            "package",
            "id",
            "timestamp",
            "hostname",
            "tests",
            "failures",
            "errors",
            "time",
            "skipped",
        }
        assert set(suite.attrib) == needed
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp"))
        float(suite.get("time"))
        tags = [child.tag for child in suite]
        cases = suite.findall("testcase")
        assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
        assert all(set(p.attrib) == {"name", "value"} for p in suite.find("properties"))
        inner = [child for case in cases for child in case]
        for case in cases:
            assert {"name", "classname", "time"} == set(case.attrib)
            assert len(case) <= 1
        for child in inner:
            assert child.tag in ("skipped", "error", "failure")
            assert child.tag == "skipped" or "type" in child.attrib
        counts = [str(sum(c.tag == tag for c in inner)) for tag in ("failure", "error", "skipped")]
        assert counts == [suite.get(name) for name in ("failures", "errors", "skipped")]
        assert suite.get("tests") == str(len(cases))


def test_no_name_becomes_a_formula(tmp_path):
    odd = Class(
        tuple(verdict(name, ["passed"]) for name in ("=1+1", "+1", "-1", "@x", " =1", "＝1", "ada")), ("x",)
    )
    (path,) = reports.write(odd, ["csv"], tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    assert [row["submission"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", "' =1", "'＝1", "ada"]


def test_a_name_is_no_path(tmp_path):
    files = reports.write(EVERYTHING, ["gradescope"], tmp_path / "out")
    assert {path.parent for path in files} == {tmp_path / "out" / "gradescope"}
    assert len({path.name.lower() for path in files}) == len(files)


ODD_NAMES = [
    "語" * 85,
    "語" * 85 + "x",
    "CON",
    "con.txt",
    "nul ",
    "café",
    "cafe\u0301",
    "ﬁne",
    "fine",
    "...",
    "results.json",
]


def test_any_name_is_a_file_name_on_every_system(tmp_path):
    odd = Class(tuple(verdict(name, ["passed"]) for name in ODD_NAMES), ("x",))
    files = reports.write(odd, ["gradescope"], tmp_path)
    names = [path.name for path in files]
    assert max(len(name.encode()) for name in names) < 200
    assert not [name for name in names if name.split(".")[0].strip().lower() in ("con", "nul", "")]
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == len(ODD_NAMES)


def test_nobodys_name_makes_a_line_of_its_own():
    for name in ("text", "csv"):
        lines = reports.WHOLE[name][1](EVERYTHING).splitlines()
        assert not [line for line in lines if line.startswith(("ada 10", "more lines"))]


def test_what_is_printed_is_no_command_of_a_workflow():
    """GitHub's runner takes lines that begin with :: or ##[ in what a step prints for commands."""
    odd = verdict("ada", ["failed"], problem="")
    check = dataclasses.replace(
        odd.checks[0], printed="::set-env name=x::y\n  ##[error]z", text="::add-mask::1"
    )
    (test,) = classroom.document(dataclasses.replace(odd, checks=(check,)))["tests"]
    lines = (test["output"] + "\n" + test["message"]).splitlines()
    assert [line for line in lines if line.strip().startswith(("::", "##["))] == []
    assert "set-env name=x::y" in test["output"]


def test_no_escape_sequence_reaches_a_terminal():
    for name in ("text", "junit", "html"):
        assert "\x1b" not in reports.WHOLE[name][1](EVERYTHING)


def test_one_submission_has_its_reports_under_the_names_that_are_looked_for(tmp_path):
    alone = Class(EVERYTHING.verdicts[:1], ("03_fixed_window",))
    files = reports.write(alone, list(reports.FORMATS), tmp_path)
    names = {"results.json", "classroom.json", "junit.xml", "grades.csv", "report.txt", "report.html"}
    assert {path.name for path in files} == names == {path.name for path in tmp_path.iterdir()}


def test_public_and_hidden_checks_are_told_apart():
    passed = "1 of 3 public checks passed, 0 of 1 hidden checks passed"
    assert EVERYTHING.verdicts[2].summary() == f"{passed}; 1 took too long; 1 ended the program"


def test_the_page_says_who_made_which_mistake_and_what_fails_most():
    page = reports.WHOLE["html"][1](EVERYTHING)
    assert re.search(r"off-by-one</td><td class=\"n\">2</td><td>bob, \.\./eve/=1\+1<", page)
    assert page.index("number 4") < page.index("number 1")  # most failed first


def test_a_verdict_survives_being_written_down():
    for one in EVERYTHING.verdicts:
        assert Verdict.of(json.loads(json.dumps(one.data()))) == one
