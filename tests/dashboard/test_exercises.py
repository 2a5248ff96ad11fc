"""The exercises: what the checks say while they run, and the class that goes into the gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from textual.content import Content
from textual.pilot import Pilot

from lab.dashboard.screens import exercises
from lab.dashboard.screens.exercises import Verdicts
from lab.dashboard.state import View
from lab.dashboard.widgets.path import RequestPath
from lab.dashboard.widgets.table import LiveTable
from lab.errors import UserError
from lab.exercises import plugging
from lab.exercises.api import Hint
from lab.exercises.catalog import Exercise
from lab.exercises.kit import Result
from lab.exercises.runner import Report

from .fakes import POLICIES, RESULTS, Fake, failing_check

USE = f"{Path('/course/02_fixed_window/exercise.py')}:FixedWindow"


def rows(fake: Fake) -> list[list[str]]:
    table = fake.app.screen.query_one(LiveTable)
    return [[cell.plain for cell in table.get_row_at(i)] for i in range(table.row_count)]


def said(fake: Fake) -> str:
    fake.app.touch()
    fake.app.frame()
    rendered = fake.app.screen.query_one(Verdicts).render()
    assert isinstance(rendered, Content)
    return rendered.plain


async def opened(fake: Fake, pilot: Pilot[None]) -> None:
    """The screen is there, the second exercise is selected."""
    await pilot.press("x")
    await fake.done(pilot)
    await pilot.press("down")
    await pilot.pause()


async def test_progress_is_shown(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        assert [row[:5] for row in rows(fake)] == [
            ["☑", "1", "Routing", "20/20", "3"],
            ["◧", "2", "Fixed window", "12/20", "5"],
            ["☐", "3", "TTL cache", "0/24", ""],
        ]
        assert "What fixed window is for" in said(fake)


async def test_checks_tell_what_failed(busy: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.exercises.api.check", failing_check)
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        await pilot.press("enter")
        await fake.done(pilot)
        assert said(fake).splitlines() == [
            "☑ the first requests pass",
            "☒ a window ends after its length",
            "    expected  admitted when the window ends: True",
            "    came      admitted when the window ends: False",
            "    A limit that never ends is a ban.",
            "– clients are counted apart",
            "5 of 20 points",
        ]


async def test_the_screen_goes_on_while_checks_run(busy: View, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def check(exercise: Exercise, file: Path | None, each: Callable[[Result], None]) -> Report:
        each(RESULTS[0])
        loop.call_soon_threadsafe(began.set)
        assert go_on.wait(20)
        return Report(exercise, exercise.file, RESULTS[:1])

    monkeypatch.setattr("lab.exercises.api.check", check)
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        await pilot.press("enter")
        async with asyncio.timeout(20):
            await began.wait()
        await pilot.pause()
        assert said(fake) == "☑ the first requests pass"
        await pilot.press("1")
        assert fake.app.current_mode == "overview"
        go_on.set()
        await fake.done(pilot)
        await pilot.press("x")
        await fake.done(pilot)
        assert said(fake).endswith("5 of 20 points")


async def test_a_file_that_cannot_be_loaded_says_why(busy: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(exercise: Exercise, file: Path | None, each: Callable[[Result], None]) -> Report:
        return Report(exercise, exercise.file, [], problem="line 3: invalid syntax")

    monkeypatch.setattr("lab.exercises.api.check", check)
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        await pilot.press("enter")
        await fake.done(pilot)
        assert said(fake).splitlines() == ["line 3: invalid syntax", "0 of 20 points"]


async def test_a_hint_and_an_error_are_told(busy: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.exercises.api.hint", lambda exercise: Hint("1", "Think of the window.", 1, 3))
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        await pilot.press("h")
        await fake.done(pilot)
        assert said(fake).splitlines() == ["hint 1 of 3", "Think of the window."]

        def broken(*_: object) -> Report:
            raise UserError("the worker did not start")

        monkeypatch.setattr("lab.exercises.api.check", broken)
        await pilot.press("enter")
        await fake.done(pilot)
        assert [n.message for n in fake.app._notifications] == ["the worker did not start"]


async def test_the_class_goes_in_is_marked_and_comes_out(
    busy: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    policy = {"use": "sliding_window", "enabled": True, "options": {}}
    put = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            policy.update(json.loads(request.content))
            put.append(policy["use"])
        return httpx.Response(200, json=policy)

    def gateway(url: str, token: str) -> plugging.Gateway:
        return plugging.Gateway(url, token, httpx.MockTransport(answer))

    monkeypatch.setattr(exercises, "Gateway", gateway)
    busy.policies = {name: dict(each) for name, each in POLICIES.items()}
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await opened(fake, pilot)
        await pilot.press("p")
        await fake.done(pilot)
        busy.policies["rate_limit"] |= {"use": put[-1], "plugged": True}
        fake.app.touch()
        fake.app.frame()
        assert [row[5] for row in rows(fake)] == ["", "★", ""]
        await pilot.press("1")
        drawing = fake.app.screen.query_one(RequestPath).render()
        assert isinstance(drawing, Content)
        assert "limit★" in drawing.plain
        await pilot.press("x", "p")
        await fake.done(pilot)
    assert put == [USE, "sliding_window"]


async def test_an_exercise_without_a_place_is_told(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("x")
        await fake.done(pilot)
        await pilot.press("p")
        await fake.done(pilot)
        (told,) = [n.message for n in fake.app._notifications]
        assert "no policy" in told
