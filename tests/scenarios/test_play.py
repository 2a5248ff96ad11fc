"""A play on a real stack: what it leaves, and what it tells those who look on."""

import time
from dataclasses import replace

import pytest
import pytest_asyncio

from lab.scenarios import ground, table
from lab.scenarios import play as plays

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCENARIO = table.load("boundary-burst")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(tmp_path_factory):
    async with ground.own_stack(tmp_path_factory.mktemp("stack")) as place:
        yield place


async def test_everything_is_put_back(stack):
    play = stack.play(cured=True, seed=1)
    seen = []

    async with play.on(SCENARIO):
        pass
    async with play.on(SCENARIO):
        seen.append((await play.control("GET", "/policies"), await play.control("GET", "/services")))
        await play.policy("rate_limit", options={"limit": 77})
        await play.fault("service-a", "latency", ms=1)
        await play.service("further", url=play.address("service-a"))
        await play.control("PUT", "/breakers/service-a", {"state": "open"})
    async with play.on(SCENARIO):
        seen.append((await play.control("GET", "/policies"), await play.control("GET", "/services")))
        faults = await play.faults.list()
        breaker = (await play.control("GET", "/snapshot"))["services"]["service-a"]["breaker"]
    for policies, _ in seen:
        for policy in policies.values():
            del policy["state"]
    assert seen[0] == seen[1]
    assert faults == {"service-a": [], "service-b": []}
    assert (breaker["state"], breaker["forced"]) == ("closed", False)


async def test_its_beginning_and_its_end_are_told(stack):
    began = time.time()
    async with stack.play(cured=True, seed=1).on(SCENARIO) as play:
        await play.say("Something happens.")
    async with play.on(SCENARIO):
        snapshot = await play.control("GET", "/snapshot")
    told = [event for event in snapshot["events"] if event.get("source") == "scenario"]
    told = [event for event in told if event["time"] >= began]
    band = "Burst at the window's boundary, with the cure"
    assert [(event["action"], event["text"]) for event in told[:3]] == [
        ("started", band),
        ("says", "Something happens."),
        ("stopped", band),
    ]
    assert told[0]["until"] == pytest.approx(told[0]["time"] + plays.LONGEST, abs=1)


async def test_its_end_stands_for_a_moment_where_people_look_on(stack, tmp_path, monkeypatch):
    paused = []

    async def pause(self, seconds):
        paused.append(seconds)

    monkeypatch.setattr(plays.Play, "pause", pause)
    await stack.play(cured=True, seed=1).linger()
    assert paused == []
    await replace(stack, folder=tmp_path).play(cured=True, seed=1).linger()
    assert paused == [plays.LINGER]
