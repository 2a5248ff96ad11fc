"""The checks of exercise 14."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from lab.exercises.kit import (
    Raised,
    Shape,
    StandIn,
    Student,
    check,
    expect,
    expect_that,
    raises,
)

START = 1000.0
KEEPALIVE, PATIENCE = 6.0, 5.0
"""Of the pool that meets a crowd."""
FIGURES = Shape("Figures", in_use=int, idle=int, waiting=int)
OPENS = ("test_a_caller_gets_an_open_connection",)
REUSES = (*OPENS, "test_a_released_connection_is_used_again")
LIMITS = (*REUSES, "test_no_more_than_size_are_opened")
SERVES = (*LIMITS, "test_who_waits_gets_what_is_released")
LINES = (*SERVES, "test_first_come_first_served")


class Setting:
    """A pool, the service that it opens connections to, and a clock that stands still."""

    def __init__(self, student: Student, *, size: int = 2, **options: Any) -> None:
        self.student = student
        self.clock = student.clock(START)
        self.slow = False
        """While it is True, who connects has to wait: `answer` or `refuse` settles it."""
        self.asked = 0
        self.opened: list[StandIn] = []
        self.answers: dict[int, asyncio.Future[None]] = {}
        self.callers: list[asyncio.Task[Any]] = []
        self.pool = student.new(
            "Pool", self.connect, size=size, clock=self.clock, sleep=self.clock.sleep, **options
        ).answering(release=None, sweep=None, close=None, figures=FIGURES)

    async def connect(self) -> StandIn:
        self.asked += 1
        number = self.asked
        if self.slow:
            self.student.calls.add(f"connect() number {number} is called")
            answer = self.answers[number] = asyncio.get_running_loop().create_future()
            await answer
        connection = self.student.stand_in(
            f"connection {number}", {"usable": True}, {"abort": {"usable": False}}
        )
        if self.slow:
            self.student.calls.add(f"connect() number {number} gives {connection.name}")
        self.opened.append(connection)
        return connection

    async def answer(self, number: int) -> None:
        """The service accepts the connection that call `number` of connect asks for."""
        self.answers[number].set_result(None)
        await self.student.settle()

    async def refuse(self, number: int) -> None:
        self.student.calls.add(f"connect() number {number} raises ConnectionRefusedError")
        self.answers[number].set_exception(ConnectionRefusedError("nobody listens"))
        await self.student.settle()

    async def ask(self) -> asyncio.Task[Any]:
        """One more caller, as far as it comes."""
        task = self.pool.start("acquire")
        self.callers.append(task)
        await self.student.settle()
        return task

    async def get(self, when: str = "while there is room", **more: str) -> StandIn:
        """A connection for one more caller, who must not have to wait."""
        return await self.got(await self.ask(), when, **more)

    async def got(self, task: asyncio.Task[Any], when: str, **more: str) -> StandIn:
        """The connection that a caller must have by now."""
        expect_that(task.done(), f"a connection {when}", "the caller still waits", **more)
        connection = await task
        expect_that(isinstance(connection, StandIn), f"what connect gave, {when}", connection, **more)
        return connection

    async def release(self, connection: StandIn, *, reusable: bool = True) -> None:
        if reusable:
            self.pool.release(connection)
        else:
            self.pool.release(connection, reusable=False)
        await self.student.settle()

    async def leave(self, task: asyncio.Task[Any]) -> None:
        """A caller goes away."""
        self.student.cancel(task)
        await self.student.settle()
        expect_gone(task)

    async def wait(self, seconds: float) -> None:
        self.clock.tick(seconds)
        await self.student.settle()

    def expect_figures(self, in_use: int, idle: int, waiting: int, when: str, **more: str) -> None:
        figures = self.pool.figures()
        got = [figures.in_use, figures.idle, figures.waiting]
        expect(got, [in_use, idle, waiting], of=f"in use, idle and waiting {when}", **more)

    def nth(self, number: int) -> StandIn | str:
        """The connection that call `number` of connect gave."""
        name = f"connection {number}"
        return next((c for c in self.opened if c.name == name), f"{name}, newly opened")

    def open(self) -> list[str]:
        """The names of the connections that were opened and not aborted."""
        self.opened = [connection for connection in self.opened if not aborted(connection)]
        return sorted(connection.name for connection in self.opened)

    async def expect_all_slots(self, size: int, mistake: str) -> None:
        """`size` callers, and no more, are served, when all others have gone and given back what they had."""
        tasks = [await self.ask() for _ in range(size + 1)]
        for number, task in enumerate(tasks[:size], 1):
            await self.got(
                task, f"for caller {number} of {size} when all slots are free again", mistake=mistake
            )
        expect_that(
            not tasks[size].done(),
            f"caller {size + 1} waits, with size={size}",
            "it is served",
            mistake=mistake,
        )


def expect_gone(task: asyncio.Task[Any]) -> None:
    """The end of a caller that went away; what is given to it now nobody gives back."""
    expect_that(task.done(), "the end of acquire for a caller that went away", "it goes on")
    served = not task.cancelled() and task.exception() is None
    expect_that(not served, "CancelledError for a caller that went away", "a connection")


def aborted(connection: StandIn) -> bool:
    return "abort" in connection.told()


@check(
    points=1,
    why="A pool that has nothing yet must not keep anybody waiting.",
    look="the simplest case first: take a slot and `return await self._connect()`",
)
async def test_a_caller_gets_an_open_connection(student: Student) -> None:
    setting = Setting(student)
    setting.expect_figures(0, 0, 0, "at the beginning")
    connection = await setting.get("for the first caller")
    expect(connection, setting.nth(1), of="what acquire gives")
    setting.expect_figures(1, 0, 0, "with one connection given out")
    second = await setting.get("for the second caller")
    expect(second, setting.nth(2), of="what acquire gives to the second")
    setting.expect_figures(2, 0, 0, "with two connections given out")


@check(
    points=1,
    why="Each service has a pool of its own; one that is exhausted must not stop the others.",
    after=OPENS,
    look="where the figures live: in the object (`self.…` in `__init__`), or in the class, for all objects",
)
async def test_two_pools_share_nothing(student: Student) -> None:
    first, second, third = (Setting(student, size=1) for _ in range(3))
    await first.get()
    await first.ask()
    await second.release(await second.get())
    third.expect_figures(0, 0, 0, "in a third pool that nobody has used")
    connection = await third.get("from the third pool")
    expect(connection, third.nth(1), of="what the third pool gives")


@check(
    points=3,
    why="A connection costs a round trip or more; a request on an open one costs none.",
    after=OPENS,
    look="where `release` puts a connection, and where `acquire` looks before it opens one",
    mistake="reuse",
)
async def test_a_released_connection_is_used_again(student: Student) -> None:
    setting = Setting(student)
    connection = await setting.get()
    await setting.release(connection)
    setting.expect_figures(0, 1, 0, "after the release")
    for _ in range(3):
        expect(await setting.get("that is idle"), connection, of="what acquire gives while one is idle")
        setting.expect_figures(1, 0, 0, "with that one given out again")
        await setting.release(connection)
    expect(setting.asked, 1, of="calls of connect for four callers, one after another")
    expect(aborted(connection), False, of="the connection was aborted")


@check(
    points=2,
    why="So a few connections stay warm and the rest can grow old; the other way round all stay half warm.",
    after=REUSES,
    look="from which end of the idle ones `acquire` takes",
    mistake="warmest",
)
async def test_the_connection_used_last_comes_first(student: Student) -> None:
    setting = Setting(student, size=3)
    connections = [await setting.get() for _ in range(3)]
    for connection in (connections[1], connections[2], connections[0]):
        await setting.release(connection)
        await setting.wait(0.5)
    got = [await setting.get("that is idle") for _ in range(3)]
    expect(
        got,
        [connections[0], connections[2], connections[1]],
        of="what acquire gives after connection 2, 3 and 1 were released, in this order",
    )
    expect(setting.asked, 3, of="calls of connect")


@check(
    points=4,
    why="The limit protects the service. A burst that comes while nothing is open yet must not break it.",
    after=REUSES,
    look="when a slot is taken: before `await self._connect()`, since others come while it waits",
    mistake="size",
)
async def test_no_more_than_size_are_opened(student: Student) -> None:
    for size in (2, 3):
        setting = Setting(student, size=size)
        setting.slow = True
        callers = [await setting.ask() for _ in range(5)]
        expect_that(
            setting.asked <= size,
            f"{size} calls of connect for five callers at the same time, with size={size}",
            f"{setting.asked} calls",
        )
        expect_that(
            setting.asked == size,
            f"{size} connections being opened at the same time, with size={size}",
            f"{setting.asked}",
            look="whoever has a slot opens its connection at once; who opens one must hold up nobody else",
            mistake="one-by-one",
        )
        setting.expect_figures(size, 0, 5 - size, "while they are being opened", mistake="figures")
        for number in range(size, 0, -1):
            await setting.answer(number)
            await setting.got(callers[number - 1], f"for caller {number} when its connection is open")
        setting.expect_figures(size, 0, 5 - size, "when they are open", mistake="figures")
        expect([task.done() for task in callers[size:]], [False] * (5 - size), of="the others are served")


@check(
    points=3,
    why="Who waits wants the next connection that is free, and not the next that is new.",
    after=LIMITS,
    look="what `release` does where somebody waits: the connection goes to the first in the line",
    mistake="hand-over",
)
async def test_who_waits_gets_what_is_released(student: Student) -> None:
    setting = Setting(student, size=1)
    connection = await setting.get()
    waiting = await setting.ask()
    setting.expect_figures(1, 0, 1, "with one who waits", mistake="figures")
    await setting.release(connection)
    got = await setting.got(waiting, "for who waits, after the release")
    expect(got, connection, of="what it gets")
    expect(setting.asked, 1, of="calls of connect")
    setting.expect_figures(1, 0, 0, "after that", mistake="figures")
    await setting.release(connection)
    setting.expect_figures(0, 1, 0, "at the end", mistake="figures")


@check(
    points=3,
    why="In a line without an order whoever has bad luck waits for ever.",
    after=SERVES,
    look="at which end of the line callers are put, and from which end they are taken",
    mistake="order",
)
async def test_first_come_first_served(student: Student) -> None:
    setting = Setting(student, size=2)
    held = [await setting.get(), await setting.get()]
    callers = [await setting.ask() for _ in range(5)]
    for served in range(1, 6):
        connection = held.pop(0)
        await setting.release(connection)
        done = [number for number, task in enumerate(callers, 1) if task.done()]
        expect(done, list(range(1, served + 1)), of=f"who of five is served after {served} releases")
        held.append(await setting.got(callers[served - 1], f"for caller {served}"))
        expect(held[-1], connection, of=f"what caller {served} gets")
        setting.expect_figures(2, 0, 5 - served, "then", mistake="figures")


@check(
    points=3,
    why="Services close what is idle for long; better to be the one who closes than the one who finds out.",
    after=REUSES,
    look="since when each one is idle, and the comparison with `keepalive`",
    mistake="keepalive",
)
async def test_an_old_connection_is_not_given_out(student: Student) -> None:
    for keepalive in (4.0, 10.0):
        setting = Setting(student, size=2, keepalive=keepalive)
        first, second = await setting.get(), await setting.get()
        await setting.release(first)
        await setting.wait(1.0)
        await setting.release(second)
        await setting.wait(keepalive - 1.25)
        got = await setting.get()
        expect(
            got, second, of=f"what acquire gives {keepalive - 1.25:g} s later, with keepalive={keepalive:g}"
        )
        await setting.release(second)
        await setting.wait(keepalive - 0.25)
        expect(
            await setting.get(), second, of=f"what acquire gives {keepalive - 0.25:g} s after its last use"
        )
        await setting.release(second)
        await setting.wait(keepalive)
        third = await setting.get("when all that is idle is too old")
        expect(third, setting.nth(3), of=f"what acquire gives after {keepalive:g} s without any use")
        expect(
            [aborted(first), aborted(second), aborted(third)],
            [True, True, False],
            of="connections 1, 2 and 3 are aborted",
            look="what the pool drops it aborts, or the socket stays open",
            mistake="not-aborted",
        )
        setting.expect_figures(1, 0, 0, "then", mistake="figures")


@check(
    points=3,
    why="In a quiet night nobody calls `acquire`, and the service keeps a hundred sockets for nothing.",
    after=("test_an_old_connection_is_not_given_out", "test_the_connection_used_last_comes_first"),
    look="`sweep`: each idle connection by its own time; what stays keeps its place",
    mistake="sweep",
)
async def test_sweeping_closes_what_is_too_old(student: Student) -> None:
    setting = Setting(student, size=5, keepalive=4.0)
    connections = [await setting.get() for _ in range(5)]
    for connection in connections[:4]:
        await setting.release(connection)
        await setting.wait(1.0)
    setting.pool.sweep()
    expect(
        [aborted(connection) for connection in connections],
        [True, False, False, False, False],
        of="connections 1 to 5 are aborted, the first four idle for 4, 3, 2 and 1 s",
    )
    setting.expect_figures(1, 3, 0, "after the sweep")
    connections[2].set(usable=False)
    setting.pool.sweep()
    expect(aborted(connections[2]), True, of="connection 3, which the service has closed, is aborted")
    setting.expect_figures(1, 2, 0, "after the next sweep")
    await setting.wait(0.75)
    setting.pool.sweep()
    setting.expect_figures(1, 2, 0, "0.75 s later")
    expect([await setting.get() for _ in range(2)], [connections[3], connections[1]], of="what acquire gives")
    await setting.release(connections[1])
    await setting.wait(3.75)
    setting.pool.sweep()
    setting.expect_figures(2, 1, 0, "3.75 s after a release")
    await setting.wait(0.25)
    setting.pool.sweep()
    setting.expect_figures(2, 0, 0, "4 s after it")
    expect(
        [aborted(connection) for connection in (connections[3], connections[4])],
        [False, False],
        of="connections that are in use are aborted",
    )


@check(
    points=3,
    why="The service may close an idle connection at any moment; a request on it is lost (RFC 9112 §9.3.1).",
    after=REUSES,
    look="`usable`, once more, before an idle connection is given out",
    mistake="closed-while-idle",
)
async def test_one_that_closed_while_idle_is_not_given_out(student: Student) -> None:
    setting = Setting(student, size=3)
    connections = [await setting.get() for _ in range(3)]
    for connection in connections:
        await setting.release(connection)
    connections[2].set(usable=False)
    connections[1].set(usable=False)
    expect(await setting.get("that is idle"), connections[0], of="what acquire gives")
    expect(
        [aborted(connection) for connection in connections],
        [False, True, True],
        of="connections 1, 2 and 3 are aborted",
        look="what the pool drops it aborts: the service has closed its side, not ours",
        mistake="not-aborted",
    )
    setting.expect_figures(1, 0, 0, "then", mistake="figures")
    await setting.release(connections[0])
    connections[0].set(usable=False)
    expect(await setting.get("when nothing idle is usable"), setting.nth(4), of="what acquire gives")


@check(
    points=3,
    why="After half an answer nobody knows where the next one begins: one client would read another's.",
    after=SERVES,
    look="`release`: with reusable=False, or a connection that is not usable, it is not kept; its slot is",
    mistake="broken",
)
async def test_a_broken_connection_is_not_used_again(student: Student) -> None:
    for reusable in (False, True):
        setting = Setting(student, size=1)
        connection = await setting.get()
        if reusable:
            connection.set(usable=False)
        await setting.release(connection, reusable=reusable)
        setting.expect_figures(0, 0, 0, "after the release of one that must not be used again")
        expect(
            aborted(connection),
            True,
            of="connection 1 is aborted",
            look="what the pool drops it aborts, or the socket stays open",
            mistake="not-aborted",
        )
        second = await setting.get("in its place")
        expect(second, setting.nth(2), of="what acquire gives")
        waiting = [await setting.ask(), await setting.ask()]
        if reusable:
            second.set(usable=False)
        await setting.release(second, reusable=reusable)
        third = await setting.got(waiting[0], "for the first in the line, in place of the broken one")
        expect(third, setting.nth(3), of="what it gets")
        setting.expect_figures(1, 0, 1, "then", mistake="figures")


@check(
    points=3,
    why="Under load there is always a newcomer. If newcomers win, those who wait never do.",
    after=(*LINES, "test_a_broken_connection_is_not_used_again"),
    look="the moment between `release` and the first in the line going on: to whom does the slot belong?",
    mistake="overtaken",
)
async def test_nobody_overtakes_the_line(student: Student) -> None:
    for reusable in (True, False):
        setting = Setting(student, size=1)
        connection = await setting.get()
        first = await setting.ask()
        with student.moment():
            late = setting.pool.start("acquire")
            setting.pool.release(connection, reusable=reusable)
        await student.settle()
        expect(
            [first.done(), late.done()],
            [True, False],
            of="who is served: the one in the line, one who comes in the moment of the release",
        )
        setting.expect_figures(1, 0, 1, "then", mistake="figures")


@check(
    points=3,
    why="A service that restarts refuses for a second. The pool must not be smaller for ever because of it.",
    after=LINES,
    look="`connect` raised: its caller gets the exception, and the slot goes to the first in the line",
    mistake="connect-fails",
)
async def test_who_cannot_connect_gives_the_slot_on(student: Student) -> None:
    setting = Setting(student, size=1)
    setting.slow = True
    callers = [await setting.ask() for _ in range(3)]
    for number in (1, 2):
        await setting.refuse(number)
        expect(callers[number - 1].done(), True, of=f"caller {number} has ended when its connect() has")
        with raises("ConnectionRefusedError", when="connect raised one"):
            await callers[number - 1]
        expect(setting.asked, number + 1, of="calls of connect: the next in the line has the slot now")
        setting.expect_figures(1, 0, 2 - number, "then", mistake="figures")
    await setting.answer(3)
    await setting.got(callers[2], "for caller 3")
    setting = Setting(student, size=2)
    setting.slow = True
    for number in (1, 2, 3):
        await setting.ask()
        await setting.refuse(number)
        setting.expect_figures(0, 0, 0, f"after {number} connects that failed", mistake="figures")
    setting.slow = False
    await setting.expect_all_slots(2, "connect-fails")


@check(
    points=3,
    why="A client waits for seconds, not for ever. It gets its 503 and can go elsewhere.",
    after=LINES,
    look="the place in the line and an alarm side by side: `sleep(patience)` in a task; whichever is first",
    mistake="patience",
)
async def test_nobody_waits_longer_than_patience(student: Student) -> None:
    for patience in (5.0, 2.0):
        setting = Setting(student, size=1, patience=patience)
        connection = await setting.get()
        first = await setting.ask()
        await setting.wait(patience - 0.25)
        second = await setting.ask()
        expect(
            first.done(), False, of=f"the end of the wait after {patience - 0.25:g} s, patience={patience:g}"
        )
        await setting.wait(0.25)
        expect(
            [first.done(), second.done()], [True, False], of=f"who has stopped waiting after {patience:g} s"
        )
        with raises("PoolTimeout", when=f"patience={patience:g} and nothing became free"):
            await first
        setting.expect_figures(1, 0, 1, "then", mistake="place-kept")
        await setting.release(connection)
        got = await setting.got(second, "for the next in the line", mistake="place-kept")
        expect(got, connection, of="what it gets", mistake="place-kept")
        setting.expect_figures(1, 0, 0, "at the end", mistake="place-kept")


@check(
    points=2,
    why="The line is a place where requests die of old age; opening a connection has a limit of its own.",
    after=("test_nobody_waits_longer_than_patience",),
    look="what the alarm belongs to: the line alone, not `connect`, and not a caller that was served",
    mistake="patience-connect",
)
async def test_patience_is_for_the_line_only(student: Student) -> None:
    setting = Setting(student, size=1, patience=5.0)
    setting.slow = True
    first, second = await setting.ask(), await setting.ask()
    await setting.wait(4.0)
    await setting.refuse(1)
    expect(setting.asked, 2, of="calls of connect: the second caller has the slot")
    await setting.wait(60.0)
    expect(second.done(), False, of="the end of the second caller's wait for its connect()")
    await setting.answer(2)
    await setting.got(second, "when it is open")
    await setting.wait(60.0)
    setting.expect_figures(1, 0, 0, "a minute later", mistake="figures")
    with raises("ConnectionRefusedError"):
        await first


@check(
    points=3,
    why="Clients that wait are those that go away. Whoever leaves must not be served in their absence.",
    after=LINES,
    look="CancelledError in the line: its place must go (`except BaseException`, or `finally`)",
    mistake="gone-waiting",
)
async def test_who_goes_away_leaves_the_line(student: Student) -> None:
    setting = Setting(student, size=1)
    connection = await setting.get()
    callers = [await setting.ask() for _ in range(4)]
    for number, left in ((1, 3), (3, 2)):
        await setting.leave(callers[number - 1])
        setting.expect_figures(1, 0, left, f"after caller {number} of the four who wait has gone")
    await setting.release(connection)
    expect(await setting.got(callers[1], "for caller 2"), connection, of="what it gets")
    await setting.leave(callers[3])
    await setting.release(connection)
    setting.expect_figures(0, 1, 0, "when all have gone")
    await setting.expect_all_slots(1, "gone-waiting")


@check(
    points=3,
    why="A pool that loses a slot an hour is found dead after a weekend.",
    after=LINES,
    look="CancelledError is no Exception: only `finally` and `except BaseException` see it",
    mistake="gone-connecting",
)
async def test_who_goes_away_while_connecting_gives_the_slot_on(student: Student) -> None:
    setting = Setting(student, size=1)
    setting.slow = True
    first, second = await setting.ask(), await setting.ask()
    await setting.leave(first)
    expect(setting.asked, 2, of="calls of connect: the next in the line has the slot now")
    setting.expect_figures(1, 0, 0, "then")
    await setting.leave(second)
    setting.expect_figures(0, 0, 0, "when the second has gone as well")
    setting.slow = False
    await setting.expect_all_slots(1, "gone-connecting")


@check(
    points=4,
    why="Served and gone at once: it is rare, so it is never tested, and it costs a connection each time.",
    after=("test_who_goes_away_leaves_the_line", "test_nobody_overtakes_the_line"),
    look="a caller that is cancelled although its place was served already: what it was given goes on",
    mistake="same-moment",
)
async def test_who_is_served_and_gone_in_one_moment_loses_nothing(student: Student) -> None:
    for released_first in (True, False):
        for reusable in (True, False):
            setting = Setting(student, size=1)
            connection = await setting.get()
            first, second = await setting.ask(), await setting.ask()
            with student.moment():
                if not released_first:
                    student.cancel(first)
                setting.pool.release(connection, reusable=reusable)
                if released_first:
                    student.cancel(first)
            await student.settle()
            expect_gone(first)
            got = await setting.got(second, "for the next in the line")
            expect(got, setting.nth(1 if reusable else 2), of="what it gets")
            setting.expect_figures(1, 0, 0, "then")
            third = await setting.ask()
            with student.moment():
                if not released_first:
                    student.cancel(third)
                setting.pool.release(got, reusable=reusable)
                if released_first:
                    student.cancel(third)
            await student.settle()
            expect_gone(third)
            setting.expect_figures(0, int(reusable), 0, "when nobody is left")
            await setting.expect_all_slots(1, "same-moment")


@check(
    points=2,
    why="At the limit both come at once: patience is over, and something is free.",
    after=("test_nobody_waits_longer_than_patience", "test_nobody_overtakes_the_line"),
    look="after the wait: a place that was served counts, whatever the alarm says",
    mistake="served-and-late",
)
async def test_who_is_served_and_late_in_one_moment_loses_nothing(student: Student) -> None:
    for released_first in (True, False):
        setting = Setting(student, size=1, patience=5.0, keepalive=60.0)
        connection = await setting.get()
        waiting = await setting.ask()
        with student.moment():
            if released_first:
                setting.pool.release(connection)
            setting.clock.tick(5.0)
            if not released_first:
                setting.pool.release(connection)
        await student.settle()
        expect(waiting.done(), True, of="the caller's wait is over")
        try:
            await waiting
        except Raised as raised:
            # Too late is an answer too, where nothing is lost by it.
            if "PoolTimeout" not in raised.mro:
                raise
        else:
            await setting.release(connection)
        setting.expect_figures(0, 1, 0, "when it has been given back")
        expect(await setting.get("that is idle"), connection, of="what acquire gives")


@check(
    points=1,
    why="Between the hand-over and the request there is time enough for a service to close.",
    after=(*SERVES, "test_one_that_closed_while_idle_is_not_given_out"),
    look="`acquire` gives nothing that is not usable, wherever it has it from",
    mistake="closed-on-the-way",
)
async def test_one_that_closes_on_its_way_is_replaced(student: Student) -> None:
    setting = Setting(student, size=1)
    connection = await setting.get()
    waiting = await setting.ask()
    with student.moment():
        setting.pool.release(connection)
        connection.set(usable=False)
    await student.settle()
    expect(await setting.got(waiting, "after the release"), setting.nth(2), of="what who waits gets")
    expect(aborted(connection), True, of="connection 1 is aborted", mistake="not-aborted")
    setting.expect_figures(1, 0, 0, "then", mistake="figures")


@check(
    points=3,
    why="A gateway that stops closes its connections, or the service finds them dead.",
    after=LINES,
    look="`close`: what is idle, who waits, who comes later, and what comes back",
    mistake="close",
)
async def test_a_closed_pool_gives_nothing_out(student: Student) -> None:
    setting = Setting(student, size=3)
    first, second, third = [await setting.get() for _ in range(3)]
    await setting.release(first)
    await setting.release(second)
    setting.pool.close()
    await student.settle()
    expect(
        [aborted(first), aborted(second), aborted(third)],
        [True, True, False],
        of="connections 1, 2 and 3 are aborted, the third being in use",
    )
    setting.expect_figures(1, 0, 0, "after close")
    late = await setting.ask()
    expect(late.done(), True, of="an answer for who comes after close")
    with raises("PoolClosed", when="the pool is closed"):
        await late
    await setting.release(third)
    expect(aborted(third), True, of="connection 3, released after close, is aborted")
    setting.expect_figures(0, 0, 0, "at the end")
    setting.pool.close()


@check(
    points=2,
    why="Nobody may hang in a pool that is gone.",
    after=("test_a_closed_pool_gives_nothing_out",),
    look="`close` ends the line; who has a slot already goes on",
    mistake="close-line",
)
async def test_closing_sends_those_away_who_wait(student: Student) -> None:
    setting = Setting(student, size=1)
    setting.slow = True
    callers = [await setting.ask() for _ in range(3)]
    setting.pool.close()
    await student.settle()
    expect(
        [task.done() for task in callers], [False, True, True], of="who has ended: one opening, two waiting"
    )
    for waiting in callers[1:]:
        with raises("PoolClosed", when="the pool is closed while it waits"):
            await waiting
    setting.expect_figures(1, 0, 0, "after close")
    await setting.answer(1)
    connection = await setting.got(callers[0], "for who was opening one when the pool was closed")
    await setting.release(connection)
    expect(aborted(connection), True, of="that one, when it is released, is aborted")
    setting.expect_figures(0, 0, 0, "at the end")


@check(
    points=1,
    why="Who says nothing gets what the gateway itself has: 100 connections, 4 s idle, 10 s in the line.",
    after=("test_nobody_waits_longer_than_patience", "test_sweeping_closes_what_is_too_old"),
    look="the constructor's defaults: do not change them",
)
async def test_the_defaults_are_as_they_were(student: Student) -> None:
    setting = Setting(student)
    pool = student.new("Pool", setting.connect, clock=setting.clock, sleep=setting.clock.sleep)
    pool.answering(figures=FIGURES)
    tasks = [pool.start("acquire") for _ in range(101)]
    await student.settle()
    expect(sum(task.done() for task in tasks), 100, of="callers of 101 that are served")
    await setting.wait(9.75)
    expect(tasks[100].done(), False, of="the end of the last one's wait after 9.75 s")
    await setting.wait(0.25)
    expect(tasks[100].done(), True, of="the end of its wait after 10 s")
    pool.release(await tasks[0])
    await setting.wait(3.75)
    pool.sweep()
    expect(pool.figures().idle, 1, of="idle after 3.75 s")
    await setting.wait(0.25)
    pool.sweep()
    expect(pool.figures().idle, 0, of="idle after 4 s")


@check(
    points=4,
    why="What holds for the examples must hold for any crowd.",
    hidden=True,
    after=(
        "test_who_cannot_connect_gives_the_slot_on",
        "test_a_broken_connection_is_not_used_again",
        "test_who_goes_away_while_connecting_gives_the_slot_on",
        "test_who_goes_away_leaves_the_line",
        "test_who_is_served_and_gone_in_one_moment_loses_nothing",
    ),
    look="after each step: in use + idle at most size, nobody waits while a slot is free, nothing is lost",
    mistake="figures",
)
async def test_any_crowd(student: Student) -> None:
    dice = random.Random(student.seed)
    for size in (1, 3):
        await Crowd(Setting(student, size=size, keepalive=KEEPALIVE, patience=PATIENCE), size, dice).play(70)


class Crowd:
    """Callers who come, go, break things and go away, and what a pool should make of it."""

    def __init__(self, setting: Setting, size: int, dice: random.Random) -> None:
        self.setting = setting
        self.size = size
        self.dice = dice
        self.held: list[StandIn] = []
        self.idle: list[tuple[StandIn, float]] = []
        self.opening: list[tuple[int, asyncio.Task[Any]]] = []
        self.line: list[tuple[asyncio.Task[Any], float]] = []
        self.asked = 0

    async def play(self, steps: int) -> None:
        self.setting.slow = True
        for _ in range(steps):
            moves = [self.come, self.come, self.let_time_pass]
            if self.held:
                moves += [self.give_back, self.give_back, self.break_down]
            if self.opening:
                moves += [self.accept, self.accept, self.refuse, self.leave_opening]
            if self.line:
                moves += [self.leave_line]
            if self.idle:
                moves += [self.close_idle]
            await self.dice.choice(moves)()
            self.look()

    def look(self) -> None:
        figures = self.setting.pool.figures()
        expect(
            [figures.in_use, figures.idle, figures.waiting],
            [len(self.held) + len(self.opening), len(self.idle), len(self.line)],
            of="in use, idle and waiting",
        )
        expect(self.setting.asked, self.asked, of="calls of connect so far")
        expect([task.done() for task, _ in self.line], [False] * len(self.line), of="who waits is served")
        known = sorted(connection.name for connection in [*self.held, *(c for c, _ in self.idle)])
        expect(self.setting.open(), known, of="connections that are open")

    async def come(self) -> None:
        task = await self.setting.ask()
        while self.idle:
            connection, since = self.idle.pop()
            if since + KEEPALIVE > self.setting.clock.now:
                expect(await self.setting.got(task, "that is idle"), connection, of="what acquire gives")
                self.held.append(connection)
                return
        if len(self.held) + len(self.opening) < self.size:
            self.open_one(task)
        else:
            self.line.append((task, self.setting.clock.now))

    async def give_back(self) -> None:
        connection = self.held.pop(self.dice.randrange(len(self.held)))
        await self.setting.release(connection)
        if self.line:
            task, _ = self.line.pop(0)
            expect(await self.setting.got(task, "for the first in the line"), connection, of="what it gets")
            self.held.append(connection)
        else:
            self.idle.append((connection, self.setting.clock.now))

    async def break_down(self) -> None:
        connection = self.held.pop(self.dice.randrange(len(self.held)))
        await self.setting.release(connection, reusable=False)
        self.slot_goes_on()

    async def accept(self) -> None:
        number, task = self.opening.pop(self.dice.randrange(len(self.opening)))
        await self.setting.answer(number)
        self.held.append(await self.setting.got(task, "when it is open"))

    async def refuse(self) -> None:
        number, task = self.opening.pop(self.dice.randrange(len(self.opening)))
        await self.setting.refuse(number)
        with raises("ConnectionRefusedError", when="connect raised one"):
            await task
        self.slot_goes_on()

    async def leave_opening(self) -> None:
        _, task = self.opening.pop(self.dice.randrange(len(self.opening)))
        await self.setting.leave(task)
        self.slot_goes_on()

    async def leave_line(self) -> None:
        task, _ = self.line.pop(self.dice.randrange(len(self.line)))
        await self.setting.leave(task)

    async def close_idle(self) -> None:
        """The service closes one that is idle, and the next sweep finds it."""
        connection, _ = self.idle.pop(self.dice.randrange(len(self.idle)))
        connection.set(usable=False)
        self.sweep()

    async def let_time_pass(self) -> None:
        await self.setting.wait(self.dice.choice((0.5, 1.0, 3.5)))
        while self.line and self.line[0][1] + PATIENCE <= self.setting.clock.now:
            task, _ = self.line.pop(0)
            expect(task.done(), True, of="the end of the wait when patience is over")
            with raises("PoolTimeout", when="patience is over"):
                await task
        self.sweep()

    def sweep(self) -> None:
        self.setting.pool.sweep()
        self.idle = [(c, since) for c, since in self.idle if since + KEEPALIVE > self.setting.clock.now]

    def slot_goes_on(self) -> None:
        """A slot without a connection: the first in the line opens one."""
        if self.line:
            self.open_one(self.line.pop(0)[0])

    def open_one(self, task: asyncio.Task[Any]) -> None:
        self.asked += 1
        self.opening.append((self.asked, task))
