"""What is handed in: every way of packing it, and every way of packing it badly."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.exercises.catalog import ROOT, find
from lab.grading import intake

NAME = "03_fixed_window"
CODE = "class FixedWindow:\n    pass\n"


def short(value):
    return value if isinstance(value, str) else ""


@pytest.fixture
def collect(tmp_path, fixed_window):
    """`collect(path…)`: the submissions in these paths, copied to a folder of their own."""

    def run(*paths, wanted=fixed_window):
        into = tmp_path / "copies"
        into.mkdir(exist_ok=True)
        return intake.collect(paths, [fixed_window], wanted, into)

    return run


@pytest.fixture
def given(tmp_path):
    """`given(name, content)`: a file or folder (a dict) of what students hand in; its path.

    What takes long to make is given as a function that makes it.
    """

    def write(name, content, at=tmp_path / "given"):
        at.mkdir(exist_ok=True)
        path = at / name
        content = content() if callable(content) else content
        if isinstance(content, dict):
            path.mkdir()
            for inner, value in content.items():
                write(inner, value, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(*members, mode="w:gz"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ada.py", CODE),
        ("ada", {"exercise.py": CODE}),
        ("ada", {"exercises": {NAME: {"exercise.py": CODE, "solution.py": "x", "checks.py": "x"}}}),
        ("ada", {NAME: {"exercise.py": CODE}, "notes.txt": "hello"}),
        ("ada", {"exercise.py": CODE, "parts": {"__init__.py": "", "window.py": CODE + "# imported\n"}}),
        ("ada.zip", zipped({"exercise.py": CODE})),
        ("ada.ZIP", zipped({"exercise.py": CODE})),
        ("ada.zip", zipped({f"repo/exercises/{NAME}/exercise.py": CODE, "repo/gateway.py": "x"})),
        ("ada.zip", zipped({"my work/FixedWindow v2.py": CODE, "__MACOSX/._x.py": "x"})),
        ("ada.tar.gz", tarred((f"{NAME}/exercise.py", CODE.encode()))),
        ("ada.tgz", tarred(("exercise.py", CODE.encode()))),
        ("ada.tar", tarred(("exercise.py", CODE.encode()), mode="w")),
        ("ada.tar.bz2", tarred(("exercise.py", CODE.encode()), mode="w:bz2")),
    ],
    ids=short,
)
def test_a_submission_is_found_however_it_is_packed(collect, given, name, content):
    (found,) = collect(given(name, content)) if name != "ada" else collect(given(name, content).parent)
    assert (found.name, found.problem) == ("ada", "")
    assert found.files[NAME].read_text() == CODE


def test_a_folder_of_many_comes_in_the_order_of_the_names(collect, given):
    folder = given(
        "class",
        {
            "zoe.py": CODE,
            "ada": {"exercise.py": CODE},
            "bob.zip": zipped({"exercise.py": CODE}),
            "broken.zip": b"no archive",
            ".DS_Store": "x",
            "readme.txt": "x",
        },
    )
    found = collect(folder)
    assert [submission.name for submission in found] == ["ada", "bob", "broken", "zoe"]
    assert [bool(submission.problem) for submission in found] == [False, False, True, False]


def test_two_of_one_name_stay_two(collect, given):
    entries = {"ada.py": CODE, "ada.zip": zipped({"exercise.py": CODE}), "ada (2).py": CODE}
    found = [(submission.name, submission.path.name) for submission in collect(given("class", entries))]
    assert found == [("ada", "ada.py"), ("ada (2)", "ada (2).py"), ("ada (3)", "ada.zip")]


def test_a_name_is_one_line_that_changes_nothing_where_it_is_shown(collect, given):
    odd = ["eve\nada  20 of 20.py", "\x1b[2Jeve.py", "eve\u202egpj.py", "e\u0301ve.py", "eve\u3000two.py"]
    folder = given("class", dict.fromkeys(odd, CODE))
    open(os.fsencode(folder) + b"/eve\xff.py", "wb").close()
    assert [submission.name for submission in collect(folder)] == [
        "\\x1b[2Jeve",
        "eve two",
        "eve\\nada  20 of 20",
        "eve\\u202egpj",
        "eve\\udcff",
        "éve",
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.zip", b"", "cannot be read"),
        ("x.zip", b"PK\x03\x04 this is no archive", "cannot be read"),
        ("x.tar.gz", b"this is no archive", "cannot be read"),
        ("x.tar.gz", tarred(("exercise.py", b"x" * 5000))[:-40], "cannot be read"),
        ("x.zip", lambda: zipped({"exercise.py": b"\0" * (40 << 20)}), "more than 32 MiB"),
        ("x.tar.gz", lambda: tarred(("exercise.py", b"\0" * (40 << 20))), "more than 32 MiB"),
        ("x.tgz", lambda: gzip.compress(b"\0" * 512 * 3 + b"x" * (40 << 20)), ""),
        ("x.zip", lambda: zipped({f"f{n}.py": "" for n in range(10_000)}), "more than 2000 files"),
        (
            "x.tar",
            lambda: tarred(*((f"f{n}.py", b"") for n in range(3_000)), mode="w"),
            "more than 2000 files",
        ),
        ("x.zip", zipped({"../../outside.py": CODE}), "leads outside"),
        ("x.zip", zipped({"/tmp/outside.py": CODE}), "leads outside"),
        ("x.zip", zipped({"..\\outside.py": CODE}), "leads outside"),
        ("x.zip", zipped({"C:\\outside.py": CODE}), "leads outside"),
        ("x.tar", tarred(("../outside.py", b"x"), mode="w"), "leads outside"),
        ("x.tar", tarred(("/outside.py", b"x"), mode="w"), "leads outside"),
        ("x.tar", tarred(("exercise.py", (tarfile.SYMTYPE, "/etc/passwd")), mode="w"), "link"),
        ("x.tar", tarred(("exercise.py", (tarfile.LNKTYPE, "/etc/passwd")), mode="w"), "link"),
        ("x.tar", tarred(("exercise.py", (tarfile.FIFOTYPE, "")), mode="w"), "no file"),
        ("x.tar", tarred(("exercise.py", (tarfile.CHRTYPE, "")), mode="w"), "no file"),
        ("x.zip", zipped({"a": "", "a/b.py": CODE}), ""),
        ("x.zip", zipped({"a/" * 41 + "exercise.py": CODE}), "more than 40 folders"),
        ("x.zip", zipped({"exercise.py": CODE}, zipfile.ZIP_LZMA), "unusual way"),
        ("x.zip", zipped({"exercise.py": CODE}).replace(b"PK\1\2", b"PK\1\2" * 2001), "more than 2000 files"),
        (  # a flag in the list of contents
            "x.zip",
            zipped({"exercise.py": CODE}).replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
            "protected by a password: 'exercise.py'",
        ),
        ("x.zip", lambda: b"\0" * (37 << 20), "more than 32 MiB"),
        ("x.rar", b"Rar!", "no zip and no tar"),
        ("x.tar.xz", b"\xfd7zXZ", "no zip and no tar"),
    ],
    ids=short,
)
def test_what_cannot_be_unpacked_is_a_submission_with_the_reason(
    collect, given, tmp_path, name, content, told
):
    path = given(name, content)
    before = sorted(tmp_path.rglob("outside*"))
    (found,) = collect(path)
    assert told in found.problem
    if told:
        assert found.folder is None
    assert found.files == {}
    assert sorted(tmp_path.rglob("outside*")) == before
    assert not os.path.exists("/tmp/outside.py")


def test_a_link_in_a_zip_is_refused(collect, given):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        entry = zipfile.ZipInfo("exercise.py")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    (found,) = collect(given("x.zip", data.getvalue()))
    assert "link" in found.problem


def test_links_and_pipes_in_a_folder_are_refused(collect, given):
    folder = given("class", {"ada": {"exercise.py": CODE}, "bob": {"exercise.py": CODE}, "eve": {}})
    (folder / "ada" / "more").symlink_to("/etc/passwd")
    os.mkfifo(folder / "bob" / "pipe")
    (folder / "linked").symlink_to(folder / "ada")
    problems = {submission.name: submission.problem for submission in collect(folder)}
    assert "symbolic link: 'more'" in problems["ada"]
    assert "no file: 'pipe'" in problems["bob"]
    assert "symbolic link" in problems["linked"]
    assert problems["eve"] == f"there is no Python file for {NAME} in it"


def test_two_that_may_be_it_are_named(collect, given):
    found = collect(given("class", {"ada": {"a.py": CODE, "b.py": CODE + "#"}}))
    assert [one.problem for one in found] == [f"which of its files is for {NAME} cannot be told: a.py, b.py"]


def test_what_tools_leave_behind_is_not_counted(collect, given):
    folder = given("ada", {"exercise.py": CODE, ".venv": {f"f{n}.py": "" for n in range(2_500)}})
    (found,) = collect(folder)
    assert (found.problem, list(found.files)) == ("", [NAME])


@pytest.mark.parametrize("wanted", [True, False])
def test_an_exercise_is_recognised_by_what_it_defines(collect, given, fixed_window, wanted):
    folder = given(
        "class", {"ada": {"task three.py": CODE}, "bob": {"notes.py": "class Other: pass", "b.py": CODE}}
    )
    found = collect(folder, wanted=fixed_window if wanted else None)
    assert [submission.files[NAME].name for submission in found] == ["task three.py", "b.py"]


def test_the_checks_and_the_solution_beside_a_submission_do_not_go_into_the_sandbox(given, tmp_path):
    folder = given(
        NAME,
        {"exercise.py": CODE, "solution.py": "x", "checks.py": "x", "mistakes": {"a.py": ""}, "b.py": ""},
    )
    assert intake.work_folder(folder / "exercise.py", tmp_path / "work") == "exercise.py"
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["b.py", "exercise.py"]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"calendar.py": CODE}, "exercise.py"),
        ({"httpx.py": CODE}, "exercise.py"),
        ({"gateway.py": CODE}, "gateway.py"),
        ({"my limiter.v2.py": CODE}, "my limiter.v2.py"),
        ({"calendar.py": CODE, "helper.py": ""}, "calendar.py"),
    ],
    ids=lambda value: "+".join(value),
)
def test_a_lone_file_hides_no_library(given, tmp_path, files, wanted):
    folder = given("ada", files)
    name = intake.work_folder(folder / next(iter(files)), tmp_path / "work")
    assert (name, (tmp_path / "work" / name).read_text()) == (wanted, CODE)


def test_the_digest_changes_with_the_content_only(collect, given):
    folder = given("class", {"ada": {"a.py": CODE}, "bob": {"a.py": CODE}, "eve": {"a.py": CODE + "#"}})
    ada, bob, eve = (submission.digest() for submission in collect(folder))
    assert ada == bob != eve


def test_nothing_there_is_one_line(collect, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no submission in"):
        collect(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no"):
        collect(tmp_path / "nowhere")


def test_reports_among_the_submissions_are_left_out(given, tmp_path, fixed_window):
    folder = given("class", {"ada.py": CODE, "grades": {"verdicts.jsonl": "{}"}})
    (tmp_path / "copies").mkdir()
    found = intake.collect([folder], [fixed_window], None, tmp_path / "copies", leaving_out=folder / "grades")
    assert [submission.name for submission in found] == ["ada"]


def test_who_grades_may_name_a_folder_by_a_link(collect, given, tmp_path):
    (tmp_path / "link").symlink_to(given("ada", {"exercise.py": CODE}))
    (found,) = collect(tmp_path / "link")
    assert (found.name, found.problem, list(found.files)) == ("link", "", [NAME])


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_called_like_the_file_but_is_none_is_not_taken_for_it(collect, given, kind):
    folder = given("class", {"ada": {"exercise.py": {}} if kind == "folder" else {}, "x.py": CODE})
    if kind == "pipe":
        os.mkfifo(folder / "ada.zip")
    problems = {submission.name: (submission.problem, submission.files) for submission in collect(folder)}
    assert problems.pop("x")[0] == ""
    assert all(files == {} for _, files in problems.values())
    assert kind == "folder" or any("no file" in problem for problem, _ in problems.values())


def test_what_becomes_a_link_while_it_is_read_is_not_followed(collect, given, monkeypatch, tmp_path):
    """Between the look at a file and its opening somebody puts a link in its place."""
    secret = tmp_path / "secret.py"
    secret.write_text("SECRET")
    folder = given("ada", {"exercise.py": CODE})
    looked = Path.lstat

    def lstat(path):
        seen = looked(path)
        if path.name == "exercise.py" and path.parent == folder:
            path.unlink()
            path.symlink_to(secret)
        return seen

    monkeypatch.setattr(Path, "lstat", lstat)
    (found,) = collect(folder)
    assert "cannot be read" in found.problem
    assert found.files == {}


def test_folders_in_folders_in_folders_are_refused(collect, given, tmp_path):
    folder = given("class", {"ada": {"exercise.py": CODE}, "x.py": CODE})
    deep = folder / "ada"
    for _ in range(60):
        deep = deep / "a"
        deep.mkdir()
        (deep / "b.py").write_text("")
    found = {submission.name: submission.problem for submission in collect(folder)}
    assert found == {"ada": "it has more than 40 folders in each other", "x": ""}


def test_file_names_that_are_no_text_are_digested_too(collect, given):
    (found,) = collect(given("x.tar", tarred(("exercise.py", b"x"), ("caf\udce9.py", b"y"), mode="w")))
    assert (found.problem, found.files[NAME].name) == ("", "exercise.py")
    assert len(found.digest()) == 64


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"gateway.py": "mine"}, "mine"),
        ({"main.py": "mine", "cache.py": "other"}, "mine"),
        ({"work/app.py": "mine", "work/notes.txt": ""}, "mine"),
        ({"exercises": {"16_capstone": {"exercise.py": "mine"}}, "gateway.py": "the lab's"}, "mine"),
        ({"exercises": {"16_capstone": {"exercise.py": "the starter"}}, "gateway.py": "mine"}, "mine"),
        (
            {"exercises": {"16_capstone": {"exercise.py": "the starter"}}, "gateway.py": "the lab's"},
            "the starter",
        ),
    ],
    ids=range(6),
)
def test_a_capstone_may_be_called_what_it_is(given, tmp_path, entries, told):
    capstone = find("16")
    known = {"the starter": capstone.starter.decode(), "the lab's": (ROOT.parent / "gateway.py").read_text()}

    def filled(tree):
        return {name: filled(x) if isinstance(x, dict) else known.get(x, x) for name, x in tree.items()}

    work = entries.get("work/app.py")
    entries = {"work": {"app.py": work}} if work else entries
    folder = given("ada", filled(entries))
    (tmp_path / "copies").mkdir()
    (found,) = intake.collect([folder], [capstone], capstone, tmp_path / "copies")
    assert found.files["16_capstone"].read_text() == known.get(told, told)
