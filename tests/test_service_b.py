import asyncio
import socket

import pytest
import uvicorn
import websockets
from websockets.asyncio.client import connect

import service_b


@pytest.fixture
async def address():
    """Service B on a port of its own, in this loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(service_b.app, log_level="warning", lifespan="off"))
    with listener:
        task = asyncio.create_task(server.serve([listener]))
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


async def test_text_comes_back_as_text_and_bytes_as_bytes(address):
    async with connect(address + "/ws", proxy=None) as socket:
        for message in ("grüße", "", b"\x00\xff", b"", "x" * 100_000, b"y" * 1_000_000):
            await socket.send(message)
            back = await socket.recv()
            assert type(back) is type(message)
            assert back == message


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["echo.v1"], "echo.v1"),
        (["other", "echo.v1"], "echo.v1"),
        (["echo.v1", "echo.v2"], "echo.v2"),
        (["other"], None),
        (None, None),
    ],
)
async def test_the_best_known_subprotocol_is_chosen(address, offered, chosen):
    async with connect(address + "/ws", proxy=None, subprotocols=offered) as socket:
        assert socket.subprotocol == chosen


async def test_the_ticker_sends_unasked_and_then_closes(address):
    async with connect(address + "/ws/ticker?every=0.01&count=3", proxy=None) as socket:
        assert [message async for message in socket] == ["tick 1", "tick 2", "tick 3"]
    assert socket.close_code == 1000


@pytest.mark.parametrize("code", [1000, 1011, 3000, 4999])
async def test_it_closes_with_a_code_and_a_reason(address, code):
    async with connect(f"{address}/ws/close/{code}?reason=because", proxy=None) as socket:
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (code, "because")


@pytest.mark.parametrize("code", [999, 1005, 1006, 1015, 2000, 5000])
async def test_codes_that_nobody_may_send_are_refused(address, code):
    with pytest.raises(websockets.InvalidStatus) as caught:
        await connect(f"{address}/ws/close/{code}", proxy=None)
    assert caught.value.response.status_code == 403


async def test_it_refuses_the_handshake_with_a_status(address):
    with pytest.raises(websockets.InvalidStatus) as caught:
        await connect(address + "/ws/refuse/418", proxy=None)
    assert caught.value.response.status_code == 418
    assert caught.value.response.body == b"status 418\n"


async def test_it_answers_the_health_check(address):
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(address.replace("ws:", "http:") + "/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
