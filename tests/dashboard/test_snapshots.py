"""How the screens look, as SVG, with a frozen gateway. After a wanted change: pytest … --snapshot-update."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from lab.dashboard.state import View

from .fakes import POLICIES, Fake, FakeGateway, failing_check

Compare = Callable[..., bool]
SMALL, USUAL, LARGE = (80, 24), (120, 40), (160, 50)


@pytest.mark.parametrize("size", [SMALL, USUAL, LARGE], ids=["80x24", "120x40", "160x50"])
def test_overview(snap_compare: Compare, busy: View, size: tuple[int, int]) -> None:
    assert snap_compare(Fake(busy).app, terminal_size=size)


def test_overview_charts_in_a_small_window(snap_compare: Compare, busy: View) -> None:
    assert snap_compare(Fake(busy).app, terminal_size=SMALL, press=["c"])


def test_overview_in_light(snap_compare: Compare, busy: View) -> None:
    app = Fake(busy).app
    app.theme = "textual-light"
    assert snap_compare(app, terminal_size=USUAL)


@pytest.mark.parametrize("key", ["2", "3", "4", "5", "6", "9", "0", "v", "question_mark"])
def test_screen(snap_compare: Compare, busy: View, key: str) -> None:
    assert snap_compare(Fake(busy).app, terminal_size=SMALL, press=[key])


@pytest.mark.parametrize("size", [SMALL, USUAL, LARGE], ids=["80x24", "120x40", "160x50"])
@pytest.mark.parametrize("key", ["7", "8"])
def test_trouble(snap_compare: Compare, busy: View, key: str, size: tuple[int, int]) -> None:
    fake = Fake(busy)

    async def make_trouble(pilot: Pilot[None]) -> None:
        await fake.trouble.set("service-a", {"kind": "latency", "ms": 800, "jitter": 200})
        await fake.trouble.set("service-b", {"kind": "ws_freeze", "ttl": 12})
        fake.trouble.load = fake.make_load("", notes=None, shape="ramp", users=20, seconds=30.0, rate=0.0)  # type: ignore[assignment]
        await fake.trouble.load.start()
        fake.trouble.figures = await anext(fake.trouble.load.figures())
        await pilot.press(key)
        await fake.done(pilot)
        fake.app.touch()
        fake.app.frame()
        await fake.done(pilot)  # a table counts its rows, and so its height, once it is idle

    assert snap_compare(fake.app, terminal_size=size, run_before=make_trouble)


@pytest.mark.parametrize("size", [SMALL, USUAL, LARGE], ids=["80x24", "120x40", "160x50"])
def test_exercises(
    snap_compare: Compare, busy: View, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.exercises.api.check", failing_check)
    fake = Fake(busy)
    busy.policies = {name: policy | {"plugged": name == "rate_limit"} for name, policy in POLICIES.items()}
    busy.policies["rate_limit"]["use"] = "/course/02_fixed_window/exercise.py:FixedWindow"

    async def check(pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await fake.done(pilot)
        await pilot.press("down", "enter")
        await fake.done(pilot)
        fake.app.touch()
        fake.app.frame()
        await fake.done(pilot)  # a table counts its rows, and so its height, once it is idle

    assert snap_compare(fake.app, terminal_size=size, run_before=check)


def test_a_breaker_open_and_a_service_down(snap_compare: Compare, gateway: FakeGateway) -> None:
    view = View(status="live")
    view.fold(gateway.snapshot())
    gateway.health["service-a"] = "down"
    view.fold(gateway.breaker("service-a", "open", "5 failures in a row"))
    view.fold(gateway.event("health", service="service-a", **{"from": "up", "to": "down"}, reason="refused"))
    view.fold(gateway.tick(1.0))
    fake = Fake(view)
    fake.stack.processes["service-a"].state = "crashed"
    fake.stack.processes["service-a"].detail = "ended by SIGKILL; starting again in 0.25 s"
    assert snap_compare(fake.app, terminal_size=SMALL)


def test_before_the_first_message(snap_compare: Compare) -> None:
    assert snap_compare(Fake().app, terminal_size=SMALL)


def test_a_viewer_whose_gateway_is_away(snap_compare: Compare, busy: View) -> None:
    busy.status, busy.trouble = "lost", "the gateway is not reachable"
    assert snap_compare(Fake(busy, may_act=False).app, terminal_size=SMALL)


def test_too_small(snap_compare: Compare, busy: View) -> None:
    assert snap_compare(Fake(busy).app, terminal_size=(50, 12))
