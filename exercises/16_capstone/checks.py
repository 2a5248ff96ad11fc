"""The checks of exercise 16: the program is started, and asked over HTTP and WebSocket from outside."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from lab.exercises.kit import Failure, Student, check, expect, expect_that
from lab.exercises.serving import Server

LIMIT = 30.0
"""Seconds for a check: a submission may take its time to start."""
PATIENCE = 8.0
"""Seconds for one answer."""
LARGEST = 1 << 20
"""Bytes of a body, in either direction."""


# -- the services --------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """One request that a service got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Service:
    """Answers every request by telling what arrived, and keeps a list of them.

    Each answer has a mark that nobody can guess: so it is known which answers it has really given.
    `/status/418` is answered with that status, `/hold/…` when `go` is set. Its WebSocket sends back what it
    gets; "tick" brings three messages, "close" a closing handshake with the code 4001.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Asked] = []
        self.said: dict[str, dict[str, Any]] = {}
        """By their marks."""
        self.heard: list[str | bytes] = []
        """Over WebSockets."""
        self.failing = False
        self.go = threading.Event()
        self.opened: list[str] = []
        self.gone = threading.Event()
        """A WebSocket's client has gone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more and len(body) <= LARGEST:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.asked.append(Asked(scope["method"], asked_for(scope), headers, body))
        number = len(self.asked)
        _, kind, *rest = scope["path"].split("/")
        if kind == "hold":
            await asyncio.to_thread(self.go.wait, 10)
        status = int(rest[0]) if kind == "status" else 500 if self.failing else 200
        told = {"service": self.name, "method": scope["method"], "target": asked_for(scope), "number": number}
        told["mark"] = secrets.token_hex(8)
        self.said[told["mark"]] = told
        fields = [(b"content-type", b"application/json"), (b"x-service", self.name.encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.opened.append(asked_for(scope))
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            self.heard.append(message["bytes"] if text is None else text)
            if text == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
                return
            if text == "tick":
                for number in (1, 2, 3):
                    await send({"type": "websocket.send", "text": f"tick {number}"})
            elif text is None:
                await send({"type": "websocket.send", "bytes": message["bytes"]})
            elif text != "quiet":
                await send({"type": "websocket.send", "text": text})
        self.gone.set()


def asked_for(scope: Any) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
    return path + (f"?{query}" if query else "")


# -- the submission ------------------------------------------------------------------------------------------


@dataclass
class Got:
    """What a client gets."""

    status_code: int
    headers: httpx.Headers
    text: str


class Gateway:
    """The submission as its clients see it, and the services behind it."""

    def __init__(self, student: Student, url: str, a: Service, b: Service) -> None:
        self.a, self.b = a, b
        self._student = student
        self._url = url
        # What was packed is not unpacked here: a few bytes could become as many gigabytes.
        plain = {"accept-encoding": "identity"}
        self._client = httpx.Client(
            base_url=url, timeout=PATIENCE, headers=plain, trust_env=False, verify=False
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **headers: str) -> Got:
        return self.request("GET", path, headers=headers)

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Got:
        headers = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        shown = "".join(f", {name}: {value}" for name, value in headers.items())
        entry = self._student.calls.add(f"{method} {path}{shown}")
        try:
            with self._client.stream(method, path, headers=headers, content=body) as response:
                text = self._text(response)
        except httpx.HTTPError as error:
            what = "nothing" if isinstance(error, httpx.TimeoutException) else type(error).__name__
            entry.append(what)
            raise Failure("an answer", f"{what}, after at most {PATIENCE:g} seconds") from None
        entry.append(str(response.status_code))
        return Got(response.status_code, response.headers, text)

    def _text(self, response: httpx.Response) -> str:
        """The body, of an answer that ends some time: those that we ask for are short."""
        until, body = time.monotonic() + PATIENCE, b""
        for piece in response.iter_raw(65_536):
            body += piece
            if len(body) > LARGEST:
                raise Failure("the service's own answer, unchanged", f"more than {LARGEST >> 10} KiB")
            if time.monotonic() > until:
                raise httpx.ReadTimeout("it goes on and on")
        return body.decode("utf-8", "replace")

    def arrived(self, response: Got) -> dict[str, Any]:
        """What the service says that arrived there; nobody else can have said it."""
        try:
            told = json.loads(response.text)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or "target" not in told:
            got = f"{response.status_code} {response.text[:120]!r}"
        elif told in (self.a.said.get(str(told.get("mark"))), self.b.said.get(str(told.get("mark")))):
            return told
        else:
            got = f"{response.status_code}, and an answer that no service has given"
        raise Failure("the service's own answer, unchanged", got)

    def statuses(self, paths: list[str], **headers: str) -> list[int]:
        return [self.get(path, **headers).status_code for path in paths]

    @contextmanager
    def websocket(self, path: str = "/service-b/ws", **headers: str) -> Iterator[ClientConnection]:
        entry = self._student.calls.add(f"WebSocket {path}")
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            opened = connect(
                self._url.replace("http", "ws", 1) + path,
                open_timeout=PATIENCE,
                close_timeout=1,
                additional_headers=fields,
                proxy=None,
            )
        except (InvalidHandshake, OSError, EOFError) as error:
            entry.append("refused")
            raise Failure("an open WebSocket", f"{type(error).__name__}: {error}") from None
        entry.append("open")
        with opened:
            yield opened

    def receive(self, socket_: ClientConnection) -> str | bytes:
        entry = self._student.calls.add("receive")
        try:
            message = socket_.recv(PATIENCE)
        except TimeoutError:
            entry.append("nothing")
            raise Failure("a message", f"nothing for {PATIENCE:g} seconds") from None
        except ConnectionClosed as closed:
            entry.append("closed")
            raise Failure("a message", f"the connection was closed ({closed})") from None
        entry.append(repr(message)[:60])
        return message

    def send(self, socket_: ClientConnection, message: str | bytes) -> None:
        self._student.calls.add(f"send {message!r:.60}")
        try:
            socket_.send(message)
        except ConnectionClosed as closed:
            raise Failure("a WebSocket that stays open", f"it was closed ({closed})") from None


@contextmanager
def gateway(student: Student, **env: str) -> Iterator[Gateway]:
    """The submission as a program of its own, before two services of this check's own."""
    a, b = Service("a"), Service("b")
    with (
        ThreadPoolExecutor(2) as ending,
        listening(a, ending) as at_a,
        listening(b, ending) as at_b,
        student.run({"SERVICE_A_URL": at_a, "SERVICE_B_URL": at_b} | env) as served,
    ):
        some = Gateway(student, served.url, a, b)
        try:
            yield some
        finally:
            a.go.set()
            b.go.set()
            some.close()


@contextmanager
def listening(service: Service, ending: ThreadPoolExecutor) -> Iterator[str]:
    """The service's URL, while it listens."""
    server = Server(service)
    try:
        server.start()
        yield f"http://127.0.0.1:{server.port}"
    finally:
        ending.submit(server.stop)  # beside the other one's


def until(true: Callable[[], bool], wanted: str, got: str, within: float = PATIENCE, **more: str) -> None:
    """Wait until something is true, which a busy machine may delay; then go on at once."""
    end = time.monotonic() + within
    pause = threading.Event()
    while not true():
        if time.monotonic() > end:
            raise Failure(wanted, got, **more)
        pause.wait(0.01)


ROUTED = ("test_a_request_reaches_its_service",)
LIMITED = ("test_ten_requests_pass_and_no_more",)
CACHED = ("test_an_equal_get_does_not_ask_again",)
SOCKETS = ("test_a_websocket_carries_text",)
CONFIGURED = ("test_bonus_the_limit_can_be_configured",)


# -- routing and forwarding ----------------------------------------------------------------------------------


@check(
    points=4,
    why="A gateway stands before services: that a request gets there is the whole point.",
    look="SERVICE_A_URL, and what is left of the path when the service's name is taken off",
    mistake="route",
    limit=LIMIT,
)
def test_a_request_reaches_its_service(student: Student) -> None:
    with gateway(student) as some:
        response = some.get("/service-a/items/1")
        expect(response.status_code, 200, of="the status")
        expect(some.arrived(response)["service"], "a", of="the service that answers")
        expect(
            some.arrived(response)["target"], "/items/1", of="what the service is asked for", mistake="prefix"
        )


@check(
    points=2,
    why="Half of a request is in its query, and a service that does not get it answers something else.",
    after=ROUTED,
    look="what becomes of the part behind the question mark",
    mistake="query",
    limit=LIMIT,
)
def test_the_query_goes_along(student: Student) -> None:
    with gateway(student) as some:
        for target in ("/users?limit=3&limit=4", "/search?q=a%26b&empty="):
            told = some.arrived(some.get(f"/service-a{target}"))
            expect(told["target"], target, of="what the service is asked for")


@check(
    points=2,
    why="One address for many services is what clients want a gateway for.",
    after=ROUTED,
    look="which service the first part of the path names, and SERVICE_B_URL",
    mistake="second-service",
    limit=LIMIT,
)
def test_each_service_gets_its_own_requests(student: Student) -> None:
    with gateway(student) as some:
        told = some.arrived(some.get("/service-b/info/2"))
        expect(
            [told["service"], told["target"]], ["b", "/info/2"], of="who answers, and what it was asked for"
        )
        expect(len(some.a.asked), 0, of="requests that service A got")


@check(
    points=2,
    why="A name that nobody has must not become a request to somebody.",
    after=ROUTED,
    look="the answer where the first part of the path is no service's name; all of it must be equal",
    mistake="unknown",
    limit=LIMIT,
)
def test_an_unknown_service_is_404(student: Student) -> None:
    with gateway(student) as some:
        paths = ["/service-c/items/1", "/service-abc/items/1"]
        expect(some.statuses(paths), [404, 404], of="the statuses")
        expect(len(some.a.asked) + len(some.b.asked), 0, of="requests that the services got")


@check(
    points=3,
    why="A gateway that turns every request into a GET without a body has only half of an API behind it.",
    after=ROUTED,
    look="the method and the body of the request that you make to the service: bytes, as they came",
    mistake="method",
    limit=LIMIT,
)
def test_method_and_body_go_along(student: Student) -> None:
    with gateway(student) as some:
        sent = b'{"name": "caf\xc3\xa9"}\x00\xff'
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            response = some.request(
                method, "/service-a/items/1", {"content-type": "application/x-mine"}, sent
            )
            expect(some.arrived(response)["method"], method, of="the method that the service gets")
            last = some.a.asked[-1]
            expect(last.body, sent if method != "DELETE" else last.body, of="the body that the service gets")
            expect(
                last.headers.get("content-type"),
                "application/x-mine",
                of="Content-Type at the service",
                mistake="fields",
            )


@check(
    points=2,
    why="Clients and services agree on fields that a gateway has never heard of.",
    after=ROUTED,
    look="the header fields: all but those of one connection go along",
    mistake="fields",
    limit=LIMIT,
)
def test_header_fields_go_along(student: Student) -> None:
    with gateway(student) as some:
        response = some.get("/service-a/items/1", X_Demo="seven", Accept_Language="de")
        headers = some.a.asked[-1].headers if some.a.asked else {}
        got = [headers.get("x-demo"), headers.get("accept-language")]
        expect(got, ["seven", "de"], of="X-Demo and Accept-Language at the service")
        expect(response.headers.get("x-service"), "a", of="the field X-Service that the service answers with")
        expect(response.headers.get("content-type"), "application/json", of="Content-Type of the answer")


@check(
    points=2,
    why="What a service says is its own business, errors included.",
    after=ROUTED,
    look="the status of the answer: it is the service's, with the service's body",
    mistake="status",
    limit=LIMIT,
)
def test_the_services_status_comes_back(student: Student) -> None:
    with gateway(student) as some:
        for status in (201, 404, 418, 503):
            response = some.request("POST", f"/service-a/status/{status}", body=b"{}")
            expect(response.status_code, status, of="the status")
            expect(some.arrived(response)["target"], f"/status/{status}", of="what the body speaks of")


@check(
    points=2,
    why="That a service is away is no reason to answer as if the gateway were broken.",
    after=ROUTED,
    look="the exception of your HTTP client where nobody listens: 502 Bad Gateway",
    mistake="away",
    limit=LIMIT,
)
def test_a_service_that_is_away_is_502(student: Student) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nobody listens: no other program can have the port
        with gateway(student, SERVICE_A_URL=f"http://127.0.0.1:{nobody.getsockname()[1]}") as some:
            status = some.get("/service-a/items/1").status_code
            expect_that(status in (502, 503, 504), "502 (or 503, 504)", str(status))
            expect(some.get("/service-b/items/1").status_code, 200, of="the status from the other service")


@check(
    points=2,
    why="One slow service must not make all the others slow.",
    after=("test_each_service_gets_its_own_requests",),
    look="a call that blocks inside of an `async def`: use an async HTTP client and `await` it",
    mistake="blocking",
    limit=LIMIT,
)
def test_a_slow_answer_holds_nobody_up(student: Student) -> None:
    with gateway(student) as some, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(some.get, "/service-a/hold/1")
        try:
            until(lambda: bool(some.a.asked), "a request at service A", "none")
            expect(some.get("/service-b/items/1").status_code, 200, of="the status from the other service")
        finally:
            some.a.go.set()
        expect(slow.result().status_code, 200, of="the status of the slow answer")


# -- limit ---------------------------------------------------------------------------------------------------


@check(
    points=5,
    why="The limit is the promise that the gateway makes to the services behind it.",
    after=ROUTED,
    look="a count for each client: the tenth request within 60 seconds passes, the eleventh is answered 429",
    mistake="limit",
    limit=LIMIT,
)
def test_ten_requests_pass_and_no_more(student: Student) -> None:
    with gateway(student) as some:
        statuses = some.statuses([f"/service-a/items/{n}" for n in range(1, 14)])
        passed = statuses.count(200)
        expect(
            statuses,
            [200] * 10 + [429] * 3,
            of="the statuses of 13 requests",
            mistake="off-by-one" if passed in (9, 11) else "",
        )
        status = some.get("/service-a/items/14", X_API_Key="mine").status_code
        expect(status, 429, of="the status with a key that nobody asked for: it makes no other client")


@check(
    points=2,
    why="A request that is refused after it was forwarded has cost all that the limit was to save.",
    after=LIMITED,
    look="the order: first the limit, then the service",
    mistake="forwarded",
    limit=LIMIT,
)
def test_a_refused_request_is_not_forwarded(student: Student) -> None:
    with gateway(student) as some:
        some.statuses([f"/service-a/items/{n}" for n in range(1, 14)])
        expect(len(some.a.asked), 10, of="requests that the service got, of 13")


@check(
    points=1,
    why="A client that knows when to come back does not need to try (RFC 9110 §10.2.3).",
    after=LIMITED,
    look="the field Retry-After of the 429: whole seconds, 1 to 60",
    mistake="retry-after",
    limit=LIMIT,
)
def test_429_says_when_to_come_back(student: Student) -> None:
    with gateway(student) as some:
        for n in range(1, 11):
            some.get(f"/service-a/items/{n}")
        value = some.get("/service-a/items/11").headers.get("retry-after", "")
        expect_that(
            value.isdecimal() and 1 <= int(value) <= 60,
            "Retry-After: a whole number from 1 to 60",
            f"Retry-After: {value or '(no such field)'}",
        )


@check(
    points=2,
    why="Those who want to get around a limit do not ask one after the other.",
    hidden=True,
    after=LIMITED,
    look="what can happen between the look at the count and its change: an `await` there lets others pass",
    mistake="race",
    limit=LIMIT,
)
def test_ten_pass_of_twenty_at_once(student: Student) -> None:
    with gateway(student) as some, ThreadPoolExecutor(20) as pool:
        refused: list[int] = []

        def ask(n: int) -> int:
            status = some.get(f"/service-a/hold/{n}").status_code
            if status != 200:
                refused.append(status)
            return status

        answers = [pool.submit(ask, n) for n in range(20)]
        try:
            until(lambda: len(some.a.asked) + len(refused) >= 20, "20 answers or requests under way", "fewer")
        finally:
            some.a.go.set()
        expect(
            sorted(answer.result() for answer in answers), [200] * 10 + [429] * 10, of="20 requests at once"
        )


# -- cache ---------------------------------------------------------------------------------------------------


@check(
    points=4,
    why="The quickest request is the one that is not made.",
    after=ROUTED,
    look="a GET that was answered with 200 less than 30 seconds ago: give the answer that you kept",
    mistake="cache",
    limit=LIMIT,
)
def test_an_equal_get_does_not_ask_again(student: Student) -> None:
    with gateway(student) as some:
        first, *others = (some.get("/service-a/items/1?size=2") for _ in range(3))
        expect(len(some.a.asked), 1, of="requests that the service got, of three equal ones")
        for other in others:
            expect(other.status_code, 200, of="the status of the kept answer")
            expect(other.text, first.text, of="the kept answer's body")
            kind = other.headers.get("content-type")
            expect(kind, "application/json", of="Content-Type of the kept answer")


@check(
    points=3,
    why="A quick answer to another question is a wrong answer.",
    after=CACHED,
    look="the cache's key: service, path and query, all three",
    mistake="key",
    limit=LIMIT,
)
def test_different_requests_have_different_answers(student: Student) -> None:
    with gateway(student) as some:
        paths = ["/service-a/items/1", "/service-a/items/2", "/service-a/items/1?size=2"]
        paths += ["/service-a/items/1?size=3", "/service-b/items/1"]
        told = [some.arrived(some.get(path)) for path in paths]
        got = [f"/service-{each['service']}{each['target']}" for each in told]
        expect(got, paths, of="what the answers speak of")


@check(
    points=3,
    why="A second order is an order, and a fault that is kept outlives its cause.",
    after=CACHED,
    look="what is put into the cache: GETs, and of those the ones with status 200",
    mistake="keeps-too-much",
    limit=LIMIT,
)
def test_only_good_answers_to_gets_are_kept(student: Student) -> None:
    with gateway(student) as some:
        some.get("/service-a/items/1")
        for _ in range(2):
            told = some.arrived(some.request("POST", "/service-a/items/1", body=b"{}"))
            expect(told["method"], "POST", of="what a POST is answered with, after a GET for the same path")
        expect(len(some.a.asked), 3, of="requests that the service got: a GET and two equal POSTs")
        some.a.failing = True
        expect(some.get("/service-a/items/2").status_code, 500, of="the status while the service fails")
        some.a.failing = False
        expect(some.get("/service-a/items/2").status_code, 200, of="the status when it is well again")


# -- WebSocket -----------------------------------------------------------------------------------------------


@check(
    points=4,
    why="A connection that stays open is what makes things live.",
    look="accept the client's WebSocket, open one to SERVICE_B_URL (ws://…), and pass on what comes",
    mistake="websocket",
    limit=LIMIT,
)
def test_a_websocket_carries_text(student: Student) -> None:
    with gateway(student) as some, some.websocket() as client:
        for text in ("hello", "", "größer"):
            some.send(client, text)
            expect(some.receive(client), text, of="what comes back")
        expect(some.b.heard, ["hello", "", "größer"], of="what the service got")
        expect(some.b.opened, ["/ws"], of="what the service's WebSockets were opened for", mistake="prefix")


@check(
    points=2,
    why="Pictures and sound are no text (RFC 6455 §5.6).",
    after=SOCKETS,
    look="the type of a message, in both directions: text stays text, bytes stay bytes",
    mistake="binary",
    limit=LIMIT,
)
def test_a_websocket_carries_bytes(student: Student) -> None:
    with gateway(student) as some, some.websocket() as client:
        messages = [bytes(range(256)), "text", b"more"]
        for message in messages:
            some.send(client, message)
            expect(some.receive(client), message, of="what comes back")
        expect(some.b.heard, messages, of="what the service got")


@check(
    points=2,
    why="A WebSocket is no sequence of questions and answers: each side speaks when it likes.",
    after=SOCKETS,
    look="two tasks, one for each direction, neither of which waits for the other",
    mistake="lockstep",
    limit=LIMIT,
)
def test_each_side_speaks_when_it_likes(student: Student) -> None:
    with gateway(student) as some, some.websocket() as client:
        some.send(client, "tick")
        got = [some.receive(client) for _ in range(3)]
        expect(got, ["tick 1", "tick 2", "tick 3"], of="three messages after one")
        for message in ("quiet", "quiet", "loud"):
            some.send(client, message)
        expect(some.receive(client), "loud", of="one message after three")
        expect(some.b.heard, ["tick", "quiet", "quiet", "loud"], of="what the service got")


@check(
    points=2,
    why="A code says why it is over; and what goes on after its client has gone is never over.",
    after=SOCKETS,
    look="the end, in both directions: when one side closes, close the other with the same code",
    mistake="close",
    limit=LIMIT,
)
def test_the_end_crosses_too(student: Student) -> None:
    with gateway(student) as some:
        with some.websocket() as client:
            some.send(client, "close")
            try:
                extra = client.recv(PATIENCE)
                raise Failure("a closed WebSocket", f"the message {extra!r:.60}")
            except TimeoutError:
                raise Failure("a closed WebSocket", f"nothing for {PATIENCE:g} seconds") from None
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
            expect(code, 4001, of="the code with which the service closed, at the client")
        with some.websocket() as client:
            some.send(client, "hello")
            some.receive(client)
        wanted = "a closed WebSocket at the service, when its client has gone"
        until(some.b.gone.is_set, wanted, "an open one")
        some.b.gone.clear()
        with some.websocket() as client:
            some.send(client, "hello")
            some.receive(client)
            student.calls.add("the client's connection breaks")
            client.socket.shutdown(socket.SHUT_RDWR)
            until(some.b.gone.is_set, wanted, "an open one")


@check(
    points=1,
    why="Two conversations at once are two conversations.",
    hidden=True,
    after=SOCKETS,
    look="what your WebSockets share",
    mistake="websocket",
    limit=LIMIT,
)
def test_two_websockets_are_kept_apart(student: Student) -> None:
    with gateway(student) as some, some.websocket() as one, some.websocket("/service-b/ws?two=2") as two:
        some.send(one, "from one")
        some.send(two, "from two")
        got = [some.receive(two), some.receive(one)]
        expect(got, ["from two", "from one"], of="what the second and the first one get")
        expect(some.b.opened, ["/ws", "/ws?two=2"], of="what was opened at the service", mistake="query")


# -- bonuses -------------------------------------------------------------------------------------------------


@check(
    points=3,
    why="Who may ask at all is decided in one place, before any service.",
    after=ROUTED,
    look="API_KEYS, split at the commas, and the field X-API-Key; without a known key 401",
    mistake="keys",
    limit=LIMIT,
)
def test_bonus_a_key_is_needed(student: Student) -> None:
    with gateway(student, API_KEYS="alpha,beta") as some:
        expect(some.get("/service-a/items/1").status_code, 401, of="the status without a key")
        for key in ("gamma", "alpha,beta", "alph"):
            status = some.get("/service-a/items/1", X_API_Key=key).status_code
            expect(status, 401, of=f"the status with the key {key}")
        expect(len(some.a.asked), 0, of="requests that the service got so far")
        for key in ("alpha", "beta"):
            status = some.get("/service-a/items/1", X_API_Key=key).status_code
            expect(status, 200, of=f"the status with the key {key}")


@check(
    points=2,
    why="Two customers behind one address are two customers.",
    after=("test_bonus_a_key_is_needed", *LIMITED),
    look="what you count by: where keys are needed it is the key, else the address",
    mistake="shared-counter",
    limit=LIMIT,
)
def test_bonus_each_key_has_a_limit_of_its_own(student: Student) -> None:
    with gateway(student, API_KEYS="alpha,beta") as some:
        some.statuses([f"/service-a/items/{n}" for n in range(1, 11)], X_API_Key="alpha")
        expect(some.get("/service-a/items/11", X_API_Key="alpha").status_code, 429, of="alpha's 11th request")
        expect(some.get("/service-a/items/12", X_API_Key="beta").status_code, 200, of="beta's first request")


@check(
    points=1,
    why="A door beside the door is not locked.",
    hidden=True,
    after=("test_bonus_a_key_is_needed", *SOCKETS),
    look="the WebSocket's handshake is a request too: it needs a key before anybody connects to the service",
    mistake="keys",
    limit=LIMIT,
)
def test_bonus_a_websocket_needs_a_key_too(student: Student) -> None:
    with gateway(student, API_KEYS="alpha") as some:
        try:
            with some.websocket() as client:
                some.send(client, "hello")
                got = some.receive(client)
                raise Failure("no WebSocket without a key", f"an open one that says {got!r:.60}")
        except Failure as failure:
            if failure.wanted == "no WebSocket without a key":
                raise
        expect(some.b.opened, [], of="WebSockets that were opened at the service")
        with some.websocket(X_API_Key="alpha") as client:
            some.send(client, "hello")
            expect(some.receive(client), "hello", of="what comes back, with a key")


@check(
    points=3,
    why="What an operator may want to change tonight must not need a programmer.",
    after=LIMITED,
    look="RATE_LIMIT, read from the environment and made a number",
    mistake="configuration",
    limit=LIMIT,
)
def test_bonus_the_limit_can_be_configured(student: Student) -> None:
    for limit in (1, 12):
        with gateway(student, RATE_LIMIT=str(limit)) as some:
            statuses = some.statuses([f"/service-a/items/{n}" for n in range(limit + 1)])
            expect(statuses, [200] * limit + [429], of=f"the statuses with RATE_LIMIT={limit}")


@check(
    points=2,
    why="A limit that never ends is a ban.",
    after=CONFIGURED,
    look="RATE_WINDOW, in seconds: when it is over, a client is admitted again",
    mistake="ban",
    limit=LIMIT,
)
def test_bonus_a_window_ends(student: Student) -> None:
    with gateway(student, RATE_LIMIT="2", RATE_WINDOW="0.1", CACHE_TTL="0") as some:
        until(
            lambda: some.get("/service-a/items/1").status_code == 429,
            "429, with RATE_LIMIT=2",
            "it never came",
        )
        until(
            lambda: some.get("/service-a/items/1").status_code == 200,
            "200 again, with RATE_WINDOW=0.1",
            f"429 for {PATIENCE:g} seconds",
        )


@check(
    points=2,
    why="What is kept forever is wrong one day.",
    after=(*CONFIGURED, *CACHED),
    look="CACHE_TTL, in seconds: when it is over, the service is asked again",
    mistake="ttl",
    limit=LIMIT,
)
def test_bonus_a_kept_answer_grows_old(student: Student) -> None:
    with gateway(student, RATE_LIMIT="1000000", CACHE_TTL="0.1") as some:
        until(
            lambda: some.arrived(some.get("/service-a/items/1"))["number"] == 2,
            "the service's second answer, with CACHE_TTL=0.1",
            f"the first one for {PATIENCE:g} seconds",
        )


@check(
    points=3,
    why="A service that fails needs rest, and its clients a quick answer.",
    after=("test_each_service_gets_its_own_requests",),
    look="failures in a row, for each service: after the fifth (5xx, or nobody there) 503 without asking",
    mistake="breaker",
    limit=LIMIT,
)
def test_bonus_a_failing_service_is_left_alone(student: Student) -> None:
    with gateway(student) as some:
        some.a.failing = True
        statuses = some.statuses([f"/service-a/items/{n}" for n in range(7)])
        expect(statuses, [500] * 5 + [503] * 2, of="the statuses of seven requests to a service that fails")
        expect(len(some.a.asked), 5, of="requests that the service got")
        expect(
            some.get("/service-b/items/1").status_code,
            200,
            of="the status from the other service",
            mistake="one-breaker",
        )


@check(
    points=2,
    why="A breaker that never closes is an outage of its own.",
    after=(*CONFIGURED, "test_bonus_a_failing_service_is_left_alone"),
    look="BREAKER_FAILURES and BREAKER_OPEN_FOR: when the wait is over, requests reach the service again",
    mistake="stays-open",
    limit=LIMIT,
)
def test_bonus_a_service_gets_another_chance(student: Student) -> None:
    env = {"RATE_LIMIT": "1000000", "BREAKER_FAILURES": "2", "BREAKER_OPEN_FOR": "0.1", "CACHE_TTL": "0"}
    with gateway(student, **env) as some:
        some.a.failing = True
        until(
            lambda: some.get("/service-a/items/1").status_code == 503,
            "503, with BREAKER_FAILURES=2",
            "only 500",
        )
        some.a.failing = False
        until(
            lambda: some.get("/service-a/items/1").status_code == 200,
            "200 again, with BREAKER_OPEN_FOR=0.1",
            f"503 for {PATIENCE:g} seconds",
        )


@check(
    points=1,
    why="Five failures on five days say nothing about today.",
    hidden=True,
    after=("test_bonus_a_failing_service_is_left_alone",),
    look="failures *in a row*: an answer below 500 in between starts the count again",
    mistake="breaker",
    limit=LIMIT,
)
def test_bonus_only_failures_in_a_row_count(student: Student) -> None:
    with gateway(student) as some:
        statuses = []
        for wanted in [500] * 3 + [499] + [500] * 6:
            some.a.failing = wanted == 500
            path = f"/service-a/items/{len(statuses)}" if wanted == 500 else "/service-a/status/499"
            statuses.append(some.get(path).status_code)
        wanted_all = [500] * 3 + [499] + [500] * 5 + [503]
        expect(statuses, wanted_all, of="three failures, a client's mistake, and failures again")


@check(
    points=3,
    why="One name for a request in all logs finds in a minute what takes a day without it.",
    after=ROUTED,
    look="X-Request-ID: make one where the client sends none; send it to the service, and back in the answer",
    mistake="request-id",
    limit=LIMIT,
)
def test_bonus_each_request_has_a_name(student: Student) -> None:
    with gateway(student) as some:
        named = some.get("/service-a/items/1", X_Request_ID="mine-7")
        made = [some.get(f"/service-a/items/{n}") for n in (2, 3)]
        ids = [response.headers.get("x-request-id", "") for response in (named, *made)]
        expect(ids[0], "mine-7", of="X-Request-ID of the answer, where the client has sent mine-7")
        expect_that(
            bool(ids[1] and ids[2] and ids[1] != ids[2]),
            "two different X-Request-ID where the client has sent none",
            str(ids[1:]),
        )
        seen = [asked.headers.get("x-request-id") for asked in some.a.asked]
        expect(seen, ids, of="X-Request-ID at the service")
