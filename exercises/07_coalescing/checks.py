"""The checks of exercise 07."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from lab.exercises.kit import Answer, Request, Student, Thing, check, expect, expect_that, raises

ITEM = "/service-a/items/1"
ALONE = ("test_a_lone_request_gets_the_services_answer",)
SHARED = (*ALONE, "test_equal_requests_share_one_call")


class Service:
    """What stands behind the stage: numbers what it is asked, and answers when `go` is set."""

    def __init__(self, *headers: list[str], status: int = 200, failure: str | None = None) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.headers = [["content-type", "text/plain"], *headers]
        self.status = status
        self.failure = failure

    async def call_next(self, request: Request) -> Answer:
        self.asked.append(f"{request.method} {request.path}")
        body = f"answer {len(self.asked)}; ".encode() * 300
        await self.go.wait()
        return Answer(self.status, self.headers, body, failure=self.failure, streamed=self.failure is None)


def stage(student: Student) -> Thing:
    return student.new("Coalescing").answering(__call__=Answer)


async def asking(student: Student, some: Thing, service: Service, *requests: Request) -> list[Any]:
    """One task for each request, all of them as far as they come while the service does not answer."""
    tasks = []
    for request in requests:
        tasks.append(some.start("__call__", request, service.call_next))
        await student.settle()
    return tasks


async def bodies(tasks: list[Any]) -> list[str]:
    """Which of the service's answers each one got."""
    return [(await task).body.decode().partition(";")[0] for task in tasks]


def get(path: str = ITEM, *headers: list[str], query: str = "", method: str = "GET") -> Request:
    return Request(method, path, query, [["host", "localhost"], *headers])


@check(
    points=2,
    why="Most requests are alone; for them there must be no difference.",
    look="the simplest case first: `return await call_next(exchange)`",
)
async def test_a_lone_request_gets_the_services_answer(student: Student) -> None:
    some, service = stage(student), Service(["x-tag", "one"], ["x-tag", "two"], status=203)
    service.go.set()
    answer = await some.start("__call__", get(), service.call_next)
    expect(answer.status, 203, of="the status")
    expect(
        answer.body, b"answer 1; " * 300, of="the body", look="the body may come in pieces: `response.stream`"
    )
    expect(
        [value for name, value in answer.headers if name == "x-tag"], ["one", "two"], of="the fields X-Tag"
    )
    expect(service.asked, [f"GET {ITEM}"], of="what the service was asked")


@check(
    points=3,
    why="A hundred clients that want the same at the same moment cost the service one answer.",
    after=ALONE,
    look="where a request finds out that an equal one is under way, and what it waits for",
    mistake="not-shared",
)
async def test_equal_requests_share_one_call(student: Student) -> None:
    some, service = stage(student), Service()
    tasks = await asking(student, some, service, *[get() for _ in range(5)])
    expect(len(service.asked), 1, of="calls to the service for five equal requests at the same time")
    service.go.set()
    await student.settle()
    for number, task in enumerate(tasks, 1):
        expect_that(
            task.done(), f"an answer for client {number} when the service has answered", "it waits for ever"
        )
        answer = await task
        expect(answer.status, 200, of=f"the status for client {number}")
        expect(
            answer.body,
            b"answer 1; " * 300,
            of=f"the body for client {number}",
            look="a stream can be read once: read it into bytes, and give each client a Response of its own",
            mistake="one-body",
        )
        expect(answer.header("content-type"), "text/plain", of=f"the content-type for client {number}")
    expect(len(service.asked), 1, of="calls to the service in the end")


@check(
    points=2,
    why="An answer to another question is worse than none.",
    after=SHARED,
    look="what makes two requests equal: `raw_path` and `query`, byte for byte",
    mistake="key",
)
async def test_different_requests_are_not_shared(student: Student) -> None:
    some, service = stage(student), Service()
    different = [
        get(),
        get("/service-a/items/2"),
        get("/service-b/items/1"),
        get(query="a=1"),
        get(query="a=2"),
    ]
    tasks = await asking(student, some, service, *different)
    expect(len(service.asked), 5, of="calls to the service for five different requests")
    service.go.set()
    expect(await bodies(tasks), [f"answer {n}" for n in range(1, 6)], of="what each of them got")


@check(
    points=2,
    why="Who asked for German and not gzip must not get English, gzipped (RFC 9110 §12.5).",
    after=SHARED,
    look="the fields in `CHOOSING` belong to the key, name and value; no other field does",
    mistake="versions",
)
async def test_versions_of_an_answer_are_kept_apart(student: Student) -> None:
    for name in (
        "accept",
        "accept-encoding",
        "accept-language",
        "range",
        "if-none-match",
        "if-modified-since",
    ):
        some, service = stage(student), Service()
        await asking(student, some, service, get(), get(ITEM, [name, "one"]), get(ITEM, [name, "two"]))
        expect(len(service.asked), 3, of=f"calls for three requests that differ in {name}")
    some, service = stage(student), Service()
    await asking(student, some, service, get(ITEM, ["user-agent", "a"]), get(ITEM, ["user-agent", "b"]))
    expect(len(service.asked), 1, of="calls for two requests that differ in User-Agent only")
    await asking(student, some, service, get(ITEM, ["accept", "a"]), get(ITEM, ["accept", "a"]))
    expect(len(service.asked), 2, of="calls in all, after two more with the same Accept")


@check(
    points=3,
    why="Coalescing shares what is under way; keeping answers is a cache's business, with all its rules.",
    after=SHARED,
    look="what becomes of the entry when the answer is there",
    mistake="kept",
)
async def test_an_answer_is_not_kept(student: Student) -> None:
    some, service = stage(student), Service()
    service.go.set()
    got = [await bodies([some.start("__call__", get(), service.call_next)]) for _ in range(3)]
    expect(
        got,
        [["answer 1"], ["answer 2"], ["answer 3"]],
        of="what three equal requests, one after another, get",
    )


@check(
    points=2,
    why="Two POSTs are two orders, even if they look alike (RFC 9110 §9.2).",
    after=SHARED,
    look="which methods are shared: GET alone; and a WebSocket handshake is a GET that is none",
    mistake="methods",
)
async def test_only_gets_are_shared(student: Student) -> None:
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        some, service = stage(student), Service()
        tasks = await asking(student, some, service, get(method=method), get(method=method))
        expect(len(service.asked), 2, of=f"calls for two {method} requests at the same time")
        service.go.set()
        expect(await bodies(tasks), ["answer 1", "answer 2"], of=f"what the two {method} requests got")
    some, service = stage(student), Service()
    handshake = Request("GET", "/service-b/ws", kind="websocket")
    await asking(student, some, service, handshake, handshake)
    expect(len(service.asked), 2, of='calls for two exchanges of the kind "websocket"')
    await asking(student, some, service, get(), get(method="HEAD"), get(method="POST"))
    expect(len(service.asked), 5, of="calls after a GET, a HEAD and a POST for the same path")


@check(
    points=3,
    why="What one user may see, another may not: this is how accounts leak.",
    after=SHARED,
    look="the fields in `CREDENTIALS`: whoever shows one leads nobody and follows nobody",
    mistake="credentials",
)
async def test_requests_with_credentials_go_alone(student: Student) -> None:
    for name in ("authorization", "cookie", "x-api-key"):
        some, service = stage(student), Service()
        mine = [name, "secret"]
        tasks = await asking(student, some, service, get(), get(ITEM, mine), get(ITEM, mine), get())
        expect(len(service.asked), 3, of=f"calls for two anonymous requests and two with {name}")
        service.go.set()
        wanted = ["answer 1", "answer 2", "answer 3", "answer 1"]
        expect(await bodies(tasks), wanted, of=f"what they got: anonymous, {name}, {name}, anonymous")


@check(
    points=3,
    why="Only the answer says whether it is for everybody (RFC 9111 §5.2.2), and a cookie is for one.",
    after=SHARED,
    look="the answer's own fields: Set-Cookie, and Cache-Control with private or no-store",
    mistake="private",
)
async def test_private_answers_are_not_shared(student: Student) -> None:
    for field in (
        ["set-cookie", "session=1"],
        ["cache-control", "private"],
        ["cache-control", "no-store"],
        ["cache-control", "max-age=60, PRIVATE"],
        ["cache-control", 'private="x-user", max-age=60'],
    ):
        some, service = stage(student), Service(field)
        tasks = await asking(student, some, service, get(), get(), get(), get())
        service.go.set()
        await student.settle()
        got = await bodies(tasks)
        expect(
            sorted(got),
            [f"answer {n}" for n in range(1, 5)],
            of=f"what four got, with {field[0]}: {field[1]}",
        )
    some, service = stage(student), Service(["cache-control", "max-age=60"], ["x-title", "private"])
    tasks = await asking(student, some, service, get(), get())
    service.go.set()
    expect(await bodies(tasks), ["answer 1", "answer 1"], of="what two got, with Cache-Control: max-age=60")


@check(
    points=2,
    why="Where nothing can be shared, waiting for each other only makes a queue.",
    after=("test_private_answers_are_not_shared",),
    look="followers of an answer that is not for them: each asks, all at once, and not with a new leader",
    mistake="queue",
)
async def test_those_who_cannot_share_ask_all_at_once(student: Student) -> None:
    some, service = stage(student), Service(["set-cookie", "session=1"])
    first = asyncio.Event()

    async def call_next(request: Request) -> Answer:
        if service.asked:
            return await service.call_next(request)
        service.asked.append("the first")
        await first.wait()
        return Answer(200, service.headers, b"answer 1")

    tasks = [some.start("__call__", get(), call_next) for _ in range(5)]
    await student.settle()
    first.set()
    await student.settle()
    expect(len(service.asked), 5, of="calls under way for five clients, once the first answer was private")
    service.go.set()
    await asyncio.gather(*tasks)


@check(
    points=3,
    why="A client that goes away is the commonest thing on the Internet.",
    after=SHARED,
    look="what the cancelling of a task does to the thing that it waits for (`asyncio.wait`, `shield`)",
    mistake="follower",
)
async def test_a_follower_that_goes_away_disturbs_nobody(student: Student) -> None:
    some, service = stage(student), Service()
    tasks = await asking(student, some, service, *[get() for _ in range(4)])
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    await student.settle()
    service.go.set()
    await student.settle()
    rest = [tasks[0], *tasks[2:]]
    expect(
        [task.done() and not task.cancelled() for task in rest], [True] * 3, of="the others have an answer"
    )
    expect(await bodies(rest), ["answer 1"] * 3, of="what the others got")
    expect(len(service.asked), 1, of="calls to the service")


@check(
    points=4,
    why="The followers did nothing wrong: that the leader was impatient must not cost them their answer.",
    after=SHARED,
    look="what followers find when the leader was cancelled, and which of them asks in its place",
    mistake="leader",
)
async def test_a_leader_that_goes_away_fails_nobody(student: Student) -> None:
    some, service = stage(student), Service()
    tasks = await asking(student, some, service, *[get() for _ in range(5)])
    for leader in tasks[:2]:
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        await student.settle()
    service.go.set()
    await student.settle()
    rest = tasks[2:]
    expect(
        [task.done() and not task.cancelled() for task in rest], [True] * 3, of="the others have an answer"
    )
    expect_that(
        len(service.asked) <= 3,
        "at most 3 calls to the service: one for each leader, two of whom have gone",
        f"{len(service.asked)} calls",
        mistake="leader-herd",
    )
    got = await bodies(rest)
    expect(got, [got[0]] * 3, of="what the others got")
    late = await asking(student, some, service, get())
    before = len(service.asked)
    expect(await bodies(late), [f"answer {before}"], of="what a new request gets afterwards")


@check(
    points=3,
    why="One exception must not become a hundred, and must leave nothing behind.",
    after=SHARED,
    look="`try`/`finally` around the leader's call: the entry goes, and the followers must not wait for ever",
    mistake="exception",
)
async def test_a_leader_that_fails_fails_alone(student: Student) -> None:
    some, service = stage(student), Service()
    fail = asyncio.Event()

    async def call_next(request: Request) -> Answer:
        if service.asked:
            return await service.call_next(request)
        service.asked.append("the first")
        await fail.wait()
        raise RuntimeError("out of order")

    first, *rest = [some.start("__call__", get(), call_next) for _ in range(4)]
    await student.settle()
    fail.set()
    await student.settle()
    with raises("RuntimeError", when="call_next raised one in the leader"):
        await first
    service.go.set()
    await student.settle()
    expect([task.done() for task in rest], [True] * 3, of="the followers have an answer")
    expect(await bodies(rest), ["answer 2"] * 3, of="what the followers got")
    expect(len(service.asked), 2, of="calls to the service")


@check(
    points=1,
    why="Half an answer that looks whole is worse than none.",
    after=("test_a_leader_that_fails_fails_alone",),
    look="reading `response.stream` can raise an exception, too: what came before it is no answer",
    mistake="half",
)
async def test_half_an_answer_is_given_to_nobody(student: Student) -> None:
    some, service = stage(student), Service()
    go = asyncio.Event()

    async def call_next(request: Request) -> Answer:
        if service.asked:
            return await service.call_next(request)
        service.asked.append("the first")
        await go.wait()
        return Answer(200, service.headers, b"answer 1; " * 150, streamed=True, breaks_off=True)

    first, *rest = [some.start("__call__", get(), call_next) for _ in range(4)]
    await student.settle()
    go.set()
    await student.settle()
    with raises("ConnectionResetError", when="the body of the leader's answer broke off half-way"):
        await first
    service.go.set()
    await student.settle()
    expect([task.done() for task in rest], [True] * 3, of="the followers have an answer")
    expect(await bodies(rest), ["answer 2"] * 3, of="what the followers got")


@check(
    points=1,
    why="A service in trouble is the last that should be asked a hundred times.",
    after=SHARED,
    look="an error is an answer like any other: its status does not matter, and `failure` comes along",
)
async def test_errors_are_shared_too(student: Student) -> None:
    some, service = stage(student), Service(status=502, failure="connection_refused")
    tasks = await asking(student, some, service, *[get() for _ in range(4)])
    service.go.set()
    answers = [await task for task in tasks]
    expect([answer.status for answer in answers], [502] * 4, of="the statuses")
    expect([answer.failure for answer in answers], ["connection_refused"] * 4, of="failure, of each response")
    expect(len(service.asked), 1, of="calls to the service")


@check(
    points=2,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_different_requests_are_not_shared", "test_an_answer_is_not_kept"),
    look="many requests for a few paths, in waves",
)
async def test_any_traffic(student: Student) -> None:
    numbers = random.Random(student.seed)
    some = stage(student)
    for _ in range(8):
        service = Service()
        paths = [f"/service-a/items/{numbers.randint(1, 4)}" for _ in range(numbers.randint(1, 20))]
        tasks = [some.start("__call__", get(path), service.call_next) for path in paths]
        await student.settle()
        expect(
            sorted(service.asked), sorted({f"GET {path}" for path in paths}), of="what the service was asked"
        )
        service.go.set()
        first = {path: f"answer {service.asked.index(f'GET {path}') + 1}" for path in paths}
        expect(await bodies(tasks), [first[path] for path in paths], of="what each client got")
