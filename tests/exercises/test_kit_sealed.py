"""What is declared as `Ref` stays with the submission, and comes back as the very same thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.exercises.agent import Agent
from lab.exercises.kit import LocalChannel, Ref, Student

GATE = """
class Gate:
    def __init__(self):
        self.open = True
        self.given = (1, "a tuple, which would come back as a list")

    def acquire(self):
        return self.given if self.open else None

    def same(self, permission):
        self.open = False
        return permission is self.given
"""


@pytest.fixture
def student(tmp_path: Path) -> Student:
    file = tmp_path / "gate.py"
    file.write_text(GATE, encoding="utf-8")
    return Student(LocalChannel(Agent(file)))


def test_what_is_sealed_comes_back_as_the_very_same_thing(student: Student) -> None:
    gate = student.new("Gate").answering(acquire=Ref | None)
    permission = gate.acquire()
    assert isinstance(permission, Ref)
    assert gate.same(permission) is True
    assert gate.acquire() is None


def test_what_is_not_sealed_is_plain_data(student: Student) -> None:
    gate = student.new("Gate")
    assert gate.acquire() == [1, "a tuple, which would come back as a list"]
    assert gate.same(gate.acquire()) is False
