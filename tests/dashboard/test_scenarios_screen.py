"""The screen that plays scenarios, with an engine that the test conducts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.pilot import Pilot

from lab.dashboard.screens import scenarios
from lab.dashboard.screens.scenarios import Story
from lab.dashboard.state import View
from lab.scenarios.engine import Line, Result, Verdict

from .fakes import Fake

FIRST = "breaker-trip"


class Conductor:
    """In the engine's place: the test tells the lines, and when it ends."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[bool, ...]]] = []
        self.end: asyncio.Future[Verdict] | None = None
        self.stopped = False
        self.tell: Any = None

    async def run(self, scenario: Any, place: Any, cures: tuple[bool, ...], *, tell: Any) -> Verdict:
        self.asked.append((scenario.name, cures))
        self.tell = tell
        self.end = asyncio.get_running_loop().create_future()
        try:
            return await self.end
        except asyncio.CancelledError:
            self.stopped = True
            raise


@pytest.fixture
def conductor(monkeypatch: pytest.MonkeyPatch) -> Conductor:
    conductor = Conductor()
    monkeypatch.setattr(scenarios.engine, "run", conductor.run)
    monkeypatch.setattr(scenarios.ground, "of", lambda stack, folder: None)
    return conductor


async def drawn(fake: Fake, pilot: Pilot[None]) -> str:
    await pilot.pause()
    fake.app.touch()
    fake.app.frame()
    await pilot.pause()
    story = fake.app.screen.query_one(Story)
    assert story.view is not None
    return "\n".join(row.plain for row in story.lines(story.view, 70, 30))


@pytest.fixture(autouse=True)
def nothing_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(folder: object) -> bool:
        return False

    monkeypatch.setattr(scenarios.undo, "leftover", nothing)


def fake_stack(view: View) -> Fake:
    fake = Fake(view)
    fake.stack.home = None  # type: ignore[attr-defined]
    return fake


async def test_the_story_is_there_before_and_answers_only_when_asked_for(busy: View) -> None:
    fake = fake_stack(busy)
    async with fake.app.run_test(size=(100, 40)) as pilot:
        await pilot.press("9")
        before = await drawn(fake, pilot)
        assert fake.app.screen.query_one(scenarios.Story).border_title == "A breaker trips and recovers"
        assert "? 30 clients ask" in before
        assert "All others are answered by the breaker" not in before
        await pilot.press("a")
        assert "All others are answered by the breaker" in await drawn(fake, pilot)
        await pilot.press("down")
        await drawn(fake, pilot)
        assert fake.app.screen.query_one(scenarios.Story).border_title == "Cache stampede"


async def test_expectations_are_ticked_off_one_by_one(busy: View, conductor: Conductor) -> None:
    fake = fake_stack(busy)
    async with fake.app.run_test(size=(100, 40)) as pilot:
        await pilot.press("9", "o")
        await pilot.pause()
        assert conductor.asked == [(FIRST, (False,))]
        step = scenarios.table.load(FIRST).script(False)[0]
        conductor.tell(Line("title", "without the cure", False))
        conductor.tell(Line("say", step.say, False))
        conductor.tell(Line("seen", step.expect[0].what, False))
        text = await drawn(fake, pilot)
        assert f"☑ {step.expect[0].what}" in text
        assert f"☐ {step.expect[1].what}" in text
        conductor.tell(Line("missed", f"{step.expect[1].what} (requests so far: none)", False))
        conductor.tell(Line("figure", "asked: 30", False))
        text = await drawn(fake, pilot)
        assert f"☒ {step.expect[1].what}" in text
        assert "asked: 30" in text
        assert conductor.end is not None
        conductor.end.set_result(Verdict(FIRST, False, [Result(False)], [], []))
        await drawn(fake, pilot)
        assert fake.app.screen._state(FIRST)[0] == "☒"  # type: ignore[attr-defined]


async def test_one_at_a_time_and_stopped_by_a_key(busy: View, conductor: Conductor) -> None:
    fake = fake_stack(busy)
    async with fake.app.run_test(size=(100, 40)) as pilot:
        assert fake.app.traffic is not None
        fake.app.traffic.toggle()
        await pilot.press("9", "p", "down", "n")
        await pilot.pause()
        assert conductor.asked == [(FIRST, (False, True))]
        assert not fake.app.traffic.steady
        await pilot.press("s")
        await drawn(fake, pilot)
        assert conductor.stopped
        await pilot.press("n")
        await pilot.pause()
        assert conductor.asked[1:] == [("stampede", (True,))]


async def test_who_only_looks_cannot_play(busy: View, conductor: Conductor) -> None:
    fake = Fake(busy, may_act=False)
    async with fake.app.run_test(size=(100, 40)) as pilot:
        await pilot.press("9", "p")
        await pilot.pause()
        assert conductor.asked == []
