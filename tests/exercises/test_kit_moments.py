"""Several things in one moment, and objects that are no data: in one process, and across a socket."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.exercises.agent import Agent
from lab.exercises.kit import Failure, LocalChannel, Raised, StandIn, Student, expect
from lab.grading.channel import RemoteChannel

DESK = """
import asyncio

class Desk:
    def __init__(self, sleep=None):
        self.sleep = sleep
        self.line = []
        self.notes = []

    async def queue(self, name):
        self.notes.append(name + " comes")
        future = asyncio.get_running_loop().create_future()
        self.line.append(future)
        try:
            return await future
        finally:
            self.notes.append(name + " goes")

    async def nap(self, seconds):
        await self.sleep(seconds)
        self.notes.append("awake")

    def serve(self, thing):
        self.notes.append("serve")
        self.line.pop(0).set_result(thing)

    def said(self):
        return self.notes

    async def through(self, make):
        thing = await make()
        thing.shut()
        return [thing, thing.shape]

    async def ask(self, answer, thing):
        return await answer(thing)

    def wrong(self, thing):
        return thing.colour
"""


FAR = """
import socket
import sys
from pathlib import Path
from lab.grading.inside.runtime import main
main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])
"""


@pytest.fixture(
    params=[
        "near",
        pytest.param(
            "far", marks=pytest.mark.skipif(sys.platform == "win32", reason="the grader needs a Unix")
        ),
    ]
)
def student(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Student]:
    file = tmp_path / "desk.py"
    file.write_text(DESK, encoding="utf-8")
    if request.param == "near":
        yield Student(LocalChannel(Agent(file)))
        return
    ours, theirs = socket.socketpair()
    arguments = [str(theirs.fileno()), str(tmp_path), file.name]
    with ours, subprocess.Popen([sys.executable, "-c", FAR, *arguments], pass_fds=[theirs.fileno()]) as far:
        theirs.close()
        yield Student(RemoteChannel(ours, 10))
        ours.close()
        assert far.wait(10) == 0


def box(student: Student, name: str = "box 1") -> StandIn:
    return student.stand_in(name, {"shape": "round"}, {"shut": {"shape": "flat"}})


async def cancelled(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait({task})
    return task.cancelled()


async def test_who_is_served_and_cancelled_in_one_moment_sees_both(student: Student) -> None:
    desk = student.new("Desk")
    task = desk.start("queue", "ada")
    await student.settle()
    with student.moment():
        desk.serve(1)
        student.cancel(task)
    assert await cancelled(task)
    assert desk.said() == ["ada comes", "serve", "ada goes"]


async def test_what_begins_in_a_moment_comes_before_those_who_wake(student: Student) -> None:
    desk = student.new("Desk")
    first = desk.start("queue", "ada")
    await student.settle()
    with student.moment():
        second = desk.start("queue", "bob")
        desk.serve(1)
    assert await first == 1
    assert desk.said() == ["ada comes", "serve", "bob comes", "ada goes"]
    student.cancel(second)
    assert await cancelled(second)
    assert desk.said()[-1] == "bob goes"


async def test_what_began_in_a_moment_is_cancelled_by_its_task_too(student: Student) -> None:
    desk = student.new("Desk")
    with student.moment():
        task = desk.start("queue", "ada")
    await student.settle()
    task.cancel()
    assert await cancelled(task)
    assert desk.said() == ["ada comes", "ada goes"]


async def test_time_passes_in_a_moment_like_anything_else(student: Student) -> None:
    clock = student.clock(0.0)
    desk = student.new("Desk", clock.sleep)
    napping = desk.start("nap", 5)
    queueing = desk.start("queue", "ada")
    await student.settle()
    with student.moment():
        clock.tick(5)
        desk.serve(None)
    await student.settle()
    assert napping.done()
    assert queueing.done()
    assert desk.said() == ["ada comes", "serve", "awake", "ada goes"]


async def test_an_error_in_a_moment_comes_out_of_it(student: Student) -> None:
    desk = student.new("Desk").answering(serve=int)
    with pytest.raises(Raised, match="pop from empty list"), student.moment():
        desk.serve(1)
    desk.start("queue", "ada")
    await student.settle()
    with pytest.raises(Failure, match="None is not a whole number"), student.moment():
        desk.serve(1)


async def test_a_moment_is_told_as_one(student: Student) -> None:
    desk = student.new("Desk")
    tasks = [desk.start("queue", "ada"), desk.start("queue", "bob")]
    await student.settle()
    with student.moment():
        student.cancel(tasks[1])
        desk.serve(box(student))
    await tasks[0]
    assert student.calls.text().splitlines()[1:] == [
        "await queue('ada') → box 1",
        "await queue('bob')",
        "in one moment:",
        "queue() number 2 is cancelled",
        "serve(box 1)",
    ]


async def test_an_object_of_the_checks_comes_back_as_itself(student: Student) -> None:
    desk, first, second = student.new("Desk"), box(student), box(student, "box 2")

    async def make() -> StandIn:
        return second

    async def answer(thing: StandIn) -> bool:
        expect(thing is first, True, of="the very same")
        return True

    thing, shape = await desk.start("through", make)
    assert thing is second
    assert shape == "flat"
    assert (first.told(), second.told()) == ([], ["shut"])
    assert await desk.start("ask", answer, first) is True


def test_an_object_of_the_checks_has_what_it_is_given(student: Student) -> None:
    desk, thing = student.new("Desk"), box(student)
    with pytest.raises(Raised, match="'box 1' object has no attribute 'colour'"):
        desk.wrong(thing)
    thing.set(colour="red")
    assert desk.wrong(thing) == "red"
    assert "box 1.colour = 'red'" in student.calls.text()
