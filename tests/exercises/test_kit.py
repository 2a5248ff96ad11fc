"""The kit: what a check says of submissions of every kind, and that its messages are for students."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.exercises import kit
from lab.exercises.agent import Agent
from lab.exercises.kit import (
    Answer,
    Clock,
    Failure,
    Request,
    Result,
    Shape,
    Student,
    check,
    expect,
    expect_that,
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one check against a submission given as text."""

    def run(source: str, function: Any, **options: Any) -> Result:
        path = tmp_path / "exercise.py"
        path.write_text(source, encoding="utf-8")
        checked = check(points=3, why="Because.", look="here", **options)(function)
        return kit.execute(checked.lab_check, kit.LocalChannel(Agent(path)))

    return run


ADDER = """
class Adder:
    def __init__(self, start):
        self.total = start
    def add(self, number):
        self.total += number
        return self.total
"""


def test_a_check_that_passes_brings_its_points(run: Run) -> None:
    def test_adds(student: Student) -> None:
        adder = student.new("Adder", 5).answering(add=int)
        expect(adder.add(2), 7)
        expect(adder.add(number=1), 8)

    result = run(ADDER, test_adds)
    assert (result.status, result.points, result.maximum, result.text) == ("passed", 3, 3, "")


def test_a_failure_tells_what_was_sent_expected_and_came(run: Run) -> None:
    def test_adds(student: Student) -> None:
        adder = student.new("Adder", 5)
        for _ in range(3):
            adder.add(0)
        expect(adder.add(2.5), 8, of="the sum", mistake="sums")

    result = run(ADDER, test_adds)
    assert (result.status, result.points, result.mistake) == ("failed", 0, "sums")
    assert result.text.splitlines() == [
        "sent      Adder(5)",
        "          add(0) → 5   (3 times)",
        "          add(2.5) → 7.5",
        "expected  the sum: 8",
        "came      the sum: 7.5",
        "look at   here",
    ]


def test_a_request_is_told_on_one_line() -> None:
    assert kit.show(Request("GET", "/a\nb\x1b[2J\u0085ä")) == "GET /a\\nb\\x1b[2J\\x85ä"


def test_many_calls_are_cut_short(run: Run) -> None:
    def test_adds(student: Student) -> None:
        adder = student.new("Adder", 0)
        for number in range(100):
            adder.add(number)
        expect(1, 2)

    sent = [line for line in run(ADDER, test_adds).text.splitlines() if "expected" not in line]
    assert len(sent) <= 15
    assert "… 89 more calls …" in "\n".join(sent)


@pytest.mark.parametrize(
    ("source", "came"),
    [
        ("x = 1", "exercise.py has no class Adder"),
        ("class Adder:\n    pass", "TypeError: Adder() takes no arguments"),
        ("class Adder:\n    def __init__(self, start): pass", "Adder has no method add"),
        (
            "class Adder:\n def __init__(self, start): 0\n def add(self, n):\n  raise NotImplementedError",
            "add is not written yet (line 4: raise NotImplementedError)",
        ),
        (
            "class Adder:\n def __init__(self, start): pass\n def add(self, number):\n  return number / 0",
            "ZeroDivisionError: division by zero (line 4: return number / 0)",
        ),
        (
            "class Adder:\n def __init__(self, start): pass\n async def add(self, number): return 1",
            "add must not be async: write def, not async def",
        ),
        (
            "import sys\nclass Adder:\n def __init__(self, start): sys.exit(0)",
            "the code ended the program (line 3: def __init__(self, start): sys.exit(0))",
        ),
        (
            "class Adder:\n def __init__(self, start): pass\n def add(self, number): pass",
            "None is not a whole number",
        ),
        (
            "class Adder:\n def __init__(self, start): pass\n def add(self, number): return True",
            "True is not a whole number",
        ),
    ],
)
def test_a_submission_that_does_not_fit_gets_a_plain_sentence(run: Run, source: str, came: str) -> None:
    def test_adds(student: Student) -> None:
        student.new("Adder", 5).answering(add=int).add(2)

    result = run(source, test_adds)
    assert result.status == "failed"
    assert f"came      {came}" in result.text


VERDICT = Shape("Verdict", admitted=bool, wait=float)


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        ("types.SimpleNamespace(admitted=True, wait=1.5, more=object())", ""),
        ("Plain(True, 1.5)", ""),
        ("Plain(True, None)", "wait: None is not a finite number"),
        ("Plain(Plain(1, 1), 1.5)", "admitted: <Plain> is not True or False"),
        ("types.SimpleNamespace(admitted=True)", "the SimpleNamespace has no wait"),
        ("object()", "the object has no admitted"),
    ],
)
def test_a_verdict_may_be_of_any_class_that_has_its_attributes(run: Run, answer: str, came: str) -> None:
    source = (
        "import types\nclass Plain:\n def __init__(self, admitted, wait):\n"
        f"  self.admitted, self._wait = admitted, wait\n wait = property(lambda self: self._wait)\n"
        f"class Limiter:\n def take(self): return {answer}\n async def later(self): return {answer}\n"
    )

    def test_takes(student: Student) -> None:
        limiter = student.new("Limiter").answering(take=VERDICT)
        expect([limiter.take().admitted, limiter.take().wait], [True, 1.5])

    async def test_waits(student: Student) -> None:
        limiter = student.new("Limiter").answering(later=VERDICT | None)
        expect((await limiter.start("later")).wait, 1.5)

    for function in (test_takes, test_waits):
        result = run(source, function)
        assert (f"came      {came}" in result.text) if came else (result.text == "")


@pytest.mark.parametrize(
    ("value", "wanted", "reason"),
    [
        (1, int, ""),
        (True, int, "True is not a whole number"),
        (1, float, ""),
        (float("nan"), float, "nan is not a finite number"),
        (float("inf"), float, "inf is not a finite number"),
        ("x", bool, "'x' is not True or False"),
        (None, None, ""),
        (0, None, "0 came back where nothing was expected"),
        (None, str | None, ""),
        (b"x", str | None, "b'x' is not text"),
        (["a"], list[str], ""),
        (["a", 1], list[str], "1 is not text"),
        (kit.Record("Verdict", {"admitted": True, "wait": 0}), VERDICT, ""),
        (kit.Record("Anything", {"admitted": True, "wait": 0.5, "more": 1}), VERDICT, ""),
        (kit.Record("Verdict", {"admitted": True}), VERDICT, "the Verdict has no wait"),
        (kit.Record("Verdict", {"admitted": 1, "wait": 0}), VERDICT, "admitted: 1 is not True or False"),
        (True, VERDICT, "True is not a Verdict(admitted, wait)"),
        (None, VERDICT | None, ""),
        (True, VERDICT | None, "True is not a Verdict(admitted, wait)"),
    ],
)
def test_mismatch(value: Any, wanted: Any, reason: str) -> None:
    assert kit.mismatch(value, wanted) == reason


def test_expect_tells_truth_from_one_and_forgives_rounding_where_it_is_told() -> None:
    expect([1.0, 2.0000001], [1, 2], within=1e-6)
    expect(0.1 + 0.2, 0.3, within=1e-9)
    for got, wanted, within in (
        (1, True, None),
        ([0], [False], None),
        (0.1 + 0.2, 0.3, None),
        ([1, 2], [1], 1.0),
    ):
        with pytest.raises(Failure):
            expect(got, wanted, within=within)
    with pytest.raises(Failure, match="three of them; 2 came"):
        expect_that(False, "three of them", "2 came")


def test_raises_wants_the_kind_and_gives_the_text(run: Run) -> None:
    source = """
class ConfigError(ValueError): pass
def load(text):
    if text == "bad": raise ConfigError("line 3: no")
    if text == "worse": raise KeyError("x")
"""

    def good(student: Student) -> None:
        with kit.raises("ValueError") as caught:
            student.call("load", "bad")
        expect(caught.text, "line 3: no")

    def other(student: Student) -> None:
        with kit.raises("ConfigError", when="it is worse"):
            student.call("load", "worse")

    def nothing(student: Student) -> None:
        with kit.raises("ConfigError"):
            student.call("load", "fine")

    assert run(source, good).passed
    assert (
        "expected  a ConfigError when it is worse\ncame      KeyError: 'x' (line 5: "
        in run(source, other).text
    )
    assert "came      nothing was raised" in run(source, nothing).text


STAGE = """
from lab.model import Response

class Stage:
    def __init__(self, clock=None, sleep=None):
        self.clock, self.sleep = clock, sleep
    async def handle(self, exchange, call_next):
        if self.sleep is not None:
            await self.sleep(5)
        response = await call_next(exchange)
        response.headers.append((b"x-service", exchange.service.encode()))
        return response
    async def guarded(self, exchange, call_next):
        try:
            return await call_next(exchange)
        except ConnectionRefusedError as error:
            return Response(502, [], str(error).encode())
"""


def test_a_stage_gets_exchanges_and_gives_responses(run: Run) -> None:
    async def test_stage(student: Student) -> None:
        seen = []

        async def call_next(request: Request) -> Answer:
            seen.append(request)
            return Answer(200, [["content-type", "text/plain"]], b"hello" * 1000, streamed=True)

        stage = student.new("Stage").answering(handle=Answer)
        answer = await stage.start("handle", Request("GET", "/service-b/x", query="a=1"), call_next)
        expect((answer.status, answer.header("x-service"), len(answer.body)), (200, "service-b", 5000))
        expect((seen[0].path, seen[0].query), ("/service-b/x", "a=1"))

        async def refused(request: Request) -> Answer:
            raise ConnectionRefusedError("nobody there")

        answer = await stage.start("guarded", Request(), refused)
        expect((answer.status, answer.body), (502, b"nobody there"))

    assert run(STAGE, test_stage).text == ""


BODIES = """
class Bodies:
    async def first_byte(self, exchange, call_next):
        response = await call_next(exchange)
        async for chunk in response.stream:
            return chunk[:1]
    async def closed(self, exchange, call_next):
        await (await call_next(exchange)).aclose()
    async def all(self, exchange, call_next):
        return b"".join([chunk async for chunk in (await call_next(exchange)).stream])
    async def passed_on(self, exchange, call_next):
        return await call_next(exchange)
"""


def test_a_body_is_open_until_it_is_read_or_closed(run: Run) -> None:
    async def test_bodies(student: Student) -> None:
        async def call_next(request: Request) -> Answer:
            return Answer(200, [], b"x" * 3000, streamed=True)

        bodies = student.new("Bodies")
        for method, left in (("closed", 0), ("all", 0), ("passed_on", 0), ("first_byte", 1), ("all", 1)):
            await bodies.start(method, Request(), call_next)
            expect(student.open_bodies(), left, of=method)

    assert run(BODIES, test_bodies).text == ""


def test_a_body_can_break_off(run: Run) -> None:
    async def test_bodies(student: Student) -> None:
        async def call_next(request: Request) -> Answer:
            return Answer(200, [], b"x" * 3000, streamed=True, breaks_off=True)

        bodies = student.new("Bodies")
        expect(await bodies.start("first_byte", Request(), call_next), b"x")
        for method in ("all", "passed_on"):
            with kit.raises("ConnectionResetError"):
                await bodies.start(method, Request(), call_next)
        expect(student.open_bodies(), 1, of="bodies that are still open: the one of which a byte was read")

    assert run(BODIES, test_bodies).text == ""


def test_a_clock_in_the_checks_hand_wakes_who_sleeps(run: Run) -> None:
    async def test_stage(student: Student) -> None:
        clock: Clock = student.clock(100.0)
        stage = student.new("Stage", clock=clock, sleep=clock.sleep)

        async def call_next(request: Request) -> Answer:
            return Answer(204)

        task = stage.start("handle", Request(), call_next)
        await student.settle()
        clock.tick(4.5)
        await student.settle()
        expect((task.done(), clock.asleep()), (False, 1))
        clock.tick(0.5)
        await student.settle()
        expect((task.done(), clock.asleep()), (True, 0))

    assert run(STAGE, test_stage).text == ""


def test_a_failure_inside_a_callback_fails_the_check(run: Run) -> None:
    async def test_stage(student: Student) -> None:
        async def call_next(request: Request) -> Answer:
            expect(request.path, "/service-b/y", of="the path")
            return Answer()

        try:
            await student.new("Stage").start("handle", Request("GET", "/service-b/x"), call_next)
        except kit.Raised:
            pass  # a submission may well swallow what its call_next raises

    assert "expected  the path: '/service-b/y'" in run(STAGE, test_stage).text


PEERS = """
class Closed(Exception):
    def __init__(self, code, reason):
        self.code, self.reason = code, reason

async def carry(peer, peers):
    assert {peer: peer.name} == {peer: "ada"} and peer is not peers[0]
    try:
        while True:
            await peer.send(await peer.receive())
    except Closed as closed:
        await peer.close(reason=closed.reason, code=closed.code)
        return closed.code
"""


class Peer:
    """What a check gives as an object; it hears what the submission says to it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def record(self, name: str = "ada") -> kit.Record:
        methods = {"receive": self.receive, "send": self.send, "close": self.close}
        return kit.Record("Peer", {"name": name, **methods})

    async def receive(self) -> bytes:
        if self.heard:
            raise kit.Theirs("Closed", 4001, "enough")
        return b"hello"

    async def send(self, message: bytes) -> None:
        self.heard.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.heard.append([code, reason])


def test_an_object_of_the_checks_has_methods_and_data(run: Run) -> None:
    async def test_carries(student: Student) -> None:
        peer = Peer()
        expect(await student.start("carry", peer.record(), [peer.record("bob")]), 4001, of="the code")
        expect(peer.heard, [b"hello", [4001, "enough"]], of="what it heard")
        expect(1, 2)

    text = run(PEERS, test_carries).text
    assert text.startswith("sent      await carry(Peer, [Peer]) → 4001\nexpected  2")


def test_an_exception_that_the_submission_has_lost_is_missed(run: Run) -> None:
    async def test_carries(student: Student) -> None:
        await student.start("carry", Peer().record(), [Peer().record()])

    for lost in ("", "Closed = 3"):
        text = run(PEERS.replace("Closed", "Ended") + lost, test_carries).text
        assert "came      exercise.py has no exception Closed" in text


def test_what_a_failed_check_leaves_waiting_is_cancelled(run: Run) -> None:
    async def test_stage(student: Student) -> None:
        async def never(request: Request) -> Answer:
            await asyncio.Event().wait()
            return Answer()

        student.new("Stage").start("handle", Request(), never)
        await student.settle()
        expect(1, 2, of="something else")

    assert "something else" in run(STAGE, test_stage).text


def test_what_happens_after_the_end_of_a_check_is_not_told(run: Run) -> None:
    async def test_cleans_up(student: Student) -> None:
        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                student.calls.add("closed in passing")

        student.start("forever", wait)
        await student.settle()
        expect(1, 2)

    text = run("async def forever(wait):\n    await wait()\n", test_cleans_up).text
    assert text.startswith("sent      await forever(wait)\nexpected  2")


def test_a_served_application_is_reached_and_gone_afterwards(run: Run) -> None:
    import httpx

    source = """
import os
COLOR = os.environ.get("COLOR", "none")
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": COLOR.encode()})
"""
    ports = []

    def test_serves(student: Student) -> None:
        with student.serve("app", env={"COLOR": "red"}) as served:
            ports.append(served.port)
            expect(httpx.get(served.url, trust_env=False).text, "red")

    assert run(source, test_serves).text == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{ports[0]}", trust_env=False)

    def test_nothing_there(student: Student) -> None:
        with student.serve("application"):
            pass

    assert "came      exercise.py has no application" in run(source, test_nothing_there).text


def test_a_check_that_stumbles_says_so_without_its_own_insides(run: Run) -> None:
    def test_adds(student: Student) -> None:
        student.new("Adder", 5).add(1).upper()

    result = run(ADDER, test_adds)
    assert result.status == "failed"
    assert "Traceback" not in result.text
    assert "the check could not work with" in result.text


def test_a_grader_picks_what_is_usual_for_students(tmp_path: Path) -> None:
    def picked(seed: int) -> list[int]:
        channel = kit.LocalChannel(Agent(tmp_path))
        channel.seed = seed
        return [Student(channel).pick(usual, range(100, 1000)) for usual in (3, 4, 3)]

    assert picked(0) == [3, 4, 3]
    first, second, again = picked(7)
    assert first == again != second
    assert {first, second} <= set(range(100, 1000))
    assert picked(7) == [first, second, again] != picked(8)
