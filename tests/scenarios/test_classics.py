"""Every scenario played once for real, and some with a part of them left out, for which they must fail."""

import asyncio

import pytest
import pytest_asyncio

from lab.scenarios import engine, ground, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(tmp_path_factory):
    async with ground.own_stack(tmp_path_factory.mktemp("stack")) as place:
        yield place


@pytest.mark.parametrize("name", table.NAMES)
async def test_all_that_is_expected_comes_true(stack, name):
    verdict = await engine.run(table.load(name), stack)
    assert [missed for play in verdict.plays for missed in play.missed] == []
    assert verdict.same == []
    assert verdict.ok
    assert sum(play.seconds for play in verdict.plays) < 30


@pytest.mark.parametrize(
    ("name", "cured", "without"),
    [
        ("breaker-trip", False, "faults"),
        ("stampede", True, "policies"),
        ("retry-storm", False, "faults"),
        ("recovery-herd", False, "faults"),
        ("cascade", True, "policies"),
        ("partial-outage", False, "policies"),
        ("slow-consumer", False, "load"),
    ],
)
async def test_an_expectation_that_cannot_come_true_fails_the_run(stack, monkeypatch, name, cured, without):
    def impatient(expect, recording, deadline):
        return patient(expect, recording, min(deadline, asyncio.get_running_loop().time() + 0.3))

    patient = engine.seen
    monkeypatch.setattr(engine, "seen", impatient)
    verdict = await engine.run(table.load(name), stack, (cured,), without=(without,))
    assert not verdict.ok
    assert verdict.plays[0].missed


async def test_everything_is_put_back(stack):
    play = stack.play(cured=True, seed=1)
    seen = []

    async with play.on(table.load("boundary-burst")):
        pass
    async with play.on(table.load("boundary-burst")):
        seen.append((await play.control("GET", "/policies"), await play.control("GET", "/services")))
        await play.policy("rate_limit", options={"limit": 77})
        await play.fault("service-a", "latency", ms=1)
        await play.service("further", url=play.address("service-a"))
    async with play.on(table.load("boundary-burst")):
        seen.append((await play.control("GET", "/policies"), await play.control("GET", "/services")))
        faults = await play.faults.list()
    for policies, _ in seen:
        for policy in policies.values():
            del policy["state"]
    assert seen[0] == seen[1]
    assert faults == {"service-a": [], "service-b": []}


@pytest.mark.parametrize("name", table.NAMES)
async def test_each_says_what_a_teacher_needs(name):
    scenario = table.load(name)
    assert scenario.name == name
    assert scenario.questions
    assert scenario.contrast
    assert all([scenario.title, scenario.story, scenario.cure, scenario.source, scenario.look_at])
    for cured in (False, True):
        steps = scenario.script(cured)
        assert any(step.expect for step in steps)
