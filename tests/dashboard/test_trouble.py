"""Faults and load by keys, and the key that ends all of it, against services and a Locust that are fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input

from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.faults import about, usual
from lab.dashboard.screens.help import Help
from lab.dashboard.screens.load import drawing, wanted
from lab.dashboard.state import View
from lab.dashboard.widgets.table import LiveTable
from lab.faults.client import FaultClient
from lab.faults.registry import FAULTS
from lab.load.runner import LoadError
from lab.load.shapes import SHAPES

from .fakes import Fake


def rows(fake: Fake, table: str) -> list[str]:
    found = fake.app.screen.query_one(f"#{table}", LiveTable)
    return [" ".join(cell.plain for cell in found.get_row_at(i)) for i in range(found.row_count)]


async def drawn(fake: Fake, pilot: Pilot[None]) -> None:
    """What the keys set off has happened and is on the screen."""
    await fake.done(pilot)
    fake.app.touch()
    fake.app.frame()
    await pilot.pause()


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Give the app turns until it is true; a hundred are more than enough."""
    for _ in range(100):
        if true():
            return
        await pilot.pause()
    pytest.fail("it never came true")


async def test_a_fault_is_set_on_a_service_and_cleared_again(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("7", "enter")
        await drawn(fake, pilot)
        assert fake.services.set() == ["service-a latency"]
        assert rows(fake, "now") == ["service-a latency 300 ms 30 s 7 12 requests"]

        fake.services.now = 12.0
        fake.app.touch()
        fake.app.frame()
        assert rows(fake, "now") == ["service-a latency 300 ms 18 s 7 12 requests"]

        await pilot.press("s", "down", "enter")
        await drawn(fake, pilot)
        assert fake.services.set() == ["service-a latency", "service-b hang"]
        await pilot.press("u")
        await drawn(fake, pilot)
        assert fake.services.set() == ["service-b hang"]
        await pilot.press("U")
        await drawn(fake, pilot)
        assert fake.services.set() == []
        assert rows(fake, "now") == ["nothing     "]


async def test_a_fault_that_is_over_is_no_longer_shown(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("7", "enter")
        await drawn(fake, pilot)
        fake.services.now = 30.0
        assert fake.trouble.active() == []


async def test_a_fault_has_parameters_and_bad_ones_are_told(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("7", "p")
        assert isinstance(fake.app.screen, Ask)
        assert fake.app.screen.query_one(Input).value == "ms: 300, jitter: 0, ttl: 30"
        fake.app.screen.query_one(Input).value = "ms: 50, ttl: 5, probability: 0.5"
        await pilot.press("enter")
        await drawn(fake, pilot)
        report = fake.services.faults["http://127.0.0.1:8001"]["latency"]
        assert (report["ms"], report["ttl"], report["probability"]) == (50, 5, 0.5)

        await pilot.press("p")
        fake.app.screen.query_one(Input).value = "ms: 50, ttl: 5000"
        await pilot.press("enter")
        await fake.done(pilot)
        (told,) = [n.message for n in fake.app._notifications if n.severity == "error"]
        assert "ttl" in told


def test_every_kind_of_fault_says_what_it_is() -> None:
    for kind in FAULTS:
        assert about(kind)
        assert usual(kind)["ttl"] == 30.0


@pytest.mark.parametrize(
    ("key", "kind"), [("l", "latency"), ("e", "error"), ("h", "hang"), ("r", "refuse"), ("k", "kill")]
)
async def test_one_key_one_failure_and_the_same_key_mends_it(busy: View, key: str, kind: str) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press(key)
        await fake.done(pilot)
        assert fake.services.set() == [f"service-a {kind}"]
        await pilot.press(key)
        await fake.done(pilot)
        assert fake.services.set() == []


async def test_policies_are_switched_by_a_key_each(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        for key in "ALCBR":
            await pilot.press(key)
            await fake.done(pilot)
    assert [(r.url.path.rpartition("/")[2], r.content) for r in fake.asked] == [
        ("auth", b'{"enabled":true}'),
        *((name, b'{"enabled":false}') for name in ("rate_limit", "cache", "breaker", "retry")),
    ]


async def test_a_load_is_started_shown_and_stopped(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("8", "down", "plus", "minus", "minus", "enter")
        await until(pilot, lambda: fake.trouble.figures is not None)
        fake.app.frame()
        assert fake.loads[0].asked == ("ramp", 10, 30.0, 0.0)
        assert rows(fake, "figures")[0] == "locust 20 840 201/s 0.7/s 5.0/s 4.2 ms 19 ms 47 ms"
        await pilot.press("s")
        await drawn(fake, pilot)
        assert fake.trouble.load is None
        assert fake.loads[0].stopped


async def test_a_second_load_ends_the_first(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("8", "enter")
        await until(pilot, lambda: fake.trouble.figures is not None)
        await pilot.press("p")
        fake.app.screen.query_one(Input).value = "users: 3, seconds: 5, rate: 7"
        await pilot.press("enter")
        await until(pilot, lambda: len(fake.loads) == 2 and fake.trouble.figures is not None)
        assert fake.loads[0].stopped
        assert fake.loads[1].asked == ("steady", 3, 5, 7)
        assert fake.trouble.load is fake.loads[1]
        await pilot.press("exclamation_mark")
        await fake.done(pilot)


@pytest.mark.parametrize("given", [{"user": 3}, {"users": 1.5}, {"rate": "much"}, {"seconds": True}])
def test_a_load_that_is_no_load_is_told(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        wanted(given)


def test_the_shapes_are_drawn() -> None:
    assert drawing(SHAPES["steady"]) == "▇▇▇▇▇▇▇▇"
    assert drawing(SHAPES["spike"]) == "▁▁▁▁▇▁▁▁"
    assert drawing(SHAPES["ramp"])[0] == "▁"
    assert list(drawing(SHAPES["ramp"])) == sorted(drawing(SHAPES["ramp"]))


async def test_a_load_that_was_killed_before_it_began_is_no_error(busy: View) -> None:
    fake = Fake(busy)

    async def killed() -> None:
        await fake.trouble.stop_load(0)
        raise LoadError("Locust ended with status -9")

    def make(url: str, **asked: object) -> object:
        load = Fake.make_load(fake, url, **asked)
        load.start = killed  # type: ignore[method-assign]
        return load

    fake.trouble._make_load = make  # type: ignore[assignment]
    await fake.trouble.run_load(lambda: None, shape="steady", users=1, seconds=1, rate=0)
    assert fake.trouble.load is None


async def test_panic_ends_everything_from_every_kind_of_screen(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        assert fake.app.traffic
        for key in ("1", "9", "x", "question_mark"):
            await pilot.press("8", "enter")
            await until(pilot, lambda: fake.trouble.load is not None and fake.trouble.figures is not None)
            for service in fake.trouble.services:
                await fake.trouble.set(service, {"kind": "hang"})
            fake.app.action_steady()
            fake.stack.processes["service-b"].paused = True
            fake.stack.processes["service-a"].state = "stopped"
            fake.stack.calls.clear()
            await pilot.press(key, "exclamation_mark")
            await fake.done(pilot)
            assert fake.services.set() == []
            assert fake.trouble.load is None
            assert fake.loads[-1].stopped[0] == 0  # at once, without waiting for Locust
            assert not fake.app.traffic.steady
            assert sorted(fake.stack.calls) == [("resume", "service-b"), ("start", "service-a")]
            assert isinstance(fake.app.screen, Help) == (key == "question_mark")


async def test_panic_kills_the_load_once_and_before_the_line_to_the_services_is_made(
    busy: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(busy)
    stopped_before: list[list[float]] = []

    def make(*asked: object) -> FaultClient:
        stopped_before.append(list(fake.loads[0].stopped))
        return fake.services.client

    async with fake.app.run_test() as pilot:
        await pilot.press("8", "enter")
        await until(pilot, lambda: fake.trouble.figures is not None)
        fake.trouble._faults = None
        fake.trouble.__dict__.pop("faults", None)
        monkeypatch.setattr("lab.faults.client.FaultClient", make)
        await pilot.press("exclamation_mark")
        await fake.done(pilot)
    assert stopped_before == [[0]]
    assert fake.loads[0].stopped == [0]


async def test_the_line_to_the_services_is_opened_before_the_first_key(busy: View) -> None:
    fake = Fake(busy)
    await fake.services.client.set("service-a", {"kind": "hang"})
    async with fake.app.run_test() as pilot:
        assert fake.trouble.quick() == []
        fake.app._make_ready()
        await fake.app.workers.wait_for_complete([w for w in fake.app.workers if w.group == "ready"])
        await pilot.pause()
        assert fake.trouble.quick() == ["hang"]


async def test_panic_is_a_letter_where_something_is_written(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("l")
        await fake.done(pilot)
        await pilot.press("7", "p", "exclamation_mark")
        await fake.done(pilot)
        assert fake.app.screen.query_one(Input).value.endswith("!")
        assert fake.services.set() == ["service-a latency"]


async def test_every_action_is_in_the_palette_and_works_from_there(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:

        async def commands(key: str) -> dict[str, Callable[[], object]]:
            await pilot.press(key)
            screen = fake.app.screen
            await pilot.press("ctrl+p")
            assert CommandPalette.is_open(fake.app)
            found = {command.title: command.callback for command in fake.app.get_system_commands(screen)}
            await pilot.press("escape")
            return found

        found = await commands("1")
        assert {"Latency", "Errors", "Hang", "Refuse", "Kill", "Auth", "Limit", "Panic"} <= found.keys()
        assert {"Screen: Faults", "Screen: Load", "Theme"} <= found.keys()
        found["Latency"]()
        await fake.done(pilot)
        assert fake.services.set() == ["service-a latency"]
        found = await commands("3")
        assert {"Open", "Close", "Auto", "Panic"} <= found.keys()
        found["Open"]()
        await fake.done(pilot)
        assert [request.url.path for request in fake.asked] == ["/admin/breakers/service-a"]
