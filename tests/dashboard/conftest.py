"""What the dashboard's tests share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

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
