"""The same faults as a client of the gateway sees them, and what the gateway's viewers are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from lab.faults.client import FaultClient
from lab.faults.model import FaultError
from lab.launcher import ports
from lab.launcher.stack import Stack
from lab.notes import Notes
from tests.faults.world import PATIENCE, Raw

CONFIG = {
    "services": {"service-a": {"timeout": 2, "retries": 0}, "service-b": {}},
    "rate_limit": {"enabled": False},
    "cache": {"enabled": False},
    "breaker": {"enabled": False},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    home: Path = tmp_path_factory.mktemp("lab")
    (home / "gateway.json").write_text(json.dumps(CONFIG))
    stack = Stack(ports=ports.free(), config=home / "gateway.json", home=home, announce=False)
    await stack.start()
    try:
        assert await stack.wait_healthy(60)
        yield stack
    finally:
        await stack.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def faults(stack: Stack) -> AsyncIterator[FaultClient]:
    services = {name: process.url for name, process in stack.processes.items() if name != "gateway"}
    async with FaultClient(services, Notes(stack.gateway_url, stack.admin_token, "fault")) as client:
        yield client
        await client.clear()


async def status(stack: Stack) -> int:
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE) as client:
        return (await client.get(stack.gateway_url + "/service-a/items/1")).status_code


async def feed(stack: Stack) -> list[dict[str, object]]:
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    async with httpx.AsyncClient(verify=False, trust_env=False, headers=headers) as client:
        snapshot = (await client.get(stack.gateway_url + "/admin/snapshot")).json()
        return [event for event in snapshot["events"] if event["kind"] == "note"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("kind", "seen"),
    [("error", 503), ("reset", 502), ("garbage", 502), ("refuse", 502), ("hang", 504), ("stop", 504)],
)
async def test_what_the_gateway_answers(faults: FaultClient, stack: Stack, kind: str, seen: int) -> None:
    assert await status(stack) == 200  # over a connection that the gateway keeps
    await faults.set("service-a", {"kind": kind})
    assert await status(stack) == seen
    await faults.clear()
    # The health check may have marked it down meanwhile; it marks it up again.
    deadline = time.monotonic() + PATIENCE
    while (again := await status(stack)) == 503 and time.monotonic() < deadline:
        pass
    assert again == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_truncated_body_never_looks_whole(faults: FaultClient, stack: Stack) -> None:
    await faults.set("service-a", {"kind": "truncate"})
    async with Raw.to(stack.gateway_url) as client:
        client.ask("/service-a/bytes/1000")
        try:
            got = await client.rest()
        except ConnectionResetError:
            return
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502") or len(body) < 1000


@pytest.mark.asyncio(loop_scope="module")
async def test_no_fault_can_be_set_through_the_gateway(faults: FaultClient, stack: Stack) -> None:
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        answer = await client.put(stack.gateway_url + "/service-a/_faults/error", json={})
    assert answer.status_code == 404
    assert (await faults.list())["service-a"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_the_gateway_is_no_service_that_could_be_given_a_fault(stack: Stack) -> None:
    async with FaultClient({"service-a": stack.gateway_url}) as client:
        with pytest.raises(FaultError, match="no service of the lab: 404"):
            await client.set("service-a", {"kind": "error"})


@pytest.mark.asyncio(loop_scope="module")
async def test_viewers_see_when_it_began_will_end_and_ended(faults: FaultClient, stack: Stack) -> None:
    before = time.time()
    await faults.set("service-a", {"kind": "latency", "ms": 40, "ttl": 20})
    [begun] = (await feed(stack))[-1:]
    assert begun["action"] == "started"
    assert (begun["source"], begun["text"], begun["service"]) == ("fault", "latency 40 ms", "service-a")
    assert before + 20 <= float(str(begun["until"])) <= time.time() + 20
    await faults.clear("service-a")
    [ended] = (await feed(stack))[-1:]
    assert (ended["action"], ended["text"], ended["service"]) == ("stopped", "latency 40 ms", "service-a")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_service_is_started_again(faults: FaultClient, stack: Stack) -> None:
    process, again = stack.processes["service-b"], asyncio.Event()
    before = process.pid
    stack.on_change = lambda changed: again.set() if changed.pid not in (None, before) else None
    await faults.set("service-b", {"kind": "kill"})
    await asyncio.wait_for(again.wait(), PATIENCE)
    assert process.restarts == 1
    assert await stack.wait_healthy(60)
