import os

import pytest

from lab.launcher import tail as module
from lab.launcher.tail import Tail


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"from an earlier run\n")
    return path


@pytest.fixture
def tail(log):
    tail = Tail(log)
    yield tail
    tail.close()


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_only_what_is_added_and_complete_is_read(log, tail):
    assert tail.read() == []
    append(log, b"one\ntw")
    assert tail.read() == ["one"]
    append(log, b"o\r\n\n")
    assert tail.read() == ["two", ""]


def test_a_rotation_loses_no_line(log, tail):
    append(log, b"one\ntw")
    os.replace(log, f"{log}.1")
    assert tail.read() == ["one"]  # there is no new file yet
    append(log, b"o\nthree\n")
    assert tail.read() == ["two", "three"]
    append(log, b"four\n")
    assert tail.read() == ["four"]


def test_a_truncated_file_is_read_from_its_start(log, tail):
    append(log, b"one\n")
    assert tail.read() == ["one"]
    log.write_bytes(b"new\n")
    assert tail.read() == ["new"]


def test_a_removed_file_is_no_error(log, tail):
    log.unlink()
    assert tail.read() == []


def test_of_a_long_backlog_only_the_end_is_kept(log, tail, monkeypatch):
    monkeypatch.setattr(module, "MAX_READ", 20)
    append(log, b"".join(b"line %d\n" % n for n in range(100)))
    lines = tail.read()
    assert lines[-1] == "line 99"
    assert len(lines) <= 4


def test_endless_lines_are_cut(log, tail, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 10)
    append(log, b"x" * 25)
    assert tail.read() == ["x" * 10, "x" * 10]
    append(log, b"\n")
    assert tail.read() == ["x" * 5]


def test_bytes_that_are_no_text_are_shown_as_such(log, tail):
    append(log, b"\xff\n")
    assert tail.read() == ["\N{REPLACEMENT CHARACTER}"]
