"""Each screen through Pilot: what it shows of a frozen gateway, and what its keys ask for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from textual.content import Content
from textual.widgets import Input

from lab.dashboard.app import Dashboard
from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.policies import flow, parse
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import View
from lab.dashboard.widgets.bars import TopBar
from lab.dashboard.widgets.big import Big
from lab.dashboard.widgets.table import LiveTable

from .fakes import POLICIES, Fake, FakeGateway


def asked(fake: Fake) -> list[tuple[str, str, str]]:
    return [(r.method, r.url.raw_path.decode(), r.content.decode()) for r in fake.asked]


def cells(fake: Fake) -> list[str]:
    """The text of every table on the screen, row by row."""
    rows = []
    for table in fake.app.screen.query(LiveTable):
        rows += [" ".join(cell.plain for cell in table.get_row_at(i)) for i in range(table.row_count)]
    return rows


def test_no_two_screens_share_a_key_or_a_mode() -> None:
    assert len({entry.key for entry in SCREENS}) == len({entry.mode for entry in SCREENS}) == len(SCREENS)


async def test_keys_jump_and_every_screen_has_help_a_tip_and_the_panic_key(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        for entry in SCREENS:
            await pilot.press(entry.key)
            assert fake.app.current_mode == entry.mode
            assert fake.app.screen.help.strip()  # type: ignore[attr-defined]
            panic = fake.app.active_bindings["exclamation_mark"]
            assert (panic.binding.action, panic.enabled) == ("panic", True)
            tip = fake.app.screen.tip  # type: ignore[attr-defined]
            assert Content.from_markup(tip).cell_length <= 76
        for size in ((60, 16), (20, 5)):
            await pilot.resize_terminal(*size)


async def test_every_screen_stands_an_empty_gateway() -> None:
    fake = Fake()
    async with fake.app.run_test() as pilot:
        for entry in SCREENS:
            await pilot.press(entry.key)
            fake.app.touch()
            fake.app.frame()
            await pilot.pause()


async def test_breakers_are_forced_and_released(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("3")
        assert cells(fake)[0].startswith("service-a ■ closed")
        for key in ("o", "c", "a"):
            await pilot.press(key)
        await pilot.press("down", "o")
        await fake.done(pilot)
    assert asked(fake) == [
        ("PUT", "/admin/breakers/service-a", '{"state":"open"}'),
        ("PUT", "/admin/breakers/service-a", '{"state":"closed"}'),
        ("PUT", "/admin/breakers/service-a", '{"state":"auto"}'),
        ("PUT", "/admin/breakers/service-b", '{"state":"open"}'),
    ]


async def test_cache_entries_are_purged_one_or_all(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("4")
        assert cells(fake)[1].split()[:3] == ["0", "0:42", "stale"]
        await pilot.press("p", "P")
        await fake.done(pilot)
    assert asked(fake) == [
        ("DELETE", "/admin/cache?path=%2Fservice-a%2Fitems%2F1%3Flang%3Den", ""),
        ("DELETE", "/admin/cache", ""),
    ]


async def test_policies_are_switched_swapped_and_tuned(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("5", "down")
        await pilot.press("s")
        await fake.done(pilot)
        await pilot.press("u")
        assert isinstance(fake.app.screen, Ask)
        fake.app.screen.query_one(Input).value = "token_bucket"
        await pilot.press("enter")
        await fake.done(pilot)
        await pilot.press("enter")
        assert isinstance(fake.app.screen, Ask)
        assert fake.app.screen.query_one(Input).value.startswith("limit: 10, window: 60, ")
        fake.app.screen.query_one(Input).value = "limit: 3, window: 5"
        await pilot.press("enter")
        await fake.done(pilot)
        await pilot.press("u", "escape")
        await fake.done(pilot)
    assert asked(fake) == [
        ("PUT", "/admin/policies/rate_limit", '{"enabled":false}'),
        ("PUT", "/admin/policies/rate_limit", '{"use":"token_bucket"}'),
        ("PUT", "/admin/policies/rate_limit", '{"options":{"limit":3,"window":5}}'),
    ]


async def test_options_that_are_none_are_told(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("5", "enter")
        fake.app.screen.query_one(Input).value = "limit 3"
        await pilot.press("enter")
        await fake.done(pilot)
        assert [n.message for n in fake.app._notifications] == [
            "options are written like this: limit: 10, window: 60"
        ]
    assert fake.asked == []


@pytest.mark.parametrize(
    "options",
    [{"limit": 10, "window": 60.0}, {"routes": [{"match": "/a/**", "limit": 1}]}, {"a": "x y", "b": True}],
)
def test_options_can_be_read_back(options: dict[str, object]) -> None:
    assert parse(flow(options)) == options
    assert parse(flow(options | {"unset": None})) == options


async def test_processes_are_stopped_restarted_killed_and_frozen(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("6")
        for key in ("s", "s", "r", "k", "z", "z"):
            await pilot.press(key)
            await fake.done(pilot)
    names = ["stop", "start", "restart", "kill", "pause", "resume"]
    assert fake.stack.calls[1:] == [(name, "service-a") for name in names]


async def test_events_are_filtered_held_and_saved(
    busy: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("0")
        everything = cells(fake)
        assert len(everything) == len(busy.events) == 5
        await pilot.press("slash", *"half", "enter")
        assert [row for row in everything if "half" in row] == cells(fake)
        await pilot.press("e")
        await pilot.press("p")
        busy.fold({"type": "event", "seq": 9999, "time": busy.time, "kind": "note", "text": "half a note"})
        fake.app.touch()
        fake.app.frame()
        assert len(cells(fake)) == 2
        await pilot.press("p")
        assert len(cells(fake)) == 3
    (saved,) = list(tmp_path.glob("events-*.jsonl"))  # noqa: ASYNC240
    assert [json.loads(line)["to"] for line in saved.read_text().splitlines()] == ["half_open", "closed"]


async def test_a_viewer_has_no_key_that_changes_something_on_any_screen(busy: View) -> None:
    fake = Fake(busy, may_act=False)
    async with fake.app.run_test() as pilot:
        for entry in SCREENS:
            await pilot.press(entry.key)
            screen = fake.app.screen
            actions = {
                a.binding.action.partition("(")[0] for a in fake.app.active_bindings.values() if a.enabled
            }
            needs = screen.changes | screen.needs_stack | screen.needs_trouble  # type: ignore[attr-defined]
            assert not actions & (needs | {"app.fault", "app.switch_policy", "panic"})
        await pilot.press("6", "s", "5", "s", "enter", "4", "p", "3", "o", "7", "enter", "8", "enter")
        await pilot.press("1", "l", "C", "exclamation_mark")
        await fake.done(pilot)
    assert fake.asked == []
    assert fake.stack.calls == []


async def test_a_table_keeps_its_cursor_when_rows_come_and_go(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("4", "down")
        table = fake.app.screen.query_one(LiveTable)
        assert table.selected == "/service-a/users"
        cache = POLICIES["cache"]
        entry = {"key": "/service-a/items/9", "status": 200, "age": 1.0, "ttl": 9.0, "hits": 99, "bytes": 7}
        state = cache["state"] | {"top": [entry, *cache["state"]["top"]]}
        busy.policies = POLICIES | {"cache": cache | {"state": state}}
        fake.app.touch()
        fake.app.frame()
        await pilot.pause()
        assert table.selected == "/service-a/users"
        assert table.row_count == 3
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert table.selected == "/service-a/users"


async def test_a_frozen_picture_says_so_and_is_the_same_on_every_screen(
    busy: View, gateway: FakeGateway
) -> None:
    fake = Fake(busy)
    async with fake.app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f")
        assert "frozen" in str(fake.app.screen.query_one(TopBar).render())
        before = busy.totals["requests"]
        gateway.count(requests=500)
        busy.fold(gateway.tick(1.0))
        await pilot.press("8")
        await fake.done(pilot)
        assert fake.app.view.totals["requests"] == before
        assert "frozen" in str(fake.app.screen.query_one(TopBar).render())
        await pilot.press("f")
        assert "live" in str(fake.app.screen.query_one(TopBar).render())
        assert fake.app.view.totals["requests"] == before + 500


async def test_a_picture_is_taken_of_any_screen_and_shows_no_message_over_it(
    busy: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fake = Fake(busy)
    async with fake.app.run_test(size=(120, 40)) as pilot:
        await pilot.press("question_mark")
        fake.app.notify("in the way")
        await pilot.pause()
        await pilot.press("ctrl+s")
        await fake.done(pilot)
    (saved,) = os.listdir(tmp_path)
    picture = Path(saved).read_text(encoding="utf-8").replace("&#160;", " ")  # noqa: ASYNC240
    assert "escape closes" in picture
    assert "in the way" not in picture


async def test_who_did_not_start_the_processes_sees_what_the_gateway_tells_of_them(busy: View) -> None:
    app = Dashboard(view=busy)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await pilot.pause()
        table = app.screen.query_one(LiveTable)
        rows = [" ".join(cell.plain for cell in table.get_row_at(n)) for n in range(table.row_count)]
        assert [row.split()[:3] for row in rows] == [
            ["gateway", "●", "healthy"],
            ["service-a", "●", "up"],
            ["service-b", "●", "up"],
        ]
        assert "8001" in rows[1]


async def test_the_picture_can_be_frozen_while_figures_go_on(busy: View, gateway: FakeGateway) -> None:
    fake = Fake(busy)
    async with fake.app.run_test() as pilot:
        await pilot.press("v", "f")
        digits = fake.app.screen.query(Big).first()
        before = digits.value
        gateway.count(requests=500)
        busy.fold(gateway.tick(1.0))
        fake.app.touch()
        fake.app.frame()
        assert digits.value == before
        await pilot.press("f")
        fake.app.frame()
        assert digits.value != before
        assert list(fake.app.keys) == ["v", "f", "f"]
