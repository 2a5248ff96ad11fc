"""The feed over a real socket, and the control calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from lab.dashboard.client import Control, ControlError, follow, websocket_url

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def feed(handler: Handler, token: str = "t0ken", port: int = 0) -> AsyncIterator[Server]:
    """A gateway's feed: it asks for the token and then does what `handler` does."""

    def guard(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Authorization") != f"Bearer {token}" or request.path != "/admin/events":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    async with serve(handler, "127.0.0.1", port, process_request=guard) as server:
        yield server


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_the_feed_is_followed_and_found_again_after_a_loss() -> None:
    heard: list[tuple[str, str]] = []
    visits = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal visits
        visits += 1
        await socket.send(json.dumps({"type": "snapshot", "visit": visits}))

    async with feed(handler) as server, asyncio.timeout(10):
        messages = follow(url_of(server), lambda: "t0ken", lambda *s: heard.append(s), pauses=(0.001,))
        assert [(await anext(messages))["visit"] for _ in range(3)] == [1, 2, 3]
        await messages.aclose()
    assert heard[:4] == [
        ("connecting", ""),
        ("live", ""),
        ("lost", "the gateway closed the feed"),
        ("live", ""),
    ]


async def test_a_wrong_token_is_told_and_the_right_one_is_waited_for() -> None:
    heard: list[str] = []
    refused = asyncio.Event()

    def status(state: str, reason: str) -> None:
        heard.append(f"{state}: {reason}")
        if state == "refused":
            refused.set()

    async def handler(socket: ServerConnection) -> None: ...

    async with feed(handler) as server, asyncio.timeout(10):
        messages = follow(url_of(server), lambda: "wrong", status, pauses=(0.001,))
        following = asyncio.ensure_future(anext(messages))
        await refused.wait()
        following.cancel()
    assert heard[:2] == ["connecting: ", "refused: the token is wrong"]


async def test_a_gateway_that_comes_back_with_another_token_is_followed_again() -> None:
    tokens = iter(["old", "old", "t0ken"])
    heard: list[str] = []

    async def handler(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "snapshot"}))

    async with feed(handler) as server, asyncio.timeout(10):
        messages = follow(
            url_of(server), lambda: next(tokens), lambda *s: heard.append(s[0]), pauses=(0.001,)
        )
        assert await anext(messages) == {"type": "snapshot"}
        await messages.aclose()
    assert heard == ["connecting", "refused", "refused", "live"]


async def test_a_gateway_that_is_not_there_yet_is_waited_for() -> None:
    heard: list[tuple[str, str]] = []
    lost = asyncio.Event()

    def status(state: str, reason: str) -> None:
        heard.append((state, reason))
        if reason:
            lost.set()

    async def handler(socket: ServerConnection) -> None:
        await socket.send('{"type": "snapshot"}')

    async with feed(handler) as server:
        port = next(iter(server.sockets)).getsockname()[1]
    messages = follow(f"http://127.0.0.1:{port}", lambda: "t0ken", status, pauses=(0.001,))
    async with asyncio.timeout(10):
        first = asyncio.ensure_future(anext(messages))
        await lost.wait()
        async with feed(handler, port=port):
            assert await first == {"type": "snapshot"}
            await messages.aclose()
    assert heard[1] == ("connecting", f"nobody answers at 127.0.0.1:{port}")


def test_the_address_of_the_feed() -> None:
    assert websocket_url("http://127.0.0.1:8000") == "ws://127.0.0.1:8000/admin/events"
    assert websocket_url("https://gw.example/edge/") == "wss://gw.example/edge/admin/events"


def control(answer: Callable[[httpx.Request], httpx.Response]) -> Control:
    return Control("http://gateway", "t0ken", transport=httpx.MockTransport(answer))


async def test_control_calls_carry_the_token_and_the_body() -> None:
    asked: list[tuple[str, str, str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        where = request.url.raw_path.decode()
        asked.append((request.method, where, request.content.decode(), request.headers["authorization"]))
        return httpx.Response(200, json={"ok": True})

    calls = control(answer)
    await calls.breaker("service-a", "open")
    await calls.policy("cache", enabled=False)
    await calls.purge("/service-a/items/1?a=b&c")
    await calls.purge()
    await calls.aclose()
    assert asked == [
        ("PUT", "/admin/breakers/service-a", '{"state":"open"}', "Bearer t0ken"),
        ("PUT", "/admin/policies/cache", '{"enabled":false}', "Bearer t0ken"),
        ("DELETE", "/admin/cache?path=%2Fservice-a%2Fitems%2F1%3Fa%3Db%26c", "", "Bearer t0ken"),
        ("DELETE", "/admin/cache", "", "Bearer t0ken"),
    ]


async def test_a_refusal_is_one_line_with_the_gateways_own_words() -> None:
    calls = control(lambda request: httpx.Response(422, json={"detail": "limit:\n a number was expected"}))
    with pytest.raises(ControlError, match=r"^422: limit: a number was expected$"):
        await calls.policy("rate_limit", options={"limit": "x"})


async def test_a_gateway_that_is_away_is_one_line() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ControlError, match="not reachable"):
        await control(answer).snapshot()
