"""Each fault as a client sees it on the wire, from a real service under plain uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lab.faults.client import FaultClient
from lab.faults.listener import side_door
from lab.faults.model import FaultError
from tests.faults.world import PATIENCE, Raw, get, running
from tests.processes import survivors

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="POSIX signals")


async def well(url: str, path: str = "/items/1") -> None:
    status, _, body = await get(url, path)
    assert status == 200
    assert json.loads(body)


async def struck(faults: FaultClient, service: str = "service-a") -> int:
    return sum(report["struck"] for report in (await faults.list())[service])


async def cleared_soon(faults: FaultClient) -> None:
    """0.2 seconds are promised, and met where the machine is not busy; the faults end by themselves later."""
    async with asyncio.timeout(PATIENCE):
        await faults.clear()


# -- requests ------------------------------------------------------------------------------------------------


async def test_latency(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "latency", "ms": 200, "jitter": 50, "seed": 1})
    began = time.monotonic()
    await well(service_a)
    assert time.monotonic() - began >= 0.15


async def test_error(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "error", "status": 429, "retry_after": 7})
    status, fields, _ = await get(service_a, "/items/1")
    assert (status, fields["retry-after"]) == (429, "7")
    await well(service_a, "/health")  # spared unless it is named
    await faults.set("service-a", {"kind": "error", "path": "/**"})
    assert (await get(service_a, "/health"))[0] == 503


async def test_a_fault_hits_a_kept_alive_connection_on_its_next_request(
    faults: FaultClient, service_a: str
) -> None:
    async with Raw.to(service_a) as client:
        client.ask("/items/1")
        assert (await client.answer())[0] == 200
        await faults.set("service-a", {"kind": "error"})
        client.ask("/items/1")
        assert (await client.answer())[0] == 503
        await faults.clear()
        client.ask("/items/1")
        assert (await client.answer())[0] == 200


async def test_hang_until_it_is_cleared(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "hang"})
    async with Raw.to(service_a) as client:
        client.ask("/items/1")
        while await struck(faults) == 0:
            pass
        await cleared_soon(faults)
        assert (await client.answer())[0] == 200


async def test_hang_until_its_time_is_over(faults: FaultClient, service_a: str) -> None:
    began = time.monotonic()
    await faults.set("service-a", {"kind": "hang", "ttl": 0.3})
    await well(service_a)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("used_before", [False, True])
async def test_reset_is_a_real_rst(faults: FaultClient, service_a: str, used_before: bool) -> None:
    async with Raw.to(service_a) as client:
        if used_before:
            client.ask("/items/1")
            await client.answer()
        await faults.set("service-a", {"kind": "reset"})
        client.ask("/items/1")
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_garbage_is_no_http_and_then_the_end(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "garbage", "bytes": 40})
    async with Raw.to(service_a) as client:
        client.ask("/items/1")
        got = await client.rest()
    assert len(got) == 40
    assert not got.startswith(b"HTTP")


@pytest.mark.parametrize(("keep", "come"), [(10, 10), (10_000_000, 99_999)])
async def test_truncated_body_with_a_length(
    faults: FaultClient, service_a: str, keep: int, come: int
) -> None:
    await faults.set("service-a", {"kind": "truncate", "keep": keep})
    async with Raw.to(service_a) as client:
        client.ask("/bytes/100000")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"content-length: 100000" in head.lower()
    assert len(body) == come


async def test_truncated_body_in_chunks(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "truncate", "keep": 14})
    async with Raw.to(service_a) as client:
        client.ask("/stream?chunks=3&pause=0")
        _, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert body == b"d\r\nchunk 1 of 3\n\r\n1\r\nc\r\n"  # and no `0` chunk


async def test_slow_body(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "slow_body", "rate": 1000})
    began = time.monotonic()
    async with Raw.to(service_a) as client:
        client.ask("/bytes/400")
        await client.reader.readuntil(b"\r\n\r\n")
        await client.reader.readexactly(400)
    assert time.monotonic() - began >= 0.38


async def test_slow_body_goes_on_at_full_speed_when_cleared(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "slow_body", "rate": 10})
    async with Raw.to(service_a) as client:
        client.ask("/bytes/100000")
        await client.reader.readuntil(b"\r\n\r\n")
        await client.reader.readexactly(1)
        await cleared_soon(faults)
        await asyncio.wait_for(client.reader.readexactly(99_999), PATIENCE)


async def test_the_first_two_of_a_kind_of_request(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "error", "first": 2, "path": "/items/*", "header": "X-Client: a*"})
    assert (await get(service_a, "/items/1"))[0] == 200
    statuses = [(await get(service_a, "/items/1", "X-Client: alice"))[0] for _ in range(3)]
    assert statuses == [503, 503, 200]


async def test_a_probability_of_zero_over_the_wire(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "reset", "probability": 0})
    async with Raw.to(service_a) as client:
        for _ in range(10):
            for _ in range(100):
                client.ask("/health/", method="HEAD")
            for _ in range(100):
                await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE)
    [report] = (await faults.list())["service-a"]
    assert (report["matched"], report["struck"]) == (1000, 0)


async def test_the_service_counts_no_control(faults: FaultClient, service_a: str) -> None:
    before = json.loads((await get(service_a, "/stats"))[2])
    await faults.set("service-a", {"kind": "error"})
    await faults.list()
    await faults.clear()
    assert json.loads((await get(service_a, "/stats"))[2]) == before


# -- the process ---------------------------------------------------------------------------------------------


async def refused(url: str) -> bool:
    try:
        async with Raw.to(url):
            return False
    except ConnectionRefusedError:
        return True


async def test_refused_connections(faults: FaultClient, service_a: str) -> None:
    async with Raw.to(service_a) as idle:
        idle.ask("/items/1")
        await idle.answer()
        await faults.set("service-a", {"kind": "refuse"})
        assert await refused(service_a)
        assert await idle.rest() == b""  # what lies idle is closed
    [report] = (await faults.list())["service-a"]
    assert report["kind"] == "refuse"
    with pytest.raises(FaultError, match="set already"):
        await faults.set("service-a", {"kind": "refuse"}, name="again")
    door = side_door(service_a)
    assert door is not None
    await cleared_soon(faults)
    await well(service_a)
    assert await refused(service_a) is False
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*door.removeprefix("http://").rsplit(":", 1))


async def test_refused_connections_come_back_by_themselves_again_and_again(
    faults: FaultClient, service_a: str
) -> None:
    for n in range(3):
        await faults.set("service-a", {"kind": "refuse", "ttl": 0.2}, name=f"refuse {n}")
        async with asyncio.timeout(0.2 + PATIENCE):
            while await refused(service_a):
                pass
        await well(service_a)
        ended = json.loads((await get(service_a, "/_faults"))[2])["ended"]
        assert ended[-1]["name"] == f"refuse {n}"


async def test_a_request_in_flight_ends_well_though_new_ones_are_refused(
    faults: FaultClient, service_a: str
) -> None:
    await faults.set("service-a", {"kind": "hang", "path": "/items/*"})
    async with Raw.to(service_a) as client:
        client.ask("/items/1")
        while await struck(faults) == 0:
            pass
        await faults.set("service-a", {"kind": "refuse"})
        await faults.clear("service-a", "hang")
        assert (await client.answer())[0] == 200
        assert await refused(service_a)


async def silent(url: str) -> bool:
    async with Raw.to(url) as client:
        client.ask("/health")
        try:
            await asyncio.wait_for(client.reader.read(1), 0.3)
        except TimeoutError:
            return True
        return False


async def test_a_stopped_process_is_woken_by_a_clear(faults: FaultClient, service_a: str) -> None:
    await faults.set("service-a", {"kind": "stop"})
    assert await silent(service_a)
    [report] = (await faults.list())["service-a"]
    assert report["kind"] == "stop"
    with pytest.raises(FaultError, match="clear 'stop' first"):
        await faults.set("service-a", {"kind": "error"})
    await cleared_soon(faults)
    await well(service_a)
    assert (await faults.list())["service-a"] == []


async def test_a_stopped_process_wakes_when_its_time_is_over(faults: FaultClient, service_a: str) -> None:
    began = time.monotonic()
    await faults.set("service-a", {"kind": "stop", "ttl": 0.5})
    await well(service_a)
    assert time.monotonic() - began >= 0.5
    async with asyncio.timeout(PATIENCE):
        while (await faults.list())["service-a"]:
            pass
    await faults.set("service-a", {"kind": "stop", "ttl": 0.5})  # and once more


async def test_killed() -> None:
    with running("service_a:app") as (url, child):
        async with FaultClient({"service-a": url}) as faults:
            await faults.set("service-a", {"kind": "kill"})
            assert await asyncio.to_thread(child.wait, PATIENCE) == -signal.SIGKILL
            assert await faults.list() == {}
            assert await faults.clear() == {}
            with pytest.raises(FaultError, match="cannot be reached"):
                await faults.set("service-a", {"kind": "error"})


async def test_a_stopped_process_that_is_killed_leaves_no_watchdog() -> None:
    import psutil

    with running("service_a:app") as (url, child):
        async with FaultClient({"service-a": url}) as faults:
            await faults.set("service-a", {"kind": "stop", "ttl": 600})
            [watchdog] = psutil.Process(child.pid).children()
            child.kill()
            assert await asyncio.to_thread(survivors, [watchdog], PATIENCE) == []


CLIENT = """
import asyncio, json, sys
from lab.faults.client import FaultClient
async def main():
    faults = FaultClient({"service-a": sys.argv[1]})
    for fault in json.loads(sys.argv[2]):
        await faults.set("service-a", fault)
    print("set", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("kinds", [["latency", "error", "refuse"], ["hang", "stop"]])
async def test_kill_9_of_who_set_it_leaves_nothing(service_a: str, kinds: list[str]) -> None:
    """By the target's own clock, each fault ends soon after its time to live (a second, if not busy)."""
    wanted = json.dumps([{"kind": kind, "ttl": 1.0} for kind in kinds])
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, service_a, wanted, stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    assert await asyncio.wait_for(client.stdout.readline(), PATIENCE) == b"set\n"
    os.kill(client.pid, signal.SIGKILL)
    await client.wait()
    async with FaultClient({"service-a": service_a}) as faults, asyncio.timeout(PATIENCE):
        while await faults.list() != {"service-a": []}:
            pass
    ended = json.loads((await get(service_a, "/_faults"))[2])["ended"][-len(kinds) :]
    assert sorted(each["name"] for each in ended) == sorted(kinds)
    assert all(each["late"] < 10 for each in ended)
    await well(service_a)


# -- WebSockets ----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def talking(url: str) -> AsyncIterator[ClientConnection]:
    address = url.replace("http", "ws", 1) + "/ws"
    async with connect(address, proxy=None, ping_interval=None, close_timeout=0.2) as socket:
        await socket.send("hello")
        await asyncio.wait_for(socket.recv(), PATIENCE)
        yield socket


async def closing(socket: ClientConnection) -> tuple[Any, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(socket.recv(), PATIENCE)
    return (caught.value.rcvd.code, caught.value.rcvd.reason) if caught.value.rcvd else (None, "")


async def test_websocket_closed_with_a_code(faults: FaultClient, service_b: str) -> None:
    async with talking(service_b) as socket:
        await faults.set("service-b", {"kind": "ws_close", "code": 4321, "reason": "enough"})
        assert await closing(socket) == (4321, "enough")
        address = service_b.replace("http", "ws", 1) + "/ws"
        async with connect(address, proxy=None) as new:  # accepted, then closed
            assert await closing(new) == (4321, "enough")
    await faults.clear()
    async with talking(service_b):
        pass


async def test_a_websocket_that_takes_nothing_holds_up_no_fault(faults: FaultClient, service_b: str) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    async with Raw.to(service_b) as stuck:
        stuck.ask("/ws", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        await stuck.reader.readuntil(b"\r\n\r\n")
        stuck.writer.transport.pause_reading()
        with contextlib.suppress(TimeoutError):
            while True:  # until the service waits for its echoes to be read
                stuck.writer.write(b"\x82\xfe\xfd\xe8" + bytes(4 + 65_000))
                await asyncio.wait_for(stuck.writer.drain(), 0.5)
        await faults.set("service-b", {"kind": "ws_close"})
        await cleared_soon(faults)


async def test_websocket_cut_without_a_close_frame(faults: FaultClient, service_b: str) -> None:
    async with talking(service_b) as socket:
        await faults.set("service-b", {"kind": "ws_cut"})
        assert await closing(socket) == (None, "")


async def test_websocket_frozen_and_thawed(faults: FaultClient, service_b: str) -> None:
    async with talking(service_b) as socket:
        await faults.set("service-b", {"kind": "ws_freeze"})
        pong = await socket.ping()
        done, _ = await asyncio.wait({asyncio.ensure_future(pong)}, timeout=0.3)
        assert not done
        await socket.send("first")
        await socket.send("second")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.1)
        await cleared_soon(faults)
        assert await asyncio.wait_for(socket.recv(), PATIENCE) == "first"
        assert await asyncio.wait_for(socket.recv(), PATIENCE) == "second"
        await asyncio.wait_for(pong, PATIENCE)


async def test_a_ticker_freezes_too_and_loses_nothing(faults: FaultClient, service_b: str) -> None:
    address = service_b.replace("http", "ws", 1) + "/ws/ticker?every=0.01&count=1000"
    async with connect(address, proxy=None, close_timeout=0.2) as socket:
        assert await socket.recv() == "tick 1"
        await faults.set("service-b", {"kind": "ws_freeze", "path": "/ws/ticker"})
        await faults.clear()
        for n in range(2, 30):
            assert await asyncio.wait_for(socket.recv(), PATIENCE) == f"tick {n}"


async def test_a_handshake_can_be_struck(faults: FaultClient, service_b: str) -> None:
    await faults.set("service-b", {"kind": "error", "status": 503})
    with pytest.raises(InvalidStatus) as caught:
        async with talking(service_b):
            pass
    assert caught.value.response.status_code == 503
