"""The demo against the real gateway, and against gateways that each do one thing wrong."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from lab.launcher import ports
from lab.launcher.stack import APPS, Stack
from lab.scenarios import demo
from lab.scenarios.demo import Tour

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run_demo(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "lab", "demo", "--port-base", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        env={**os.environ, "LAB_HOME": str(home), "PYTHONUTF8": "1"},
    )


def test_all_of_it_is_seen(tmp_path):
    done = run_demo(tmp_path, "--json")
    document = json.loads(done.stdout)
    assert [sight for sight in document["sights"] if not sight["seen"]] == []
    assert document["ok"]
    assert done.returncode == 0
    names = [sight["name"] for sight in document["sights"]]
    assert {"miss", "hit", "429", "breaker opens", "breaker recovers", "crash and restart"} <= set(names)
    assert not (tmp_path / "demo" / "run.json").exists()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory):
    """One for all tests here, whose gateway breaks on demand."""
    stack = Stack(
        ports=ports.free(),
        apps={**APPS, "gateway": "broken_gateway:app"},
        env={"PYTHONPATH": str(HERE), "GATEWAY_CONFIG": ""},
        home=tmp_path_factory.mktemp("lab"),
        announce=False,
    )
    await stack.start()
    try:
        assert await stack.wait_healthy(60), stack.processes
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
def broken(stack, monkeypatch):
    """`broken(what)`: a tour, entered, of a gateway of which `what` is broken; "" is sound."""
    monkeypatch.setattr(demo, "STEP_TIMEOUT", 3.0)

    @contextlib.asynccontextmanager
    async def enter(what, **options):
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{stack.gateway_url}/break/{what}")
        async with Tour(stack.gateway_url, stack.admin_token, **options) as tour:
            yield tour

    return enter


on_one_stack = pytest.mark.asyncio(loop_scope="module")


async def look(tour, *names):
    steps = dict(tour.steps())
    return [await tour.look(name, steps[name]) for name in names]


FLAWS = {
    "request-id": (["request id"], "does not carry our X-Request-ID"),
    "hit-at-once": (["miss"], "X-Cache is HIT"),
    "cache": (["miss", "hit"], "X-Cache is MISS"),
    "plain-404": (["no such service"], "Content-Type is text/plain"),
    "no-429": (["429"], "200 instead of 429"),
    "no-retry-after": (["429"], "Retry-After is ''"),
    "buffers": (["streaming"], "chunks"),
    "short": (["download"], "received 0 bytes"),
    "upload": (["upload"], "the bytes arrived changed"),
    "subprotocol": (["websocket text"], "subprotocol is None"),
    "echo": (["websocket text"], "another message"),
    "text-only": (["websocket binary"], "came back as str"),
    "close-code": (["websocket close"], "closed with 1000"),
    "blind-feed": (["breaker opens"], "nothing to see within"),
    "no-503": (["breaker opens", "503 while open"], "200 instead of 503"),
    "empty-metrics": (["metrics"], "missing or zero"),
}


@on_one_stack
async def test_each_flaw_is_noticed(broken):
    """One stack for all of them: they start fast, but there are many."""
    for flaw, (names, reason) in FLAWS.items():
        async with broken(flaw) as tour:
            *before, last = await look(tour, *names)
            assert all(sight.seen for sight in before), (flaw, before)
            assert not last.seen, (flaw, last)
            assert reason in last.text, (flaw, last)
        async with broken("") as tour:
            # A breaker that opened unseen has opened all the same: the sound tour begins with it closed.
            for state in ("closed", "auto"):
                await tour._control("PUT", "/breakers/service-a", {"state": state})
            assert all(sight.seen for sight in await look(tour, *names)), flaw
            if "breaker opens" in names:
                assert (await look(tour, "breaker recovers"))[0].seen


@on_one_stack
async def test_a_breaker_that_stays_open_is_noticed(broken):
    async with broken("") as tour:
        (opened,) = await look(tour, "breaker opens")
        assert opened.seen
        await tour._control("PUT", "/breakers/service-a", {"state": "open"})
        (recovered,) = await look(tour, "breaker recovers")
        await tour._control("PUT", "/breakers/service-a", {"state": "auto"})
        assert not recovered.seen


@on_one_stack
async def test_a_service_that_does_not_come_back_is_noticed(broken, stack):
    async def take_down():
        await stack.stop_process("service-a")

    async with broken("", kill_service_a=take_down) as tour:
        (sight,) = await look(tour, "crash and restart")
        assert not sight.seen
    async with broken("", kill_service_a=lambda: asyncio.sleep(0)) as tour:  # nothing happens to it
        await stack.start_process("service-a")
        assert await stack.wait_healthy(60)
        (sight,) = await look(tour, "crash and restart")
        assert not sight.seen


@on_one_stack
async def test_a_gateway_without_our_token_is_one_thing_not_seen(stack):
    tour = Tour(stack.gateway_url, "wrong")
    (sight,) = [sight async for sight in tour.walk()]
    assert (sight.name, sight.seen) == ("control", False)
    assert "401" in sight.text


@on_one_stack
async def test_the_policies_are_put_back(broken, stack):
    async with httpx.AsyncClient(
        base_url=stack.gateway_url,
        headers={"Authorization": f"Bearer {stack.admin_token}"},
        trust_env=False,
    ) as client:

        async def policies():
            found = (await client.get("/admin/policies")).json()
            return {name: (p["enabled"], p["use"], p["options"]) for name, p in found.items()}

        await client.put("/admin/policies/rate_limit", json={"use": "token_bucket", "options": {"limit": 77}})
        before = await policies()
        async with broken(""):
            assert await policies() != before
        assert await policies() == before


def test_attaching_needs_something_that_runs(tmp_path):
    done = run_demo(tmp_path, "--attach")
    assert done.returncode == 2
    assert done.stderr == "lab: no lab runs that could be toured; start one with: lab up\n"


def test_a_lab_that_does_not_start_fails_the_demo(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lab", "demo", "--port-base", "0"],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        env={**os.environ, "LAB_HOME": str(tmp_path), "GATEWAY__RATE_LIMIT__LIMT": "1"},
    )
    assert done.returncode == 2
    assert "did you mean 'limit'" in done.stderr
    assert "Traceback" not in done.stderr


def test_samples_are_summed_over_their_labels():
    text = 'a_total 1\na_total_created 5\nb{x="1"} 2\nb{x="2"} 3\n# b 9\nbb 7\n'
    assert demo._sum(text, "a_total") == 1
    assert demo._sum(text, "b") == 5
    assert demo._sum(text, 'b{x="2"}') == 3
    assert demo._sum(text, "none") == 0
