"""The charts: which dots are set, the scale, the ribbons, the bands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.dashboard.state import View
from lab.dashboard.widgets.chart import axis, banded, ceiling, cells, labels, ribbon, window

from .fakes import START, FakeGateway


def drawn(before: int | None, left: int | None, right: int | None, *, filled: bool = False) -> str:
    return "".join(glyph for glyph, _ in cells((before,), (left,), (right,), 2, filled))


def test_an_area_is_filled_from_the_ground() -> None:
    assert drawn(None, 8, 4, filled=True) == "⡇⣿"
    assert drawn(None, 0, 0, filled=True) == "  "
    assert drawn(None, 1, 2, filled=True) == " ⣠"


def test_a_line_joins_the_last_sample() -> None:
    assert drawn(1, 1, 1) == " ⣀"
    assert drawn(1, 4, 4) == " ⠏"
    assert drawn(None, 8, 8) == "⠉ "


def test_a_gap_is_empty_and_ends_a_line() -> None:
    assert drawn(3, None, None) == "  "
    assert drawn(None, None, 2) == " ⠠"


def test_areas_stand_on_each_other_and_the_upper_one_colours() -> None:
    (top, top_owner), (ground, ground_owner) = cells((None, None), (4, 8), (4, 8), 2, True)
    assert (top, ground) == ("⣿", "⣿")
    assert (top_owner, ground_owner) == (1, 0)


@given(
    st.lists(st.tuples(*[st.none() | st.integers(0, 12)] * 3), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_heights_can_be_drawn(samples: list[tuple[int | None, ...]], filled: bool) -> None:
    before, left, right = (tuple(s[i] for s in samples) for i in range(3))
    column = cells(before, left, right, 3, filled)
    assert len(column) == 3
    assert all(glyph == " " or "\u2800" < glyph <= "\u28ff" for glyph, _ in column)
    if all(h is None for h in (*left, *right)):
        assert all(glyph == " " for glyph, _ in column)


@pytest.mark.parametrize(
    ("value", "least", "scale"),
    [(0, 5, 5), (5.1, 5, 10), (19.9, 5, 20), (20, 5, 20), (0.003, 0.01, 0.01), (0.011, 0.01, 0.02)],
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
    assert labels(view, int(START), 20) == "  fault slow        "


@pytest.mark.parametrize("columns", [1, 2, 5, 33, 73, 150])
def test_the_axis_has_the_width_of_the_plot(columns: int) -> None:
    assert len(axis(columns)) == columns
    assert axis(73).endswith("now")
    assert "-1 min" in axis(73)
