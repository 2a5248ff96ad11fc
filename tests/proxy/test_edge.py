from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from lab.model import BodyTooLarge, Exchange, Response, problem
from lab.proxy.cycle import CYCLE
from lab.proxy.edge import Edge, Message, Receive, Scope, Send, normalise
from lab.settings import LimitsSettings


class World:
    """An edge in front of a handler that remembers what it got, and a client that is a few lists."""

    def __init__(self, **limits: int) -> None:
        self.seen: list[Exchange] = []
        self.answer: Any = lambda exchange: Response(200, [(b"content-length", b"2")], b"ok")
        self.out: list[Message] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.edge = Edge(
            self.handle,
            self.refuse,
            self.own,
            {"service-a": object()},
            LimitsSettings(**limits),
            ["10.0.0.0/8"],
            lambda: 1.0,
        )

    async def handle(self, exchange: Exchange) -> Response:
        self.seen.append(exchange)
        answer = self.answer(exchange)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def refuse(self, exchange: Exchange) -> Response:
        assert exchange.refusal is not None
        return exchange.refusal

    async def own(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["method"].encode()})

    async def send(self, message: Message) -> None:
        self.out.append(message)

    def whole(self, status: int, headers: Any, body: bytes) -> None:
        """As our own server takes a whole response."""
        self.out += ({"status": status, "headers": headers}, {"body": body})

    async def ask(
        self, target: bytes = b"/service-a/x", method: str = "GET", headers: Any = None, **more: Any
    ) -> Response:
        """Send one request and return what came out."""
        path, _, query = target.partition(b"?")
        scope: Scope = {
            "type": "http",
            "method": method,
            "raw_path": path,
            "path": path.decode(),
            "query_string": query,
            "headers": [(b"host", b"gate")] if headers is None else headers,
            "client": ("192.0.2.7", 1),
            "http_version": "1.1",
            "extensions": {CYCLE: SimpleNamespace(answer=self.whole)},
            **more,
        }
        self.out = []
        await self.edge(scope, self.inbox.get, self.send)
        return self.last()

    def last(self) -> Response:
        start = self.out[0]
        body = b"".join(message.get("body", b"") for message in self.out[1:])
        return Response(start["status"], list(start["headers"]), body)

    @property
    def complete(self) -> bool:
        return not self.out[-1].get("more_body", False) and len(self.out) > 1


@pytest.fixture
def world() -> World:
    return World()


def names(response: Response) -> dict[bytes, bytes]:
    return dict(response.headers)


async def test_a_request_reaches_the_pipeline_byte_for_byte(world: World) -> None:
    await world.ask(b"/service-a//a%2Fb%3F%20c?a=1&a=2&b&d=&%2f&;")
    (exchange,) = world.seen
    assert exchange.service == "service-a"
    assert exchange.rest == b"//a%2Fb%3F%20c"
    assert exchange.query == b"a=1&a=2&b&d=&%2f&;"


async def test_the_service_alone_is_its_root(world: World) -> None:
    await world.ask(b"/service-a")
    assert world.seen[0].rest == b"/"


async def test_the_answer_names_the_service_and_has_one_date(world: World) -> None:
    answer = await world.ask()
    assert names(answer)[b"x-gateway-service"] == b"service-a"
    world.answer = lambda exchange: Response(200, [(b"date", b"then")])
    answer = await world.ask()
    assert [value for name, value in answer.headers if name == b"date"] == [b"then"]


@pytest.mark.parametrize("target", [b"/nope", b"/", b"/service-ab/x", b"//service-a/x", b"/SERVICE-A/x"])
async def test_what_names_no_service_is_404_and_problem_json(world: World, target: bytes) -> None:
    answer = await world.ask(target)
    assert answer.status == 404
    assert names(answer)[b"content-type"] == b"application/problem+json"
    assert world.seen == []


@pytest.mark.parametrize(
    "rest",
    [
        b"/..",
        b"/../b",
        b"/a/../b",
        b"/%2e%2e/b",
        b"/.%2E/b",
        b"/a/%2e",
        b"/./b",
        b"/..%2fb",
        b"/a%5c..%5cb",
        b"/..;/b",
    ],
)
async def test_dot_segments_are_refused(world: World, rest: bytes) -> None:
    answer = await world.ask(b"/service-a" + rest)
    assert answer.status == 400
    assert world.seen == []


@pytest.mark.parametrize("rest", [b"/a..b", b"/.well-known/x", b"/...", b"/a.", b"/%252e%252e/x"])
async def test_dots_that_are_no_segment_pass(world: World, rest: bytes) -> None:
    assert (await world.ask(b"/service-a" + rest)).status == 200
    assert world.seen[0].rest == rest


async def test_an_escaped_letter_is_matched_as_the_letter_and_forwarded_as_the_escape(world: World) -> None:
    await world.ask(b"/service%2Da/%69tems")
    assert world.seen[0].path == "/service-a/items"
    assert world.seen[0].rest == b"/%69tems"


def test_normalising_leaves_what_has_a_meaning() -> None:
    assert normalise(b"/%2F%3F%25%20%41%7e") == "/%2F%3F%25%20A~"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"a"), (b"host", b"a")],
        [(b"host", b"a/b")],
        [(b"host", b"a"), (b"content-length", b"1"), (b"content-length", b"1")],
        [(b"host", b"a"), (b"content-length", b"+1")],
        [(b"host", b"a"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"host", b"a"), (b"transfer-encoding", b"gzip, chunked")],
    ],
)
async def test_an_ambiguous_head_is_400_and_the_connection_closed(world: World, headers: Any) -> None:
    answer = await world.ask(headers=headers)
    assert answer.status == 400
    assert names(answer)[b"connection"] == b"close"
    assert world.seen == []


async def test_http_1_0_needs_no_host(world: World) -> None:
    assert (await world.ask(headers=[], http_version="1.0")).status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_is_refused_with_allow(world: World, method: str) -> None:
    answer = await world.ask(method=method)
    assert answer.status == 405
    assert b"allow" in names(answer)


async def test_max_forwards_is_answered_at_zero_and_counted_down(world: World) -> None:
    zero = [(b"host", b"a"), (b"max-forwards", b"0")]
    assert (await world.ask(method="OPTIONS", headers=zero)).status == 204
    assert world.seen == []
    await world.ask(method="OPTIONS", headers=[(b"host", b"a"), (b"max-forwards", b"3")])
    assert world.seen[0].header(b"max-forwards") == b"2"
    await world.ask(headers=[(b"host", b"a"), (b"max-forwards", b"3")])
    assert world.seen[1].header(b"max-forwards") == b"3"


async def test_options_star_is_for_the_gateway(world: World) -> None:
    assert (await world.ask(b"*", method="OPTIONS")).status == 204
    assert (await world.ask(b"*", method="GET")).status == 400


async def test_a_loop_is_508(world: World) -> None:
    from lab.proxy.headers import VIA

    assert (await world.ask(headers=[(b"host", b"a"), (b"via", VIA)])).status == 508


async def test_the_client_is_the_peer_unless_a_trusted_proxy_says_otherwise(world: World) -> None:
    told = [(b"host", b"a"), (b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-proto", b"https")]
    await world.ask(headers=told)
    assert world.seen[0].client == "192.0.2.7"
    assert world.seen[0].scheme == "http"
    await world.ask(headers=told, client=("10.1.1.1", 9))
    assert world.seen[1].client == "198.51.100.1"
    assert world.seen[1].peer == "10.1.1.1"
    assert world.seen[1].scheme == "https"


async def test_a_body_that_is_announced_too_large_is_413_unread() -> None:
    world = World(max_body=3)
    answer = await world.ask(method="POST", headers=[(b"host", b"a"), (b"content-length", b"4")])
    assert answer.status == 413
    assert world.seen == []


async def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    world = World(max_body=3)

    async def read(exchange: Exchange) -> Response:
        with pytest.raises(BodyTooLarge):
            async for _ in exchange.body:
                pass
        return problem(413, "x", "y")

    world.answer = read
    for piece in (b"ab", b"cd"):
        world.inbox.put_nowait({"type": "http.request", "body": piece, "more_body": True})
    answer = await world.ask(method="POST", headers=[(b"host", b"a"), (b"transfer-encoding", b"chunked")])
    assert answer.status == 413


async def test_a_body_streams_and_can_be_read_again(world: World) -> None:
    async def read(exchange: Exchange) -> Response:
        once = [chunk async for chunk in exchange.body]
        twice = [chunk async for chunk in exchange.body]
        assert once == twice == [b"ab", b"cd"]
        return Response(200)

    world.answer = read
    world.inbox.put_nowait({"type": "http.request", "body": b"ab", "more_body": True})
    world.inbox.put_nowait({"type": "http.request", "body": b"cd", "more_body": False})
    assert (
        await world.ask(method="POST", headers=[(b"host", b"a"), (b"content-length", b"4")])
    ).status == 200


async def test_a_stream_is_passed_on_piece_by_piece_and_counted(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        assert world.out[-1]["body"] == b"one" if len(world.out) > 2 else True
        yield b"two"

    ended: list[BaseException | None] = []

    def stream(exchange: Exchange) -> Response:
        response = Response(200, stream=pieces())
        response.on_end(ended.append)
        return response

    world.answer = stream
    answer = await world.ask()
    assert answer.content == b"onetwo"
    assert [m["body"] for m in world.out[1:]] == [b"one", b"two", b""]
    assert world.complete
    assert world.seen[0].bytes_out == 6
    assert ended == [None]


async def test_a_body_that_breaks_off_is_never_completed(world: World) -> None:
    ended: list[BaseException | None] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    def stream(exchange: Exchange) -> Response:
        response = Response(200, stream=pieces())
        response.on_end(ended.append)
        return response

    world.answer = stream
    await world.ask()
    assert not world.complete
    assert isinstance(ended[0], ConnectionResetError)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_there_is_no_body_where_none_may_be(world: World, method: str, status: int) -> None:
    world.answer = lambda exchange: Response(status, [(b"content-length", b"2")], b"ok")
    answer = await world.ask(method=method)
    assert answer.content == b""
    assert names(answer)[b"content-length"] == b"2"


async def test_a_stage_that_raises_is_a_500_that_tells_nothing(world: World, caplog: Any) -> None:
    def fail(exchange: Exchange) -> Response:
        exchange.request_id = "id-7"
        raise ZeroDivisionError("secret detail")

    world.answer = fail
    answer = await world.ask()
    assert answer.status == 500
    assert b"secret" not in answer.content
    assert names(answer)[b"x-request-id"] == b"id-7"
    assert "ZeroDivisionError" in caplog.text


async def test_cancelling_before_the_head_reaches_the_handler(world: World) -> None:
    waiting = asyncio.Event()
    released: list[str] = []

    async def wait(exchange: Exchange) -> Response:
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            released.append("released")
        raise AssertionError

    world.answer = wait
    task = asyncio.ensure_future(world.ask())
    await waiting.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert released == ["released"]


async def test_cancelling_after_the_head_closes_the_stream_and_says_why(world: World) -> None:
    flowing = asyncio.Event()
    ended: list[BaseException | None] = []
    closed: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            flowing.set()
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    def stream(exchange: Exchange) -> Response:
        response = Response(200, stream=pieces())
        response.on_end(ended.append)
        return response

    world.answer = stream
    task = asyncio.ensure_future(world.ask())
    await flowing.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert closed == ["closed"]
    assert isinstance(ended[0], asyncio.CancelledError)


async def test_under_another_server_the_disconnect_is_watched_for(world: World) -> None:
    waiting = asyncio.Event()

    async def wait(exchange: Exchange) -> Response:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.answer = wait
    task = asyncio.ensure_future(world.edge(scope(), world.inbox.get, world.send))
    await waiting.wait()
    world.inbox.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 5)
    assert world.out == []


def scope() -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": "/service-a/x",
        "query_string": b"",
        "headers": [(b"host", b"a")],
        "client": None,
    }


async def test_under_another_server_an_answer_is_an_answer(world: World) -> None:
    await world.edge(scope(), world.inbox.get, world.send)
    assert world.last().status == 200
    assert world.seen[0].raw_path == b"/service-a/x"


async def test_a_client_that_goes_away_while_it_uploads_is_a_cancellation(world: World) -> None:
    async def read(exchange: Exchange) -> Response:
        async for _ in exchange.body:
            pass
        raise AssertionError

    world.answer = read
    world.inbox.put_nowait({"type": "http.disconnect"})
    head = [(b"host", b"a"), (b"content-length", b"4")]
    with pytest.raises(IndexError):  # nothing was sent
        await world.ask(method="POST", headers=head)


async def test_the_gateways_own_paths_go_to_its_own_api(world: World) -> None:
    answer = await world.ask(b"/health")
    assert (answer.status, answer.content) == (200, b"GET")
    answer = await world.ask(b"/health", method="HEAD")
    assert (answer.status, answer.content) == (200, b"")
    assert world.seen == []


async def test_a_refused_websocket_gets_the_refusal_as_a_response(world: World) -> None:
    world.answer = lambda exchange: problem(429, "limit-exceeded", "wait", retry_after=3)
    world.inbox.put_nowait({"type": "websocket.connect"})
    await world.ask(type="websocket", scheme="ws")
    start, body = world.out
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 429
    assert json.loads(body["body"])["retry_after"] == 3
    assert world.seen[0].kind == "websocket"
