"""What the dashboard's tests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from textual._context import active_app

from lab.dashboard.state import View

from .fakes import FakeGateway, FakeStack, course, minutes_of_traffic


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def busy(gateway: FakeGateway) -> View:
    return minutes_of_traffic(gateway)


@pytest.fixture(autouse=True)
def three_exercises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small course, whatever the real one has."""
    monkeypatch.setattr("lab.exercises.api.listing", course)


@pytest.fixture(autouse=True)
def in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screens are in colour, whatever who runs the tests asks of programs."""
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown as in UTC, wherever the test runs."""
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


async def settled(*_: float) -> None:
    """Wait until the app and every widget have handled all that they were sent, and what came of that."""
    app = active_app.get()
    await asyncio.sleep(0)  # a key is on its way to the app's queue
    for _ in range(3):
        pumps = [app, *(node for screen in app.screen_stack for node in screen.walk_children(with_self=True))]
        waiting = []
        for pump in pumps:
            handled = asyncio.Event()
            if pump.call_later(handled.set):
                waiting.append(handled.wait())
        crashed = asyncio.ensure_future(app._exception_event.wait())
        all_handled = asyncio.gather(*waiting)
        async with asyncio.timeout(120):
            await asyncio.wait([crashed, all_handled], return_when=asyncio.FIRST_COMPLETED)
        crashed.cancel()
        # What would be due within a sixtieth of a second is done now.
        app._check_resize()
        if app.screen_stack:
            app.screen._on_timer_update()


@pytest.fixture(autouse=True)
def by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's pilot waits, by the wall clock, until little CPU is used; here it waits for the app."""
    monkeypatch.setattr("textual.app.wait_for_idle", settled)
    monkeypatch.setattr("textual.pilot.wait_for_idle", settled)
    # A change of screens holds layouts and paints back for a twentieth of a second.
    monkeypatch.setattr("textual.app.App.delay_update", lambda app, delay=0.0: None)
