"""The charts: which dots are set, the scale, the ribbons, the bands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.dashboard.state import View
from lab.dashboard.widgets.chart import banded, labels, mean, ribbon, window
from lab.dashboard.widgets.glyphs import NOBODY, areas, axis, ceiling, lines, stacked

from .fakes import START, FakeGateway


def drawn(before: int | None, left: int | None, right: int | None) -> str:
    return "".join(glyph for glyph, _ in lines((before,), (left,), (right,), 2))


def test_a_line_joins_the_last_sample() -> None:
    assert drawn(1, 1, 1) == " ⣀"
    assert drawn(1, 4, 4) == " ⠏"
    assert drawn(None, 8, 8) == "⠉ "


def test_a_gap_is_empty_and_ends_a_line() -> None:
    assert drawn(3, None, None) == "  "
    assert drawn(None, None, 2) == " ⠠"


@pytest.mark.parametrize(
    ("tops", "column"),
    [
        ((0,), [" ", " "]),
        ((3,), [" ", "▃"]),
        ((8,), [" ", "█"]),
        ((12,), ["▄", "█"]),
        ((16,), ["█", "█"]),
    ],
)
def test_an_area_is_filled_from_the_ground(tops: tuple[int, ...], column: list[str]) -> None:
    assert [glyph for glyph, _, _ in areas(tops, 2)] == column


def test_areas_stand_on_each_other() -> None:
    assert areas((5, 16), 2) == (("█", 1, NOBODY), ("▅", 0, 1))
    assert areas((8, 12), 2) == (("▄", 1, NOBODY), ("█", 0, NOBODY))


def test_where_three_colours_meet_the_uppermost_has_the_cell() -> None:
    assert areas((2, 5), 1) == (("▅", 1, NOBODY),)


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=4), st.integers(1, 8))
def test_whatever_is_not_nothing_is_seen(values: list[float | None], rows: int) -> None:
    total = sum(value or 0 for value in values)
    most = rows * 8
    tops = stacked(values, most / ceiling(total, 1), most)
    heights = [top - below for below, top in zip((0, *tops), tops, strict=False)]
    assert all((height > 0) == bool(value) for height, value in zip(heights, values, strict=True))
    assert 0 <= tops[-1] <= most
    owners = {owner for cell in areas(tops, rows) for owner in cell[1:]}
    assert owners <= {NOBODY, *range(len(values))}
    if values[-1]:
        assert len(values) - 1 in owners


@given(st.lists(st.tuples(*[st.none() | st.integers(0, 12)] * 3), min_size=1, max_size=4))
def test_any_heights_can_be_drawn(samples: list[tuple[int | None, ...]]) -> None:
    before, left, right = (tuple(s[i] for s in samples) for i in range(3))
    column = lines(before, left, right, 3)
    assert len(column) == 3
    assert all(glyph == " " or "\u2800" < glyph <= "\u28ff" for glyph, _ in column)
    if all(h is None for h in (*left, *right)):
        assert all(glyph == " " for glyph, _ in column)


def test_the_mean_of_a_cell_is_that_of_the_known_seconds() -> None:
    assert mean([1.0, 3.0]) == 2.0
    assert mean([None, 3.0]) == 3.0
    assert mean([None, None]) is None


@pytest.mark.parametrize(
    ("value", "least", "scale"),
    [(0, 5, 5), (5.1, 5, 6), (19.9, 5, 20), (20, 5, 20), (0.003, 0.01, 0.01), (0.011, 0.01, 0.015)],
)
def test_the_scale_is_a_round_number(value: float, least: float, scale: float) -> None:
    assert ceiling(value, least) == pytest.approx(scale)


def test_the_window_moves_two_seconds_at_a_time(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    windows = set()
    for _ in range(6):
        view.fold(gateway.tick(1.0))
        windows.add(window(view, 10))
    assert len(windows) == 3
    assert all(end - start == 20 and end % 2 == 0 for start, end in windows)


def test_a_transition_of_twenty_milliseconds_is_in_the_ribbon(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    for second in range(20):
        if second == 10:
            view.fold(gateway.breaker("service-a", "open", "forced"))
            gateway.time += 0.02
            view.fold(gateway.breaker("service-a", "closed", "forced"))
        view.fold(gateway.tick(1.0))
    start, _ = window(view, 10)
    states = ribbon(view, "service-a", start, 10, view.time)
    assert states.count("open") == 1
    assert set(ribbon(view, "service-b", start, 10, view.time)) == {"closed"}


def test_what_just_happened_is_in_the_last_cell(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    for _ in range(30):
        view.fold(gateway.tick(1.0))
    view.fold(gateway.tick(0.5))
    view.fold(gateway.breaker("service-a", "open", "forced"))
    start, _ = window(view, 10)
    assert ribbon(view, "service-a", start, 10, view.time)[-1] == "open"


def test_bands_cover_the_cells_of_their_time(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    gateway.time = START + 4
    view.fold(gateway.event("note", source="fault", text="slow", action="started"))
    gateway.time = START + 8
    view.fold(gateway.event("note", source="fault", text="slow", action="stopped"))
    assert banded(view, int(START), 6) == [False, False, True, True, False, False]
    assert labels(view, int(START), 20) == "  slow              "


def test_the_newest_label_is_whole_and_older_ones_give_way(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    for after, text in ((2, "steady, 20 users"), (20, "hang"), (30, "error 500")):
        gateway.time = START + after
        view.fold(gateway.event("note", source="fault", text=text, action="started"))
    assert labels(view, int(START), 22) == " steady, 20… error 500"


@pytest.mark.parametrize("columns", [1, 2, 5, 33, 73, 150])
def test_the_axis_fits_the_plot(columns: int) -> None:
    line = [" "] * columns
    for at, label in axis(columns):
        assert line[at : at + len(label)] == [" "] * len(label)
        line[at : at + len(label)] = label
    assert len(line) == columns
    assert "".join(line).endswith("now" if columns >= 3 else " ")


def test_the_axis_tells_the_minutes() -> None:
    assert sorted(axis(73)) == [(13, "-2 min"), (43, "-1 min"), (70, "now")]
    assert sorted(axis(50)) == [(5, "-90 s"), (20, "-1 min"), (35, "-30 s"), (47, "now")]
