"""The widgets by themselves: what they draw of a View, and what they leave out where there is no room."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.content import Content

from lab.dashboard import text
from lab.dashboard.screens.clients import LONGEST, share
from lab.dashboard.screens.policies import ABOUT, OPTIONS
from lab.dashboard.screens.quick import QuickKeys
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import View
from lab.dashboard.text import line
from lab.dashboard.widgets.bars import TopBar
from lab.dashboard.widgets.big import FONT, ROWS, draw, pixels
from lab.dashboard.widgets.panel import Long, Panel
from lab.dashboard.widgets.path import RequestPath
from lab.dashboard.widgets.table import KEPT, LiveTable
from lab.settings import Settings

from .fakes import Fake, FakeGateway, FakeProcess

TABS = [(entry.key, entry.mode, entry.title) for entry in SCREENS]


def drawn(panel: Panel, view: View, width: int, height: int = 8) -> list[str]:
    return [row.plain for row in panel.lines(view, width, height)]


# -- a panel that is longer than its room


class Numbers(Long):
    """A hundred rows."""

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        return [line(str(number)) for number in range(100)]


class Alone(App[None]):
    def __init__(self, *widgets: Panel | LiveTable) -> None:
        super().__init__()
        self.widgets = widgets

    def compose(self) -> ComposeResult:
        yield from self.widgets


def rows_of(panel: Panel) -> list[str]:
    rendered = panel.render()
    assert isinstance(rendered, Content)
    return rendered.plain.split("\n")


async def test_what_is_longer_than_its_room_says_so_and_is_paged() -> None:
    panel = Numbers()
    panel.view = View()
    async with Alone(panel).run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        assert rows_of(panel) == [*(str(n) for n in range(9)), "▼ 91 more: page down"]
        panel.page(1)
        assert rows_of(panel)[0] == "8"
        panel.page(-1)
        panel.page(-1)
        assert rows_of(panel)[0] == "0"
        panel.move(1000)
        assert rows_of(panel)[-1] == "99"
        panel.move(-1)
        assert rows_of(panel)[0] == "89"  # it did not count what was beyond the end
        panel.rest()
        assert rows_of(panel)[0] == "0"


async def test_what_goes_on_rests_at_its_end() -> None:
    panel = Numbers()
    panel.view, panel.tail = View(), True
    async with Alone(panel).run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        assert rows_of(panel)[-1] == "99"
        panel.page(-1)
        assert rows_of(panel)[0] == "82"


# -- tables


async def test_the_last_column_has_the_rest_of_the_width() -> None:
    table = LiveTable(("a", 5), (">b", 6), ("c", 0))
    async with Alone(table).run_test(size=(60, 10)) as pilot:
        table.fill({"1": ("x", "y", "word " * 30)})
        await pilot.pause()
        assert [column.width for column in table.columns.values()] == [5, 6, 60 - 5 - 6 - 3 * 2]
        await pilot.resize_terminal(40, 10)
        await pilot.pause()
        assert [column.width for column in table.columns.values()] == [5, 6, 40 - 5 - 6 - 3 * 2]
        assert table.get_row("1")[0].plain == "x"


async def test_a_table_that_changes_all_the_time_keeps_little() -> None:
    table = LiveTable(("a", 5), ("b", 0))
    async with Alone(table).run_test(size=(40, 10)) as pilot:
        for n in range(100):
            table.fill({str(row): (f"{n}", f"{n + row}") for row in range(5)})
            for y in range(6):
                table.render_line(y)
        await pilot.pause()
        assert len(table._cell_render_cache) <= KEPT
        assert len(table._row_render_cache) <= KEPT
        assert table.get_row("4")[1].plain == "103"


# -- the bar at the top


@pytest.mark.parametrize(("width", "titles", "up"), [(120, True, True), (80, True, False), (60, False, True)])
def test_the_top_bar_gives_up_the_least_important(busy: View, width: int, titles: bool, up: bool) -> None:
    busy.bands.clear()
    fake = Fake(busy)
    bar = TopBar(TABS, "overview")
    with fake.app._context():
        first, second = drawn(bar, busy, width, 2)
    assert len(first) == len(second) == width
    assert "1 Overview" in first
    assert ("6 Processes" in first, "7 Faults" in second) == (titles, titles)
    assert "● live" in first
    assert ("3:12" in first) == up


def test_what_is_done_to_the_system_stands_at_the_top(busy: View, gateway: FakeGateway) -> None:
    for words in ("latency 800±200 ms", "hang"):
        busy.fold(gateway.event("note", source="fault", text=words, action="started"))
    fake = Fake(busy)
    with fake.app._context():
        _, second = drawn(TopBar(TABS, "overview"), busy, 100, 2)
    assert second.endswith("▲ hang +1 ")


# -- the path


def test_before_the_gateway_says_anything_its_processes_are_drawn() -> None:
    processes = {
        "service-a": FakeProcess("service-a", 8001, state="starting", detail="starting"),
        "gateway": FakeProcess("gateway", 8000, state="starting", detail="not started yet"),
    }
    text = "\n".join(drawn(RequestPath(lambda: processes), View(), 118))  # type: ignore[arg-type,return-value]
    assert "service-a ◌ " in text
    assert "breaker –" in text
    assert "breaker – off" not in text
    assert "◌ starting" in text
    assert "gateway  ◌ not started yet" in text


@pytest.mark.parametrize("width", [78, 98, 118, 158])
def test_every_row_of_the_drawing_has_the_same_width(busy: View, width: int) -> None:
    assert {row.cell_length for row in RequestPath().lines(busy, width, 8)} == {width}


def test_a_process_in_trouble_says_so_at_its_service(busy: View) -> None:
    crashed = FakeProcess("service-a", 8001, state="crashed", detail="ended by SIGKILL")
    text = "\n".join(drawn(RequestPath(lambda: {"service-a": crashed}), busy, 118))  # type: ignore[arg-type,return-value,dict-item]
    assert "✖ ended by SIGKILL" in text
    crashed.state, crashed.restarts = "healthy", 2
    text = "\n".join(drawn(RequestPath(lambda: {"service-a": crashed}), busy, 118))  # type: ignore[arg-type,return-value,dict-item]
    assert ":8001 · 2 restarts" in text


def test_a_sentence_gives_up_clauses_and_never_its_first() -> None:
    words = "the port is closed, as if nobody were there; always"
    assert text.fitting(words, 99) == words
    assert text.fitting(words, 50) == "the port is closed, as if nobody were there"
    assert text.fitting(words, 30) == text.fitting(words, 3) == "the port is closed"


# -- quick keys, policies, clients


async def test_faults_that_are_set_and_policies_that_are_off_stand_out(busy: View) -> None:
    fake = Fake(busy)
    async with fake.app.run_test(size=(120, 40)) as pilot:
        await pilot.press("l")
        await fake.done(pilot)
        (keys,) = drawn(fake.app.screen.query_one(QuickKeys), busy, 118)
        assert "l ▲ latency  e error" in keys
        assert "A ○ auth  L ● limit" in keys
        (narrow,) = drawn(fake.app.screen.query_one(QuickKeys), busy, 78)
        assert "auth" not in narrow


def test_every_option_of_every_policy_has_a_meaning() -> None:
    defaults = Settings().model_dump()
    for section in ABOUT:
        assert set(defaults[section]) - {"enabled", "use", "keys"} <= set(OPTIONS)


def test_the_busiest_client_has_the_longest_bar_and_nobody_has_none() -> None:
    assert [len(part[0]) for part in share(10, 10, 20, 100)] == [LONGEST // 2, LONGEST // 2]
    assert [len(part[0]) for part in share(10, 10, 20, 8)] == [4, 4]
    assert [len(part[0]) for part in share(1, 0, 1000, 100)] == [1, 0]


# -- large figures


def test_every_digit_is_five_rows_of_one_width() -> None:
    for picture in FONT.values():
        rows = picture.split()
        assert len(rows) == ROWS
        assert len({len(row) for row in rows}) == 1


def test_a_number_is_as_large_as_there_is_room() -> None:
    assert pixels("1.") == ["##...", ".#...", ".#...", ".#...", "###.#"]
    large = draw("42", 40, 5)
    assert len(large) == 5
    assert large[0] == "██  ██  ██████"
    assert len(draw("42", 40, 3)) == 3
    assert len(draw("123456", 40, 5)) == 3
    assert draw("1", 9, 3) == ["▀█ ", " █ ", "▀▀▀"]
