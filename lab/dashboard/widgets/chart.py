"""Charts over time, drawn row by row into a frame whose lower edge is the axis of time.

All of them have the same gutter and two seconds a cell, so that the same moment stands in the same column. A
cell's glyph depends on a few small numbers alone and is looked up once it was drawn (`glyphs`): a frame of
four charts costs a millisecond or two, where widgets made of lines of styled text need ten times that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.widgets import glyphs
from lab.dashboard.widgets.glyphs import SECONDS

GUTTER = 7
"""Cells between the frame and the plot, for the scale."""
NARROW = GUTTER + 12
"""A width with nothing to see in it."""

Cell = tuple[str, str, str]
"""A glyph, its tone, and the tone behind it."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line or area of a chart."""

    name: str
    key: str
    """In the history."""
    tone: str
    """ok, warn, bad, one, two or three: the colour, by the theme."""
    fill: str = "█"
    """What a whole cell of an area is drawn with: areas differ without colour as well."""


def window(view: View, columns: int) -> tuple[int, int]:
    """The first and the last second of a plot of so many cells; cells begin at even seconds."""
    end = view.history.end if view.history.end is not None else math.floor(view.time)
    end += end % SECONDS
    return end - columns * SECONDS, end


class OverTime(Widget):
    """The base of what is drawn along the same axis of time: a title and `plot()` in a frame."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("over-time--ok", "over-time--warn", "over-time--bad", "over-time--one", "over-time--two"),
        *("over-time--three", "over-time--dim", "over-time--title", "over-time--frame", "over-time--band"),
    }
    DEFAULT_CSS = """
    OverTime .over-time--ok { color: $text-success; }
    OverTime .over-time--warn { color: $text-warning; }
    OverTime .over-time--bad { color: $text-error; }
    OverTime .over-time--one { color: $text-primary; }
    OverTime .over-time--two { color: $text-accent; }
    OverTime .over-time--three { color: $text-error; }
    OverTime .over-time--dim { color: $foreground-muted; }
    OverTime .over-time--title { color: $foreground; text-style: bold; }
    OverTime .over-time--frame { color: $foreground 30%; }
    OverTime .over-time--band { background: $warning 18%; }
    """

    view: reactive[View | None] = reactive(None, always_update=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._strips: list[Strip] | None = None
        self._styles: dict[tuple[str, str], Style] = {}
        self._drawn = (0, 0)

    def watch_view(self) -> None:
        """The picture is old."""
        self._strips = None

    def notify_style_update(self) -> None:
        """The theme is another one."""
        super().notify_style_update()
        self._styles.clear()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        """One row of the picture."""
        width, height = self.content_size
        if self._strips is None or self._drawn != (width, height):
            self._drawn = (width, height)
            self._strips = self._picture(width, height)
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(width, self.style("dim"))

    def _picture(self, width: int, height: int) -> list[Strip]:
        view, columns, rows = self.view, width - GUTTER - 2, height - 2
        if view is None or width < NARROW or rows < 1:
            return []
        start, _ = window(view, columns)
        inside = [self._row(*row) for row in self.plot(view, columns, rows, banded(view, start, columns))]
        inside += [self._row("", [(" ", "dim", "")] * columns)] * (rows - len(inside))
        return [self._edge("╭─ ", self.title(view, width - 5), "╮", width), *inside, self._axis(columns)]

    def title(self, view: View, width: int) -> list[Segment]:
        """What stands in the frame's upper edge, in at most `width` cells."""
        raise NotImplementedError

    def plot(
        self, view: View, columns: int, rows: int, bands: Sequence[bool]
    ) -> Iterable[tuple[str, Sequence[Cell]]]:
        """The rows from the top, each with its label in the gutter; `bands` says which cells are in one."""
        raise NotImplementedError

    def style(self, tone: str, behind: str = "") -> Style:
        """The colour of a tone, on the ground, on that of a band, or on another tone."""
        known = self._styles.get((tone, behind))
        if known is None:
            ground = self.background_colors[1]
            if behind == "band":
                ground += self.get_component_styles("over-time--band").background
            elif behind:
                ground += self.get_component_styles(f"over-time--{behind}").color
            colour = self.get_component_styles(f"over-time--{tone}").color
            known = Style(color=(ground + colour).rich_color, bgcolor=ground.rich_color, bold=tone == "title")
            self._styles[(tone, behind)] = known
        return known

    def _edge(self, left: str, inside: list[Segment], right: str, width: int) -> Strip:
        frame = self.style("frame")
        strip = Strip([Segment(left, frame), *inside])
        room = max(width - strip.cell_length - len(right) - 1, 0)
        strip = Strip([*strip, Segment(" " + "─" * room, frame)]).crop(0, width - len(right))
        return Strip.join([strip, Strip([Segment(right, frame)])])

    def _row(self, label: str, cells: Sequence[Cell]) -> Strip:
        """A row of the plot; neighbours of the same look become one segment."""
        frame = self.style("frame")
        segments = [Segment("│", frame), Segment(f"{label[: GUTTER - 1]:>{GUTTER - 1}} ", self.style("dim"))]
        run, tone, behind = "", "dim", ""
        for glyph, its_tone, its_behind in cells:
            if glyph == " " and its_behind == behind:
                its_tone = tone
            if its_tone != tone or its_behind != behind:
                if run:
                    segments.append(Segment(run, self.style(tone, behind)))
                run, tone, behind = "", its_tone, its_behind
            run += glyph
        return Strip([*segments, Segment(run, self.style(tone, behind)), Segment("│", frame)])

    def _axis(self, columns: int) -> Strip:
        frame, dim = self.style("frame"), self.style("dim")
        segments = [Segment("╰" + "─" * GUTTER, frame)]
        at = 0
        for start, label in sorted(glyphs.axis(columns)):
            segments += [Segment("─" * (start - at), frame), Segment(label, dim)]
            at = start + len(label)
        return Strip([*segments, Segment("─" * (columns - at) + "╯", frame)])


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

    def title(self, view: View, width: int) -> list[Segment]:
        """Each series by name, with its newest value where there is room; areas of nothing give way first."""
        now = {series: view.history.last(series.key, 1)[0] for series in self._series}
        room = width - len(self._title) - 1
        if self._filled and sum(len(s.name) + len(self._write(v)) + 5 for s, v in now.items()) > room:
            now = {s: value for s, value in now.items() if value} or dict(list(now.items())[:1])
        room -= sum(len(series.name) + 4 for series in now)
        parts = [Segment(f"{self._title} ", self.style("title"))]
        for series, value in now.items():
            mark = "━" if not self._filled else "■" if series.fill == "█" else series.fill
            parts.append(Segment(f" {mark} ", self.style(series.tone)))
            parts.append(Segment(f"{series.name} ", self.style("dim")))
            written = f"{self._write(value)} "
            room -= len(written)
            if room >= 0:
                parts.append(Segment(written, self.style(series.tone if value else "dim")))
        return parts

    def plot(
        self, view: View, columns: int, rows: int, bands: Sequence[bool]
    ) -> Iterable[tuple[str, Sequence[Cell]]]:
        """The dots or blocks, with the ends of the scale beside the first row and the last."""
        _, end = window(view, columns)
        missing = end - (view.history.end or end)
        count = columns * SECONDS + 1
        values = [view.history.last(s.key, count - missing) + [None] * missing for s in self._series]
        samples = list(zip(*values, strict=True))
        drawn, top = (self._areas if self._filled else self._lines)(samples, rows)
        tones, fills = [s.tone for s in self._series], [s.fill for s in self._series]
        for row in range(rows):
            label = self._write(top).replace(".0", "") if row == 0 else "0" if row == rows - 1 else ""
            cells: list[Cell] = []
            for column, band in zip(drawn, bands, strict=True):
                glyph, owner, behind = column[row]
                ground = tones[behind] if behind >= 0 else "band" if band else ""
                if glyph == glyphs.WHOLE:
                    glyph = fills[owner]
                cells.append((glyph, tones[owner] if owner >= 0 else "dim", ground))
            yield label, cells

    def _lines(
        self, samples: list[tuple[float | None, ...]], rows: int
    ) -> tuple[list[list[tuple[str, int, int]]], float]:
        dots = rows * glyphs.DOTS
        highest = max((v for sample in samples for v in sample if v is not None), default=0)
        top = self._most or glyphs.ceiling(highest, self._least)
        heights = [
            tuple(None if v is None else min(math.ceil(v / top * dots - 1e-9), dots) for v in sample)
            for sample in samples
        ]
        return [
            [(glyph, owner, glyphs.NOBODY) for glyph, owner in glyphs.lines(*heights[at : at + 3], rows)]
            for at in range(0, len(samples) - SECONDS, SECONDS)
        ], top

    def _areas(
        self, samples: list[tuple[float | None, ...]], rows: int
    ) -> tuple[list[tuple[tuple[str, int, int], ...]], float]:
        means = [
            [mean(both) for both in zip(*samples[at : at + SECONDS], strict=True)]
            for at in range(1, len(samples) - 1, SECONDS)
        ]
        highest = max((sum(v or 0 for v in sample) for sample in means), default=0)
        top = self._most or glyphs.ceiling(highest, self._least)
        most = rows * glyphs.EIGHTHS
        return [glyphs.areas(glyphs.stacked(sample, most / top, most), rows) for sample in means], top


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


RIBBON = {"open": ("█", "bad"), "half_open": ("▒", "warn"), "closed": ("─", "ok")}
"""State → glyph and tone of a ribbon, the most alarming first."""


class Timeline(OverTime):
    """A ribbon of each breaker's state, and the bands by name."""

    DEFAULT_CSS = "Timeline { height: 5; }"

    def title(self, view: View, width: int) -> list[Segment]:
        """The ribbons' glyphs and what they mean."""
        parts = [Segment("breakers ", self.style("title"))]
        if width >= 40:
            for state, (glyph, tone) in reversed(RIBBON.items()):
                parts.append(Segment(f" {glyph * 2} ", self.style(tone)))
                parts.append(Segment(state.replace("_", "-"), self.style("dim")))
        return parts

    def plot(
        self, view: View, columns: int, rows: int, bands: Sequence[bool]
    ) -> Iterable[tuple[str, Sequence[Cell]]]:
        """A row for each service, as many as fit, and one for the bands' names."""
        start, _ = window(view, columns)
        ground = ["band" if band else "" for band in bands]
        for service in list(view.services)[: rows - 1]:
            states = ribbon(view, service, start, columns, view.time)
            looks = (RIBBON.get(state, (" ", "dim")) for state in states)
            yield text.short(service), [(*look, behind) for look, behind in zip(looks, ground, strict=True)]
        names = zip(labels(view, start, columns), ground, strict=True)
        yield "", [(letter, "warn", behind) for letter, behind in names]


def ribbon(view: View, service: str, start: int, columns: int, now: float) -> list[str]:
    """For each cell the most alarming state that the breaker was in, however short; empty where unknown."""
    spans = list(view.ribbons.get(service, ()))
    found = [""] * columns
    rank = list(RIBBON)
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


LEGIBLE = 6
"""Letters of a name, fewer of which say nothing."""


def labels(view: View, start: int, columns: int) -> str:
    """The names of the bands, each where its band begins; the newest whole, others if there is room."""
    line = [" "] * columns
    limit = columns
    for band in reversed(view.bands):
        name = band.label or band.kind
        at = max(math.floor((band.start - start) / SECONDS), 0)
        if limit == columns:
            at = max(min(at, limit - len(name)), 0)
        room = max(limit - at, 0)
        if len(name) > room:
            name = name[: room - 1] + "…" if room >= LEGIBLE else ""
        if name and band.covers(start, start + columns * SECONDS):
            line[at : at + len(name)] = name
            limit = at - 1
    return "".join(line)
