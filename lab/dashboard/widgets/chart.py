"""Charts over time in braille, drawn row by row: two seconds a cell, four steps of height a row.

A cell's dots depend on three samples' heights alone, so they are computed once and looked up afterwards: a
frame of four charts costs a few milliseconds, where widgets made of lines of styled text need ten times that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from lab.dashboard import text
from lab.dashboard.state import View

GUTTER = 7
"""Cells left of the plot, for the scale; the same everywhere, so that times stand below each other."""
SECONDS = 2
"""Seconds a cell: one for each column of braille dots."""

Heights = tuple[int | None, ...]
"""Per series the height of a sample in dots, 0 for nothing; None is a gap."""

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Braille dots of the left and the right column, from the top."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line or area of a chart."""

    name: str
    key: str
    """In the history."""
    tone: str
    """ok, warn, bad, one, two or three: the colour, by the theme."""


@lru_cache(maxsize=16_384)
def cells(
    before: Heights, left: Heights, right: Heights, rows: int, filled: bool
) -> tuple[tuple[str, int], ...]:
    """The glyphs of one cell column, from the top, each with the number of the series that colours it.

    `before` is the sample left of the cell, to which lines connect. Filled series stand on each other: their
    heights are those of the stack up to each.
    """
    bits = [0] * rows
    owner = [-1] * rows
    for side, (last, now) in enumerate(((before, left), (left, right))):
        floor = 0
        for series, height in enumerate(now):
            if height is None:
                continue
            if filled:
                low, high, floor = floor + 1, height, max(floor, height)
            else:
                previous = last[series]
                level = max(height, 1)
                other = level if previous is None else max(previous, 1)
                # A line goes from just beside the last sample's height to its own.
                beside = other + (other < level) - (other > level)
                low, high = min(level, beside), max(level, beside)
            for dot in range(low, high + 1):
                row, step = divmod(dot - 1, 4)
                bits[rows - 1 - row] |= DOTS[side][3 - step]
                owner[rows - 1 - row] = series
    return tuple((chr(0x2800 + b) if b else " ", o) for b, o in zip(bits, owner, strict=True))


def ceiling(value: float, least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … that is not below `value`, and not below `least`."""
    value = max(value, least)
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def window(view: View, columns: int) -> tuple[int, int]:
    """The first and the last second of a plot of so many cells; cells begin at even seconds."""
    end = view.history.end if view.history.end is not None else math.floor(view.time)
    end += end % SECONDS
    return end - columns * SECONDS, end


class OverTime(Widget):
    """The base of what is drawn along the same axis of time; `plot(view, width, height)` gives the rows."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("over-time--ok", "over-time--warn", "over-time--bad", "over-time--one", "over-time--two"),
        *("over-time--three", "over-time--dim", "over-time--title", "over-time--band"),
    }
    DEFAULT_CSS = """
    OverTime { padding: 0 1; }
    OverTime .over-time--ok { color: $text-success; }
    OverTime .over-time--warn { color: $text-warning; }
    OverTime .over-time--bad { color: $text-error; }
    OverTime .over-time--one { color: $text-primary; }
    OverTime .over-time--two { color: $text-accent; }
    OverTime .over-time--three { color: $text-error; }
    OverTime .over-time--dim { color: $foreground-muted; }
    OverTime .over-time--title { color: $foreground; text-style: bold; }
    OverTime .over-time--band { background: $warning-muted; }
    """

    view: reactive[View | None] = reactive(None, always_update=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._strips: list[Strip] | None = None
        self._styles: dict[tuple[str, bool], Style] = {}
        self._drawn = (0, 0)

    def watch_view(self) -> None:
        """The picture is old."""
        self._strips = None

    def notify_style_update(self) -> None:
        """The theme is another one."""
        super().notify_style_update()
        self._styles.clear()
        self._strips = None

    def style(self, tone: str, band: bool = False) -> Style:
        """The colour of a tone, on the ground of a band where there is one."""
        known = self._styles.get((tone, band))
        if known is None:
            ground = self.background_colors[1]
            if band:
                ground += self.get_component_styles("over-time--band").background
            colour = self.get_component_styles(f"over-time--{tone}")
            known = Style(
                color=(ground + colour.color).rich_color,
                bgcolor=ground.rich_color,
                bold=tone == "title",
            )
            self._styles[(tone, band)] = known
        return known

    def render_line(self, y: int) -> Strip:
        """One row of the picture."""
        width, height = self.content_size
        if self._strips is None or self._drawn != (width, height):
            self._drawn = (width, height)
            drawable = self.view is not None and width > GUTTER + 4 and height > 0
            self._strips = self.plot(self.view, width, height) if drawable and self.view else []
        if y < len(self._strips):
            return self._strips[y].adjust_cell_length(width, self.style("dim"))
        return Strip.blank(width, self.style("dim"))

    def plot(self, view: View, width: int, height: int) -> list[Strip]:
        """The rows, from the top."""
        raise NotImplementedError

    def row(self, label: str, glyphs: list[tuple[str, str, bool]]) -> Strip:
        """A row from its label and (glyph, tone, in a band) for each cell; equal neighbours become one."""
        segments = [Segment(f"{label:>{GUTTER - 1}} ", self.style("dim"))]
        run, tone, band = "", "dim", False
        for glyph, its_tone, its_band in glyphs:
            if its_tone != tone and glyph == " ":
                its_tone = tone
            if its_tone != tone or its_band != band:
                if run:
                    segments.append(Segment(run, self.style(tone, band)))
                run, tone, band = "", its_tone, its_band
            run += glyph
        segments.append(Segment(run, self.style(tone, band)))
        return Strip(segments)


def banded(view: View, start: int, columns: int) -> list[bool]:
    """For each cell of a plot whether a band covers it."""
    if not view.bands:
        return [False] * columns
    return [
        any(band.covers(at, at + SECONDS) for band in view.bands)
        for at in range(start, start + columns * SECONDS, SECONDS)
    ]


class Chart(OverTime):
    """Some series of the history: lines, or areas that stand on each other (`filled`)."""

    DEFAULT_CSS = "Chart { min-height: 3; }"

    def __init__(
        self,
        title: str,
        series: list[Series],
        write: Callable[[float | None], str],
        *,
        least: float,
        most: float | None = None,
        filled: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._title = title
        self._series = series
        self._write = write
        """How a value is written, with its unit."""
        self._least = least
        self._most = most
        """The ends of the scale: it goes at least to `least`, and always to `most` where that is given."""
        self._filled = filled

    def plot(self, view: View, width: int, height: int) -> list[Strip]:
        """A head with the newest values, then the dots."""
        columns, rows = width - GUTTER, height - 1
        start, end = window(view, columns)
        missing = end - (view.history.end or end)
        count = columns * SECONDS + 1
        values = [view.history.last(s.key, count - missing) + [None] * missing for s in self._series]
        top = self._most or ceiling(self._highest(values), self._least)
        heights = self._heights(values, top, rows * 4)
        bands = banded(view, start, columns)
        drawn = [
            cells(heights[at], heights[at + 1], heights[at + 2], rows, self._filled)
            for at in range(0, columns * SECONDS, SECONDS)
        ]
        tones = [s.tone for s in self._series] + ["dim"]
        strips = [self._head(view, width)]
        for row in range(rows):
            label = self._write(top).replace(".0", "") if row == 0 else "0" if row == rows - 1 else ""
            glyphs = [(c[row][0], tones[c[row][1]], band) for c, band in zip(drawn, bands, strict=True)]
            strips.append(self.row(label, glyphs))
        return strips

    def _head(self, view: View, width: int) -> Strip:
        parts = [Segment(f"{self._title:<{GUTTER}}", self.style("title"))]
        values = [self._write(view.history.last(series.key, 1)[0]) for series in self._series]
        long = sum(len(s.name) + len(v) + 4 for s, v in zip(self._series, values, strict=True)) + GUTTER
        for series, value in zip(self._series, values, strict=True):
            if long <= width:
                parts.append(Segment(" ━ ", self.style(series.tone)))
                parts.append(Segment(f"{series.name} ", self.style("dim")))
            else:  # no room for the strokes and units
                value = value.removesuffix("/s")
                parts.append(Segment(f" {series.name} ", self.style("dim")))
            parts.append(Segment(value, self.style(series.tone)))
        return Strip(parts)

    def _highest(self, values: list[list[float | None]]) -> float:
        if self._filled:
            return max((sum(v or 0 for v in sample) for sample in zip(*values, strict=True)), default=0)
        return max((v for line in values for v in line if v is not None), default=0)

    def _heights(self, values: list[list[float | None]], top: float, dots: int) -> list[Heights]:
        scale = dots / top
        heights: list[Heights] = []
        for sample in zip(*values, strict=True):
            stack = 0.0
            here: list[int | None] = []
            for value in sample:
                if value is None:
                    here.append(None)
                    continue
                stack = stack + value if self._filled else value
                here.append(min(math.ceil(stack * scale - 1e-9), dots))
            heights.append(tuple(here))
        return heights


GLYPHS = {"open": ("█", "bad"), "half_open": ("▒", "warn"), "closed": ("─", "ok")}
"""State → glyph and tone of a ribbon, the most alarming first."""


class Timeline(OverTime):
    """A ribbon of each breaker's state, the bands by name, and the axis of time."""

    DEFAULT_CSS = "Timeline { height: 4; }"

    def plot(self, view: View, width: int, height: int) -> list[Strip]:
        """A row for each service, as many as fit; one for the bands' names, one for the axis."""
        columns = width - GUTTER
        start, _ = window(view, columns)
        bands = banded(view, start, columns)
        strips = []
        for service in list(view.services)[: height - 2]:
            states = ribbon(view, service, start, columns, view.time)
            glyphs = [(*GLYPHS.get(s, (" ", "dim")), band) for s, band in zip(states, bands, strict=True)]
            strips.append(self.row(f"cb {text.short(service)[:3]}", glyphs))
        names = zip(labels(view, start, columns), bands, strict=True)
        strips.append(self.row("", [(letter, "warn", band) for letter, band in names]))
        strips.append(self.row("", [(c, "dim", False) for c in axis(columns)]))
        return strips


def ribbon(view: View, service: str, start: int, columns: int, now: float) -> list[str]:
    """For each cell the most alarming state that the breaker was in, however short; empty where unknown."""
    spans = list(view.ribbons.get(service, ()))
    found = [""] * columns
    rank = list(GLYPHS)
    for number, (since, state) in enumerate(spans):
        until = spans[number + 1][0] if number + 1 < len(spans) else now + 1e-6
        first = max(math.floor((since - start) / SECONDS), 0)
        last = min(math.ceil((max(until, since + 1e-6) - start) / SECONDS), columns)
        if last <= 0 and since >= start:
            continue
        # The current second has no sample in the charts yet; its state is shown in the last cell.
        first = min(first, columns - 1)
        for at in range(first, max(last, first + 1) if until > start else 0):
            if not found[at] or (state in rank and rank.index(state) < rank.index(found[at])):
                found[at] = state
    return found


def labels(view: View, start: int, columns: int) -> str:
    """The names of the bands, each where its band begins."""
    line = [" "] * columns
    for band in view.bands:
        at = max(math.floor((band.start - start) / SECONDS), 0)
        if band.covers(start, start + columns * SECONDS):
            for offset, letter in enumerate(f"{band.kind} {band.label}".strip()[: columns - at]):
                line[at + offset] = letter
    return "".join(line)


def axis(columns: int) -> str:
    """`-2 min … -1 min … now`, a mark every half minute."""
    line = [" "] * columns
    line[max(columns - 3, 0) :] = "now"[: min(3, columns)]
    step = 60 if columns >= 60 else 30
    for ago in range(step, columns * SECONDS, step):
        label = f"-{ago // 60} min" if ago % 60 == 0 else f"-{ago} s"
        at = columns - ago // SECONDS
        if at >= 0:
            line[at : at + len(label)] = label
    return "".join(line[:columns])
