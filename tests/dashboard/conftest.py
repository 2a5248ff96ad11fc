"""What the dashboard's tests share."""

from __future__ import annotations

import pytest

from lab.dashboard.state import View

from .fakes import FakeGateway, FakeStack, minutes_of_traffic


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def busy(gateway: FakeGateway) -> View:
    return minutes_of_traffic(gateway)
