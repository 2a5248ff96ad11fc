from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from lab.model import Body, BodyTooLarge, Exchange, Response
from lab.proxy.connection import NoAnswer
from lab.proxy.forward import Forward, failure_response
from lab.proxy.headers import VIA
from lab.proxy.services import Directory
from lab.settings import LimitsSettings, ServiceSettings


class World:
    def __init__(self, url: str = "http://127.0.0.1:1", **settings: Any) -> None:
        self.now = 50.0
        self.services = Directory({"a": ServiceSettings(url=url, **settings)}, clock=lambda: self.now)
        self.requests: list[httpx.Request] = []
        self.answer: Any = lambda request: httpx.Response(200, content=b"ok")
        self.services["a"].upstream = httpx.MockTransport(self._serve)
        self.forward = Forward(self.services, LimitsSettings(), lambda: self.now, "t0ken")

    def _serve(self, request: httpx.Request) -> Any:
        self.requests.append(request)
        return self.answer(request)

    def exchange(self, method: str = "GET", rest: bytes = b"/x", **more: Any) -> Exchange:
        made = Exchange(method, b"/a" + rest, rest=rest, service="a", peer="192.0.2.1", host=b"gate", **more)
        made.request_id = "id"
        return made

    async def run(self, *args: Any, **more: Any) -> Response:
        return await self.forward(self.exchange(*args, **more))


async def test_target_bytes_are_the_client_s_under_the_service_s_own_path() -> None:
    world = World("http://127.0.0.1:1/base/")
    await world.run("GET", b"//a%2Fb", query=b"x=%2f&;")
    assert world.requests[0].extensions["target"] == b"/base//a%2Fb?x=%2f&;"
    assert world.requests[0].headers["host"] == "127.0.0.1:1"


async def test_the_time_that_is_left_bounds_the_attempt() -> None:
    world = World(timeout=5)
    exchange = world.exchange()
    await world.forward(exchange)
    assert exchange.deadline == 55.0
    assert world.requests[0].extensions["timeout"]["head"] == 5.0
    assert world.requests[0].extensions["timeout"]["connect"] == 2.0
    world.now = 54.5
    await world.forward(exchange)
    assert world.requests[1].extensions["timeout"]["head"] == 0.5
    assert world.requests[1].extensions["timeout"]["connect"] == 0.5
    assert exchange.attempts == 2
    world.now = 55.0
    assert (await world.forward(exchange)).status == 504
    assert len(world.requests) == 2
    assert exchange.attempts == 2


async def test_without_a_body_nothing_is_announced_and_with_one_it_can_be_replayed() -> None:
    world = World()
    await world.run()
    request = world.requests[0]
    assert "content-length" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert request.extensions["replay"] is None

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"

    body = Body(chunks(), length=2)
    world.answer = None
    sent: list[bytes] = []

    async def read(request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        sent.extend([chunk async for chunk in request.stream])
        sent.extend([chunk async for chunk in request.extensions["replay"]()])
        return httpx.Response(200)

    world.answer = read
    await world.run("POST", body=body, headers=[(b"content-length", b"2")])
    assert sent == [b"ab", b"ab"]


async def test_an_answer_passes_untouched_errors_and_redirects_included() -> None:
    world = World()
    fields = [
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("location", "/elsewhere"),
        ("content-encoding", "gzip"),
    ]
    for status in (200, 301, 404, 500, 503):
        world.answer = lambda request, status=status: httpx.Response(
            status, headers=fields, stream=httpx.ByteStream(b"\x1f\x8b raw")
        )
        response = await world.run()
        assert response.status == status
        assert response.failure is None
        assert response.stream is not None
        assert b"".join([chunk async for chunk in response.stream]) == b"\x1f\x8b raw"
        expected = [(name.encode(), value.encode()) for name, value in fields]
        assert response.headers == [*expected, (b"via", VIA)]


async def test_a_service_that_is_marked_down_is_not_asked() -> None:
    world = World()
    world.services["a"].health = "down"
    response = await world.run()
    assert response.status == 503
    assert response.header(b"retry-after") == b"1"
    assert response.failure == "destination_unavailable"
    assert world.requests == []


async def test_a_service_taken_out_meanwhile_is_404() -> None:
    world = World()
    exchange = world.exchange()
    world.services.remove("a")
    assert (await world.forward(exchange)).status == 404


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (httpx.ConnectError("refused"), 502, "connection_refused"),
        (caused(httpx.ConnectError("x"), socket.gaierror()), 502, "dns_error"),
        (caused(httpx.ConnectError("x"), ssl.SSLError()), 502, "tls_protocol_error"),
        (caused(httpx.ConnectError("x"), ssl.SSLCertVerificationError()), 502, "tls_certificate_error"),
        (httpx.ReadError("reset"), 502, "connection_terminated"),
        (httpx.WriteError("reset"), 502, "connection_terminated"),
        (httpx.RemoteProtocolError("garbage"), 502, "http_protocol_error"),
        (NoAnswer("closed"), 502, "connection_terminated"),
        (httpx.ConnectTimeout("slow"), 504, "connection_timeout"),
        (httpx.ReadTimeout("slow"), 504, "http_response_timeout"),
        (httpx.WriteTimeout("slow"), 504, "connection_write_timeout"),
        (httpx.PoolTimeout("busy"), 503, "connection_limit_reached"),
        (httpx.LocalProtocolError("bad"), 400, "http_request_error"),
        (BodyTooLarge(), 413, "http_request_error"),
    ],
)
async def test_every_failure_becomes_an_answer_that_names_it_and_shows_no_address(
    error: Exception, status: int, failure: str | None
) -> None:
    world = World("http://127.0.0.1:4711")

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    world.answer = fail
    response = await world.run()
    assert (response.status, response.failure) == (status, failure)
    assert b"4711" not in response.content
    if failure is not None:
        assert response.header(b"proxy-status") == b"gateway-lab; error=" + failure.encode()
        assert json.loads(response.content)["status"] == status
    assert (response.header(b"retry-after") is not None) == (status == 503)


async def test_a_cancelled_attempt_stays_a_cancellation() -> None:
    world = World()
    asked = asyncio.Event()

    async def wait(request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.answer = wait
    task = asyncio.ensure_future(world.run())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_another_httpx_transport_may_take_the_pool_s_place() -> None:
    """What an exercise does: httpx's own transport instead of ours; here its mock, which has no take_all."""
    world = World()
    response = await world.run()
    assert response.stream is not None
    assert b"".join([chunk async for chunk in response.stream]) == b"ok"


async def test_another_transport_tells_no_figures_and_has_no_longer_than_the_timeout() -> None:
    world = World(timeout=0.02, pool=7)
    assert world.services["a"].figures == (0, 0, 0, 7)

    async def wait(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    world.answer = wait
    response = await asyncio.wait_for(world.run(), 30)
    assert (response.status, response.failure) == (504, "http_response_timeout")


async def test_a_dropped_answer_closes_the_service_s_stream() -> None:
    world = World()
    closed: list[bool] = []

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        async def aclose(self) -> None:
            closed.append(True)

    world.answer = lambda request: httpx.Response(200, stream=Stream())
    response = await world.run()
    assert response.stream is not None
    await anext(response.stream)
    await response.aclose()
    assert closed == [True]


async def test_an_answer_dropped_before_it_was_read_is_closed_too() -> None:
    world = World()
    closed: list[bool] = []

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"

        async def aclose(self) -> None:
            closed.append(True)

    world.answer = lambda request: httpx.Response(200, stream=Stream())
    await (await world.run()).aclose()
    assert closed == [True]


def test_what_is_no_failure_of_transport_is_a_bad_gateway() -> None:
    assert failure_response(World().exchange(), OSError("?")).status == 502


async def test_through_our_own_pool_the_service_gets_target_fields_and_body_as_they_are() -> None:
    heard = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.readuntil(b"half and half")
        writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\nx-own: 1\r\n\r\ndone")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    services = Directory({"a": ServiceSettings(url=f"http://127.0.0.1:{port}/base")})
    forward = Forward(services, LimitsSettings(), lambda: 50.0)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half and "
        yield b"half"

    exchange = Exchange(
        "PUT",
        b"/a/x%2Fy",
        rest=b"/x%2Fy",
        query=b"q=%20",
        headers=[(b"host", b"gateway"), (b"x-mine", b"1"), (b"content-length", b"13")],
        host=b"gateway",
        body=Body(pieces(), length=13),
        service="a",
        peer="127.0.0.1",
    )
    try:
        response = await forward(exchange)
        body = response.content
        if response.stream is not None:
            body = b"".join([piece async for piece in response.stream])
        assert (response.status, body, response.header(b"x-own")) == (201, b"done", b"1")
    finally:
        await services["a"].aclose()
        server.close()
    head, _, sent = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /base/x%2Fy?q=%20 HTTP/1.1\r\n")
    assert b"\r\nx-mine: 1\r\n" in head
    assert sent == b"half and half"
