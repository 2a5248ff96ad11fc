"""Every scenario played for real, and once with a part of it left out, for which it must fail."""

import asyncio
from dataclasses import replace

import pytest
import pytest_asyncio

from lab.scenarios import engine, ground, table

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROKEN = {
    "breaker-trip": (False, "faults"),
    "stampede": (True, "policies"),
    "boundary-burst": (True, "policies"),
    "retry-storm": (False, "faults"),
    "noisy-neighbour": (True, "policies"),
    "slow-dependency": (False, "faults"),
    "hot-key": (True, "policies"),
    "recovery-herd": (False, "faults"),
    "breaker-flapping": (False, "faults"),
    "zero-downtime": (True, "policies"),
    "cascade": (True, "policies"),
    "metastable": (True, "policies"),
    "partial-outage": (False, "policies"),
    "slow-consumer": (False, "load"),
}
"""Name → whether it is played with the cure, and what is left out."""


def impatient(scenario):
    """The scenario, where an expectation that has not come true is hardly waited for."""

    def script(cured):
        return [
            replace(step, expect=[replace(expect, by=0.3) for expect in step.expect])
            for step in scenario.script(cured)
        ]

    return replace(scenario, script=script)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def verdicts(tmp_path_factory):
    """The verdicts on all plays, sound and broken, as soon as they are there.

    They are played on two stacks side by side, since most of a play is waiting; the longest is begun first.
    """
    plays = [(name, table.load(name), (False, True), ()) for name in table.NAMES]
    plays += [
        (f"{name} broken", impatient(table.load(name)), (cured,), (without,))
        for name, (cured, without) in BROKEN.items()
    ]
    plays.sort(key=lambda play: play[0] != "metastable")
    verdicts = {key: asyncio.get_running_loop().create_future() for key, *_ in plays}

    async def play_on(place):
        while plays:
            key, scenario, cures, without = plays.pop(0)
            try:
                verdicts[key].set_result(await engine.run(scenario, place, cures, without=without))
            except Exception as error:
                verdicts[key].set_exception(error)

    async with (
        ground.own_stack(tmp_path_factory.mktemp("one")) as one,
        ground.own_stack(tmp_path_factory.mktemp("other")) as other,
    ):
        playing = [asyncio.create_task(play_on(place)) for place in (one, other)]
        yield verdicts
        plays.clear()
        await asyncio.wait(playing)


@pytest.mark.parametrize("name", table.NAMES)
async def test_all_that_is_expected_comes_true(verdicts, name):
    verdict = await verdicts[name]
    assert [missed for play in verdict.plays for missed in play.missed] == []
    assert verdict.same == []
    assert verdict.ok
    # A class does not like to wait: half a minute is promised, and kept where the machine is not busy.
    assert sum(play.seconds for play in verdict.plays) < 120


@pytest.mark.parametrize("name", table.NAMES)
async def test_an_expectation_that_cannot_come_true_fails_the_run(verdicts, name):
    verdict = await verdicts[f"{name} broken"]
    assert not verdict.ok
    assert verdict.plays[0].missed


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
