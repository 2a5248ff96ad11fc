"""What a check holds of a submission: tickets for its things, and tasks, cancelled by one or the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lab.exercises.agent import Agent
from lab.exercises.kit import LocalChannel, Raised, Ref, Student

GATE = """
import asyncio

class Gate:
    def __init__(self):
        self.open = True
        self.given = (1, "a tuple, which would come back as a list")

    def acquire(self):
        return self.given if self.open else None

    def same(self, permission):
        self.open = False
        return permission is self.given

    async def cancelled(self):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def wait(self):
        await asyncio.get_running_loop().create_future()
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


def test_a_thing_among_the_arguments_is_told_by_its_class(student: Student) -> None:
    gate = student.new("Gate")
    gate.same(gate)
    assert student.calls.text() == "Gate()\nsame(<Gate>) → False"


async def test_a_submission_that_cancels_itself_has_raised_something(student: Student) -> None:
    task = student.new("Gate").start("cancelled")
    with pytest.raises(Raised) as raised:
        await task
    assert raised.value.kind == "CancelledError"


async def test_a_task_that_the_check_cancels_is_cancelled(student: Student) -> None:
    task = student.new("Gate").start("wait")
    await student.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
