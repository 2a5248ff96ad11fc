"""The checks of exercise 12: a client and a service in memory, with the submission between them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any

from lab.exercises.kit import (
    Calls,
    Failure,
    Raised,
    Record,
    Student,
    Theirs,
    check,
    expect,
    expect_that,
    show,
)

RESERVED = (1005, 1006, 1015)
"""Codes that stand in no close frame (RFC 6455 §7.4.1)."""

FIRST = ("test_a_message_reaches_the_other_side",)
OVER = (*FIRST, "test_when_one_side_has_gone_it_is_over")
CODES = (*OVER, "test_code_and_reason_cross")
ASKED = ("test_the_service_is_asked_before_the_client_is_answered",)


class Peer:
    """One end of a WebSocket, of which the check plays the far side.

    What it says is given by `receive`; what it is told stands in `heard`. While it is slow no `send` comes
    back. When it is closed it goes, as a living peer does; a frozen one stays, and says nothing.
    """

    def __init__(self, name: str, calls: Calls) -> None:
        self.name = name
        self.frozen = False
        self.heard: list[Any] = []
        self.taken = 0
        """How many of its messages were received."""
        self.sends = 0
        """How often `send` was called, whatever came of it."""
        self.closes: list[list[Any]] = []
        """Code and reason of each `close`."""
        self.answers: list[list[Any]] = []
        """What the handshake was answered: ["accept", subprotocol] or ["refuse", status]."""
        self.asked = 0
        """How often any of its methods has come to its end: while it grows, there is more to come."""
        self._calls = calls
        self._words: deque[str | bytes] = deque()
        self._end: Exception | None = None
        self._news = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()

    def record(self, **data: Any) -> Record:
        """What the submission gets."""
        methods = (self.receive, self.send, self.close, self.accept, self.refuse)
        return Record(self.name, data | {method.__name__: method for method in methods})

    # -- what the check does ---------------------------------------------------------------------------------

    def says(self, *messages: str | bytes) -> None:
        words = ", ".join(show(message, 40) for message in messages)
        self._calls.add(f"the {self.name} says {words if len(words) < 90 else f'{len(messages)} messages'}")
        self._words.extend(messages)
        self._news.set()

    def goes(self, code: int, reason: str = "") -> None:
        how = {1005: "closes without a code", 1006: "vanishes", 1015: "fails in TLS"}
        said = how.get(code, "closes" if code == 1000 and not reason else f"closes with {code} {reason!r}")
        self._calls.add(f"the {self.name} {said}: Closed({code}, {reason!r})")
        self._ends(Theirs("Closed", code, reason))

    def breaks(self, error: Exception) -> None:
        self._calls.add(f"the {self.name}'s methods raise {error!r}")
        self._ends(error)

    def slow(self) -> None:
        self._calls.add(f"the {self.name} reads no more")
        self._reads.clear()

    def quick(self) -> None:
        self._calls.add(f"the {self.name} reads again")
        self._reads.set()

    def _ends(self, end: Exception) -> None:
        self._end = end
        self._news.set()
        self._reads.set()

    # -- what the submission calls ---------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        while not self._words:
            if self._end is not None:
                raise self._end
            self._news.clear()
            await self._news.wait()
        self.taken += 1
        self.asked += 1
        return self._words.popleft()

    async def send(self, message: Any) -> None:
        self.sends += 1
        entry = self._calls.add(f"await {self.name}.send({show(message, 60)})")
        await asyncio.sleep(0)  # others may run, as where there is a network
        await self._reads.wait()
        self.asked += 1
        if self._end is not None:
            entry.append("Closed" if isinstance(self._end, Theirs) else type(self._end).__name__)
            raise self._end
        self.heard.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._calls.add(f"await {self.name}.close({code}, {show(reason, 60)})")
        await asyncio.sleep(0)
        self.asked += 1
        self.closes.append([code, reason])
        if self._end is None and not self.frozen:
            self._ends(Theirs("Closed", code, reason))

    async def accept(self, subprotocol: str | None = None) -> None:
        entry = self._calls.add(f"await {self.name}.accept({show(subprotocol, 60)})")
        await asyncio.sleep(0)
        self.asked += 1
        if self._end is not None:
            entry.append("Closed")
            raise self._end
        self.answers.append(["accept", subprotocol])

    async def refuse(self, status: int) -> None:
        self._calls.add(f"await {self.name}.refuse({status})")
        self.answers.append(["refuse", status])


class Talk:
    """A client and a service, and a relay of the submission's that carries between them."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self.client = Peer("client", student.calls)
        self.service = Peer("service", student.calls)
        self.task = self.begin()

    def begin(self) -> asyncio.Task[Any]:
        return self.student.start("relay", self.client.record(), self.service.record())

    async def settle(self) -> None:
        """Let everything go as far as it can; what the submission raised comes out of here."""
        before = -1
        while before != (now := self.client.asked + self.service.asked):
            before = now
            await self.student.settle()
        if self.task.done():
            await self.task

    async def over(self, when: str, mistake: str = "never-over") -> None:
        """The submission must have come to its end by now."""
        await self.settle()
        expect_that(self.task.done(), f"to be over when {when}", "it goes on for ever", mistake=mistake)


class Handshake(Talk):
    """The same from the beginning: `proxy`, with a service that says `error`, or yes when `go` is set."""

    def __init__(
        self,
        student: Student,
        offered: list[str] | None = None,
        chosen: str | None = None,
        error: Exception | None = None,
    ) -> None:
        self.offered = offered or []
        self.chosen = chosen
        self.error = error
        self.dialled: list[Any] = []
        self.go = asyncio.Event()
        self.go.set()
        super().__init__(student)

    def begin(self) -> asyncio.Task[Any]:
        return self.student.start("proxy", self.client.record(subprotocols=self.offered), self.dial)

    async def dial(self, subprotocols: list[str]) -> Record:
        entry = self.student.calls.add(f"await dial({show(subprotocols, 60)})")
        self.dialled.append(subprotocols)
        await self.go.wait()
        if self.error is not None:
            entry.append(
                " ".join(map(str, self.error.args)) if isinstance(self.error, Theirs) else repr(self.error)
            )
            raise self.error
        return self.service.record(subprotocol=self.chosen)


def ways(talk: Talk) -> tuple[tuple[Peer, Peer], tuple[Peer, Peer]]:
    """From whom to whom, both ways."""
    return (talk.client, talk.service), (talk.service, talk.client)


async def both_ways(student: Student) -> Any:
    """A talk of its own for each way: talk, from whom, to whom."""
    for way in (0, 1):
        talk = Talk(student)
        yield talk, *ways(talk)[way]


def closed_with(peer: Peer, codes: tuple[int, ...], mistake: str) -> None:
    """It must have been closed with one of these codes, and any reason for which there is room."""
    got = [code for code, _ in peer.closes]
    expect_that(
        bool(got) and got[0] in codes,
        f"the {peer.name} is closed with {' or '.join(map(str, codes))}",
        f"it is closed with {got[0]}" if got else "it is left open",
        mistake="reserved" if set(got) & set(RESERVED) else mistake,
    )
    reason = peer.closes[0][1]
    short = isinstance(reason, str) and len(reason.encode()) <= 123
    expect_that(short, "a reason of at most 123 bytes: a close frame has no room for more", reason)


# -- relay: messages -----------------------------------------------------------------------------------------


@check(
    points=2,
    why="A proxy is there to carry; both ways.",
    look="two tasks, each with a loop: `await source.receive()`, `await target.send(message)`",
)
async def test_a_message_reaches_the_other_side(student: Student) -> None:
    talk = Talk(student)
    for source, target in ways(talk):
        source.says("hello")
        await talk.settle()
        expect(target.heard, ["hello"], of=f"what the {target.name} is sent", mistake="one-way")


@check(
    points=2,
    why="A WebSocket is no sequence of questions and answers: each side speaks when it likes.",
    after=FIRST,
    look="the two directions: neither may wait for a message of the other",
    mistake="lockstep",
)
async def test_each_side_speaks_when_it_likes(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        source.says("one", "two", "three")
        await talk.settle()
        expect(target.heard, ["one", "two", "three"], of=f"what the {target.name} is sent")
        target.says("thanks")
        source.says("four")
        await talk.settle()
        expect(source.heard, ["thanks"], of=f"what the {source.name} is sent")
        expect(target.heard[3:], ["four"], of=f"what the {target.name} is sent after that")


@check(
    points=2,
    why="Pictures and sound are no text (RFC 6455 §5.6).",
    after=FIRST,
    look="the message that you hand on: the very one that you received",
    mistake="kinds",
)
async def test_text_stays_text_and_bytes_stay_bytes(student: Student) -> None:
    messages = ["größer 🙂", bytes(range(256)), b"only bytes", "line\nbreak\0", " ", b"\xff\xfe" * 500]
    async for talk, source, target in both_ways(student):
        source.says(*messages)
        await talk.settle()
        expect(target.heard, messages, of=f"what the {target.name} is sent")


@check(
    points=1,
    why="An empty message is a message: many a heartbeat is one.",
    after=FIRST,
    look="how your loop finds out that it is over: by `Closed`, and by nothing else",
    mistake="empty",
)
async def test_an_empty_message_is_one_too(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        source.says("", b"", "after them")
        await talk.settle()
        expect(target.heard, ["", b"", "after them"], of=f"what the {target.name} is sent")


# -- relay: the end ------------------------------------------------------------------------------------------


@check(
    points=3,
    why="What goes on after its client has gone goes on for ever, and so does what it holds.",
    after=FIRST,
    look="the first of your two tasks that ends: it ends the other one",
    mistake="never-over",
)
async def test_when_one_side_has_gone_it_is_over(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        target.frozen = True
        await talk.settle()
        source.goes(1000)
        await talk.over(f"the {source.name} has closed, and the {target.name} stays frozen")
        expect_that(
            bool(target.closes), f"the {target.name} is closed", "it is left open", mistake="left-open"
        )
        before = source.sends
        target.says("too late")
        await student.settle()
        expect(
            source.sends - before,
            0,
            of=f"calls of {source.name}.send after relay has returned",
            look="the task that carries the other way: cancel it",
            mistake="left-running",
        )


@check(
    points=3,
    why="A code says why it is over, and whether to come back; from 4000 on it is what the two agreed on.",
    after=OVER,
    look="`closed.code` and `closed.reason`: `await other.close(code, reason)`, on the other side",
    mistake="close",
)
async def test_code_and_reason_cross(student: Student) -> None:
    for code, reason in (
        (1000, ""),
        (1000, "done"),
        (1001, "the page was left"),
        (1003, "no bytes, please"),
        (1009, ""),
        (1011, "größer 🙂"),
        (1012, "restart"),
        (1014, ""),
        (3000, "x" * 123),
        (4001, "log in again"),
        (4999, ""),
    ):
        async for talk, source, target in both_ways(student):
            source.goes(code, reason)
            await talk.over(f"the {source.name} has closed")
            wanted = f"code and reason with which the {target.name} is closed, as the {source.name} was"
            expect(target.closes[:1], [[code, reason]], of=wanted)


@check(
    points=3,
    why="1005, 1006 and 1015 say what nobody has said: in a close frame they are an error (RFC 6455 §7.4.1).",
    after=CODES,
    look="the README's table: which code stands for the one that must not be sent, and on which side",
    mistake="abnormal",
)
async def test_reserved_codes_are_replaced(student: Student) -> None:
    for code in RESERVED:
        async for talk, source, target in both_ways(student):
            source.goes(code)
            await talk.over(f"the {source.name} has gone")
            if code == 1005:
                closed_with(target, (1000,), "no-code")
            else:
                closed_with(target, (1001,) if target is talk.service else (1011, 1014), "abnormal")
            sent = [code for code, _ in source.closes if code in RESERVED]
            expect(sent, [], of=f"reserved codes with which the {source.name} is closed", mistake="reserved")


@check(
    points=2,
    why="What was said was said: no answer may get lost because goodbye came close behind it.",
    after=OVER,
    look="the order: first all messages of the side that goes, then the close",
    mistake="last-words",
)
async def test_last_words_arrive(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        target.slow()
        source.says("one", "two", "three")
        source.goes(1000)
        await talk.settle()
        expect(target.closes, [], of=f"closes of the {target.name}, before it has read what was said to it")
        target.quick()
        await talk.over(f"the {source.name} has gone and the {target.name} has read all")
        expect(target.heard, ["one", "two", "three"], of=f"what the {target.name} is sent")
        expect_that(
            bool(target.closes), f"the {target.name} is closed then", "it is left open", mistake="left-open"
        )


@check(
    points=2,
    why="That sending fails says that somebody has gone, but not that you have read what he said before.",
    after=("test_last_words_arrive",),
    look="`Closed` out of `send`: is the other direction at its end, too?",
    mistake="send-fails",
)
async def test_last_words_arrive_although_sending_fails(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        target.slow()
        source.says("one", "two")
        await talk.settle()
        source.goes(1000)
        target.says("are you there?", "hello?")
        await talk.settle()
        target.quick()
        await talk.over(f"the {source.name} has gone and the {target.name} has read all")
        expect(target.heard, ["one", "two"], of=f"what the {target.name} is sent")
        expect_that(
            bool(target.closes), f"the {target.name} is closed then", "it is left open", mistake="left-open"
        )


# -- relay: back-pressure ------------------------------------------------------------------------------------


@check(
    points=3,
    why="Who sends faster than the other reads fills the memory of a gateway that does not stop reading.",
    after=FIRST,
    look="what stands between two calls of `receive`: `await target.send(…)`, and neither queue nor task",
    mistake="queue",
)
async def test_the_next_is_read_when_the_last_was_sent(student: Student) -> None:
    messages = [f"message {number}" for number in range(10)]
    async for talk, source, target in both_ways(student):
        target.slow()
        source.says(*messages)
        await talk.settle()
        wanted = (
            f"messages taken from the {source.name} while the first is being sent to a slow {target.name}"
        )
        expect(source.taken, 1, of=wanted)
        expect(target.sends, 1, of=f"sends to the {target.name} that were begun")
        target.quick()
        await talk.settle()
        expect(target.heard, messages, of=f"what the {target.name} is sent when it reads again")


@check(
    points=2,
    why="Somebody who does not read may speak all the same.",
    after=FIRST,
    look="what one direction waits for while the other cannot send: nothing",
    mistake="lockstep",
)
async def test_a_slow_side_holds_up_its_own_direction_only(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        target.slow()
        source.says("you will read this later")
        await talk.settle()
        target.says("one", "two")
        await talk.settle()
        expect(
            source.heard, ["one", "two"], of=f"what the {source.name} is sent while the {target.name} is slow"
        )


# -- relay: what goes wrong ----------------------------------------------------------------------------------


@check(
    points=2,
    why="An error that nobody hears of is found by whoever loses money by it.",
    after=OVER,
    look="the result of the task that ended first: `task.result()` raises what came out of it",
    mistake="swallowed",
)
async def test_an_error_closes_both_and_comes_out(student: Student) -> None:
    async for talk, source, target in both_ways(student):
        await student.settle()
        source.breaks(RuntimeError("out of order"))
        await student.settle()
        expect_that(talk.task.done(), "to be over when a method raises an error", "it goes on for ever")
        try:
            await talk.task
        except Raised as raised:
            # A task group puts it into an ExceptionGroup, where it is as loud.
            comes_out = bool({"RuntimeError", "ExceptionGroup"}.intersection(raised.mro))
            expect_that(comes_out, "a RuntimeError out of relay", raised.sentence())
        else:
            raise Failure("a RuntimeError out of relay", "relay returned as if all were well")
        for peer in (target, source):
            closed_with(peer, (1011,), "left-open")


@check(
    points=2,
    why="A gateway that stops says so; else its clients wait for a connection that is no longer there.",
    after=OVER,
    look="`asyncio.CancelledError`, which is no `Exception`: close both sides, then let it go on",
    mistake="stopped",
)
async def test_a_gateway_that_stops_closes_both(student: Student) -> None:
    talk = Talk(student)
    talk.client.frozen = talk.service.frozen = True
    await talk.settle()
    student.calls.add("the gateway stops: relay is cancelled")
    talk.task.cancel()
    await asyncio.gather(talk.task, return_exceptions=True)
    for peer in (talk.client, talk.service):
        closed_with(peer, (1001, 1012), "stopped")
    for source, target in ways(talk):
        source.says("too late")
        await student.settle()
        expect(target.sends, 0, of=f"calls of {target.name}.send after relay is over", mistake="left-running")


# -- proxy: the handshake ------------------------------------------------------------------------------------


@check(
    points=3,
    why="Who has said yes cannot say no any more: first know what the service says (RFC 6455 §4.2.2).",
    look="the order: `await dial(…)`, then `await client.accept(…)`, then `await relay(…)`",
)
async def test_the_service_is_asked_before_the_client_is_answered(student: Student) -> None:
    some = Handshake(student)
    some.go.clear()
    await some.settle()
    expect(len(some.dialled), 1, of="handshakes with the service", mistake="too-early")
    early = "what the client is answered before the service has answered"
    expect(some.client.answers, [], of=early, mistake="too-early")
    some.go.set()
    await some.settle()
    expect(
        some.client.answers, [["accept", None]], of="what the client is answered then", mistake="too-early"
    )
    some.client.says("hello")
    some.service.says("welcome")
    await some.settle()
    expect(some.service.heard, ["hello"], of="what the service is sent", mistake="not-relayed")
    expect(some.client.heard, ["welcome"], of="what the client is sent", mistake="not-relayed")
    expect(some.task.done(), False, of="proxy is over while the two are talking", mistake="not-relayed")


@check(
    points=2,
    why="Only the service knows what it speaks; a gateway that chooses for it promises what it cannot keep.",
    after=ASKED,
    look="`client.subprotocols` goes to the service, `service.subprotocol` to the client, whatever it is",
    mistake="subprotocol",
)
async def test_the_service_chooses_the_subprotocol(student: Student) -> None:
    for offered, chosen in (
        (["chat.v1", "chat.v2"], "chat.v2"),
        (["soap", "wamp"], None),
        (["wamp"], "wamp"),
        ([], None),
    ):
        some = Handshake(student, offered, chosen)
        await some.settle()
        expect(some.dialled, [offered], of="the subprotocols that the service is offered")
        expect(some.client.answers, [["accept", chosen]], of="what the client is answered")


@check(
    points=3,
    why="A 403 tells a program to log in; a WebSocket that opens and closes tells it to try again, at once.",
    after=ASKED,
    look="`Refused`: its status is for `client.refuse`, and the client is never accepted",
    mistake="refused",
)
async def test_a_refusal_of_the_service_is_the_clients_answer(student: Student) -> None:
    for status in (403, 401, 404, 429, 500, 503):
        some = Handshake(student, error=Theirs("Refused", status))
        await some.over("the service has refused", mistake="refused")
        expect(some.client.answers, [["refuse", status]], of="what the client is answered")
        expect(some.client.closes, [], of="closes of a WebSocket that was never there")


@check(
    points=2,
    why="That there is no service is the gateway's to say, and why: 502 nobody there, 504 no answer in time.",
    after=ASKED,
    look="which of the two `except` comes first: a TimeoutError is an OSError",
    mistake="unreachable",
)
async def test_a_service_that_cannot_be_reached_is_502_or_504(student: Student) -> None:
    for error, status in (
        (ConnectionRefusedError("nobody listens"), 502),
        (OSError("no route to host"), 502),
        (TimeoutError("no answer in time"), 504),
    ):
        some = Handshake(student, error=error)
        await some.over("the service cannot be reached", mistake="unreachable")
        mistake = "timeout" if status == 504 and some.client.answers == [["refuse", 502]] else "unreachable"
        expect(some.client.answers, [["refuse", status]], of="what the client is answered", mistake=mistake)
        expect(some.client.closes, [], of="closes of a WebSocket that was never there")


@check(
    points=2,
    why="The impatient are many, and each would leave a connection to the service behind.",
    after=ASKED,
    look="`Closed` out of `accept`: who still thinks that there is a conversation?",
    mistake="leak",
)
async def test_a_client_that_did_not_wait_leaves_no_connection_behind(student: Student) -> None:
    some = Handshake(student)
    some.go.clear()
    await some.settle()
    some.client.goes(1006)
    some.go.set()
    await some.over("the client has gone", mistake="leak")
    closed_with(some.service, (1001,), "leak")


# -- for graders ---------------------------------------------------------------------------------------------


@check(
    points=2,
    why="What holds for the examples must hold for any conversation.",
    hidden=True,
    after=("test_last_words_arrive", "test_the_next_is_read_when_the_last_was_sent"),
    look="many messages of both kinds, both ways, with pauses, and an end",
)
async def test_any_conversation(student: Student) -> None:
    numbers = random.Random(student.seed)
    for _ in range(6):
        talk = Talk(student)
        said: dict[str, list[str | bytes]] = {"client": [], "service": []}
        for _ in range(numbers.randint(1, 30)):
            source, target = numbers.choice(ways(talk))
            size = numbers.choice((0, 1, 20, 200))
            message = numbers.choice(("x" * size, numbers.randbytes(size)))
            source.says(message)
            said[source.name].append(message)
            numbers.choice((target.slow, target.quick, target.quick))()
            if numbers.random() < 0.5:
                await talk.settle()
        for peer in (talk.client, talk.service):
            peer.quick()
        await talk.settle()
        source, target = numbers.choice(ways(talk))
        code = numbers.choice((1000, 1001, 1008, 1013, numbers.randint(3000, 4999)))
        source.goes(code, "r" * numbers.randint(0, 123))
        await talk.over(f"the {source.name} has closed")
        for peer, other in ways(talk):
            expect(other.heard, said[peer.name], of=f"what the {other.name} is sent")
        expect(
            [code for code, _ in target.closes], [code], of=f"codes with which the {target.name} is closed"
        )


@check(
    points=1,
    why="Two conversations at once are two conversations.",
    hidden=True,
    after=OVER,
    look="what your relays share: it should be nothing",
)
async def test_conversations_are_kept_apart(student: Student) -> None:
    talks = [Handshake(student, [f"v{number}"], f"v{number}") for number in range(5)]
    for talk in talks:
        await talk.settle()
    for number, talk in enumerate(talks):
        talk.client.says(f"from client {number}")
        talk.service.says(f"from service {number}")
    for talk in talks:
        await talk.settle()
    talks[2].client.goes(1000, "bye")
    await talks[2].over("client 2 has closed")
    for number, talk in enumerate(talks):
        expect(talk.client.answers, [["accept", f"v{number}"]], of=f"what client {number} is answered")
        expect(talk.service.heard, [f"from client {number}"], of=f"what service {number} is sent")
        expect(talk.task.done(), number == 2, of=f"conversation {number} is over")
        expect(talk.client.heard, [f"from service {number}"], of=f"what client {number} is sent")
