"""The checks of exercise 13."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from lab.exercises.kit import (
    Answer,
    Failure,
    Raised,
    Request,
    Student,
    Thing,
    check,
    expect,
    expect_that,
    raises,
)

PATH = "/service-a/items/1"
NAMED = ("test_the_answer_and_the_service_get_the_id",)
LOGGED = ("test_a_line_for_each_exchange",)
DISGUISE = {"words": ("service", "items", "hunter2", "ada")}
"""What a grader asks in other words: see `lab.grading.disguise`."""


class Log:
    """A stage, and a service behind it that answers at once or when `go` is set."""

    def __init__(self, student: Student, answer: Answer | None = None, wait: bool = False) -> None:
        self.clock = student.clock(1000.0)
        self.student = student
        self.stage: Thing = student.new("RequestLog", self.clock).answering(lines=list[str], __call__=Answer)
        self.answer = answer
        self.seen: list[str] = []
        self.go = asyncio.Event()
        if not wait:
            self.go.set()

    async def call_next(self, request: Request) -> Answer:
        self.seen.append(request.request_id)
        await self.go.wait()
        return self.answer or Answer(200, [["content-type", "text/plain"]], b"hello")

    def start(self, *headers: list[str], path: str = PATH, **rest: Any) -> asyncio.Task[Answer]:
        return self.stage.start(
            "__call__", Request("GET", path, headers=list(headers), **rest), self.call_next
        )

    async def ask(self, *headers: list[str], path: str = PATH, **rest: Any) -> Answer:
        return await self.start(*headers, path=path, **rest)

    def parsed(self) -> list[dict[str, Any]]:
        found = []
        for line in self.stage.lines():
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict) or "\n" in line:
                raise Failure("lines that are one JSON object each", repr(line), mistake="json")
            found.append(value)
        return found

    def last(self, mistake: str = "line") -> dict[str, Any]:
        lines = self.parsed()
        if not lines:
            raise Failure("a line", "no line at all", mistake=mistake)
        return lines[-1]


def ids(answer: Answer) -> list[str]:
    return [value for name, value in answer.headers if name == "x-request-id"]


@check(
    points=3,
    why="A name is worth something when all who met the request know it.",
    look="`exchange.request_id` before `call_next`, and the field `x-request-id` of the response after it",
    mistake="id",
)
async def test_the_answer_and_the_service_get_the_id(student: Student) -> None:
    log = Log(student)
    answer = await log.ask(["x-request-id", "mine-7"])
    expect(log.seen, ["mine-7"], of="request_id when the next stage is called")
    expect(ids(answer), ["mine-7"], of="x-request-id of the response")
    expect([answer.status, answer.body], [200, b"hello"], of="the rest of the response")


@check(
    points=2,
    why="Who finds another's line under the same name follows the wrong trail.",
    after=NAMED,
    look="the id that you make where the client sends none: a new one each time",
    mistake="same-id",
)
async def test_an_id_is_made_where_there_is_none(student: Student) -> None:
    log = Log(student)
    made = [ids(await log.ask()) for _ in range(50)]
    made.append(ids(await Log(student).ask()))
    flat = [one for each in made for one in each]
    expect(len(set(flat)), 51, of="different ids of 51 requests, one of them to another object")
    sane = all(0 < len(one) <= 128 and one.isascii() and one.isprintable() and " " not in one for one in flat)
    expect_that(sane, "ids of 1 to 128 visible ASCII characters", flat[0])


@check(
    points=3,
    why="A client's id ends up in logs and in the service: a megabyte or a line break there is an attack.",
    after=("test_an_id_is_made_where_there_is_none",),
    look="what is sane: 1 to 128 characters from ! to ~, all of them, in a single field",
    mistake="insane-id",
)
async def test_an_insane_id_is_replaced(student: Student) -> None:
    log = Log(student)
    for given in ("", "a" * 129, "two words", "a\tb", "caf\xe9", "a\nb", "good\n", "\x7f"):
        got = ids(await log.ask(["x-request-id", given]))
        expect_that(
            len(got) == 1 and got[0] != given and 0 < len(got[0]) <= 128,
            f"an id of your own in the place of {given[:20]!r}",
            str(got)[:80],
        )
    for given in ("a" * 128, "!", "~{}", '"quoted\\"'):
        expect(ids(await log.ask(["x-request-id", given])), [given], of="a sane id is kept")
    two = ids(await log.ask(["x-request-id", "one"], ["x-request-id", "two"]))
    expect_that(
        len(two) == 1 and two[0] not in ("one", "two"), "an id of your own, where two were sent", str(two)
    )


@check(
    points=4,
    why="A line that a program can read answers questions that nobody thought of when it was written.",
    look="one JSON object for each exchange, with the names that the README lists",
    mistake="line",
)
async def test_a_line_for_each_exchange(student: Student) -> None:
    log = Log(student)
    expect(log.stage.lines(), [], of="the lines before the first request")
    await log.ask(["x-request-id", "mine-7"], client="203.0.113.5")
    line = log.last(mistake="no-line")
    expect(len(log.parsed()), 1, of="how many lines")
    wanted = {
        "level": "info",
        "event": "request",
        "request_id": "mine-7",
        "client": "203.0.113.5",
        "method": "GET",
        "path": PATH,
        "service": "service-a",
        "status": 200,
    }
    expect({name: line.get(name) for name in wanted}, wanted, of="the line")
    answer = await log.ask()
    expect([log.last().get("request_id")], ids(answer), of="request_id of the second line")


@check(
    points=2,
    why="Some hundred addresses tell less than one name.",
    after=LOGGED,
    look="`client`: the identity where there is one, else the address",
    mistake="client",
)
async def test_a_known_client_is_named(student: Student) -> None:
    log = Log(student)
    await log.ask(identity="ada", client="203.0.113.5")
    expect(log.last().get("client"), "ada", of="client")


@check(
    points=3,
    why="Logs are read by more people, and kept for longer, than anybody's secrets should be.",
    after=LOGGED,
    look="what goes into the line: the path without its query, and no header field but the id",
    mistake="secret",
)
async def test_no_secret_in_the_line(student: Student) -> None:
    log = Log(student)
    await log.ask(
        ["x-api-key", "hunter2"],
        ["authorization", "Bearer hunter2"],
        ["cookie", "a=hunter2"],
        query="t=hunter2",
    )
    log.last()
    line = log.stage.lines()[-1]
    expect_that("hunter2" not in line, "a line without key, token, cookie or query", line)
    expect(log.last().get("path"), PATH, of="path")


@check(
    points=2,
    why="Who can write a line break can write lines, in the name of others.",
    after=LOGGED,
    look="the library makes JSON of any text; putting strings together does not",
    mistake="json",
)
async def test_a_hostile_path_is_one_line(student: Student) -> None:
    log = Log(student)
    for path in ('/service-a/"},{"status":200', "/service-a/a\nb", "/service-a/\\", "/service-a/\xff\u0085"):
        await log.ask(path=path)
        expect(log.last().get("path"), path, of="path")
    lines = log.stage.lines()
    expect([sum(map(line.count, "\r\n")) for line in lines], [0] * 4, of="line breaks in each line")


@check(
    points=3,
    why="How long it took is the first thing that is asked, and the body is a part of it.",
    after=LOGGED,
    look="the clock when the exchange begins and when it ends; milliseconds",
    mistake="duration",
)
async def test_the_duration_is_the_exchanges(student: Student) -> None:
    log = Log(student, wait=True)
    task = log.start()
    await student.settle()
    log.clock.tick(0.25)
    later = log.start()
    await student.settle()
    log.clock.tick(1.0)
    log.go.set()
    await asyncio.gather(task, later)
    durations = [line.get("duration_ms") for line in log.parsed()]
    expect_that(all(isinstance(one, int | float) for one in durations), "numbers as duration_ms", durations)
    expect(sorted(durations), [1000.0, 1250.0], of="duration_ms of two exchanges at once", within=0.5)


@check(
    points=2,
    why="An alarm listens to the level, and a client's mistake must wake nobody up.",
    after=LOGGED,
    look='`level`: "error" from status 500 on, else "info"',
    mistake="level",
)
async def test_the_level_tells_faults_from_mistakes(student: Student) -> None:
    got = []
    for status in (200, 304, 404, 429, 499, 500, 503):
        log = Log(student, Answer(status))
        await log.ask()
        got.append([log.last().get("status"), log.last().get("level")])
    wanted = [[s, "info" if s < 500 else "error"] for s in (200, 304, 404, 429, 499, 500, 503)]
    expect(got, wanted, of="status and level")


@check(
    points=3,
    why="The exchanges that go wrong are those for which a log is kept.",
    after=LOGGED,
    look="`call_next` can raise: write the line with status 500, and let the exception go on",
    mistake="exception",
)
async def test_an_exception_has_a_line(student: Student) -> None:
    log = Log(student)

    async def call_next(request: Request) -> Answer:
        raise ValueError("out of order")

    task = log.stage.start("__call__", Request("GET", PATH), call_next)
    with raises("ValueError", when="call_next raised one"):
        await task
    line = log.last(mistake="exception")
    expect([line.get("status"), line.get("level")], [500, "error"], of="status and level")
    expect(len(log.parsed()), 1, of="how many lines")


@check(
    points=2,
    why="A client that lost patience is the best hint that something is slow.",
    after=LOGGED,
    look="a client that goes away is `asyncio.CancelledError`, no `Exception`: status 0, and raise it again",
    mistake="gone",
)
async def test_a_client_that_goes_away_has_a_line(student: Student) -> None:
    log = Log(student, wait=True)
    task = log.start(["x-request-id", "mine-7"])
    await student.settle()
    student.cancel(task)
    (end,) = await asyncio.gather(task, return_exceptions=True)
    await student.settle()
    line = log.last(mistake="gone")
    expect([line.get("status"), line.get("level")], [0, "info"], of="status and level")
    expect(line.get("request_id"), "mine-7", of="request_id")
    got = end.sentence() if isinstance(end, Raised) else "an answer, for nobody"
    expect_that(task.cancelled(), "the CancelledError goes on", got)


@check(
    points=1,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_the_duration_is_the_exchanges", "test_an_insane_id_is_replaced"),
    look="many exchanges at once: each line speaks of one of them, and of no other",
    mistake="mixed-up",
)
async def test_any_traffic(student: Student) -> None:
    numbers = random.Random(student.seed)
    log = Log(student, wait=True)
    tasks, begun = [], {}
    for n in range(30):
        log.clock.tick(numbers.choice([0.0, 0.125, 0.5]))
        begun[f"n-{n}"] = log.clock.now
        tasks.append(log.start(["x-request-id", f"n-{n}"], path=f"/service-a/{n}"))
        await student.settle()
    log.go.set()
    await asyncio.gather(*tasks)
    got = {line.get("request_id"): [line.get("path"), line.get("duration_ms")] for line in log.parsed()}
    wanted = {name: [f"/service-a/{name[2:]}", (log.clock.now - at) * 1000] for name, at in begun.items()}
    expect(sorted(got, key=str), sorted(wanted), of="the ids in the log")
    for name, (path, duration) in wanted.items():
        expect(got[name], [path, duration], of=f"path and duration_ms of {name}", within=0.5)
