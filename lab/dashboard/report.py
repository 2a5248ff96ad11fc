"""A report of a recording: one page of HTML with the dashboard's charts as SVG, which needs nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from lab.dashboard import text
from lab.dashboard.recording import read
from lab.dashboard.state import History, View, ratio
from lab.dashboard.widgets.events import describe
from lab.dashboard.widgets.glyphs import ceiling
from lab.errors import UserError

LONGEST = 86_400
"""Seconds of a recording that are drawn: its last day."""
WIDTH, HEIGHT, LEFT = 960, 150, 64
"""Of a chart, in SVG units; `LEFT` is the room for its scale."""
POINTS = 900
"""Of a line at most; where there are more seconds, each point is the highest of several."""

COLOURS = {"ok": "#3f9d55", "one": "#3b7dd8", "warn": "#c98a00", "bad": "#cf3f4f", "three": "#8a5cd0"}
STATES = {"open": ("#cf3f4f", 18), "half_open": ("#c98a00", 12), "closed": ("#3f9d55", 4)}
"""A breaker's state → colour and thickness: told apart without colour as well."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One of the dashboard's charts."""

    title: str
    lines: list[tuple[str, str, str]]
    """Name, key in the history, colour."""
    write: Callable[[float | None], str]
    least: float
    """The least end of the scale."""
    filled: bool = False
    """Areas that stand on each other, instead of lines."""


CHARTS = [
    Drawing(
        "Answers",
        [
            ("ok", "ok", "ok"),
            ("4xx", "client_error", "one"),
            ("429", "limited", "warn"),
            ("5xx", "server_error", "bad"),
        ],
        text.rate,
        5,
        filled=True,
    ),
    Drawing(
        "Latency",
        [("p50", "p50", "one"), ("p95", "p95", "warn"), ("p99", "p99", "bad")],
        text.duration,
        0.01,
    ),
    Drawing("Cache", [("hit ratio", "hit_ratio", "ok")], text.percent, 1, filled=True),
    Drawing("Calls", [("by clients", "requests", "one"), ("to services", "upstream", "three")], text.rate, 5),
]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
body {{ color: #222; background: #fff; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.05rem; margin: 1.5rem 0 .2rem; }}
svg {{ width: 100%; height: auto; }} svg text {{ font: 11px system-ui, sans-serif; fill: #777; }}
table {{ border-collapse: collapse; }} td, th {{ text-align: left; padding: .15rem 1rem .15rem 0; }}
td:first-child {{ color: #777; white-space: nowrap; font-variant-numeric: tabular-nums; }}
.key {{ font-size: .85rem; }}
.band {{ fill: #f3d9a4; opacity: .6; }} .grid {{ stroke: #ddd; }}
@media (prefers-color-scheme: dark) {{
body {{ color: #ddd; background: #16181c; }} .band {{ fill: #5b4517; }} .grid {{ stroke: #333; }} }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def write(recording: Path, out: Path) -> None:
    """Make the report of `recording` at `out`. Raises `UserError` where one cannot be read or written."""
    view = View(status="replay", history=History(LONGEST))
    counted, before = Counter[str](), Counter[str]()
    first = True
    for message in read(recording):
        view.fold(message)
        if "totals" in message:
            now = Counter[str](message["totals"])
            if not first:  # what was counted before the recording is not the recording's
                began_again = any(now[name] < number for name, number in before.items())
                counted.update(now if began_again else now - before)
            before, first = now, False
    if view.history.end is None:
        raise UserError(f"{recording}: is shorter than a second, there is nothing to report")
    try:
        out.write_text(page(view, recording.name, counted), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None


def page(view: View, name: str, counted: Mapping[str, int]) -> str:
    """The page for a View that a whole recording was folded into, and what was counted meanwhile."""
    start, end = _span(view)
    parts = [f"<p>{_summary(start, end, counted)}</p>"]
    for chart in CHARTS:
        mark = "■" if chart.filled else "━"
        key = "".join(
            f'<span style="color:{COLOURS[tone]}">{mark}</span> {escape(label)} &ensp;'
            for label, _, tone in chart.lines
        )
        parts.append(f'<h2>{chart.title}</h2><div class="key">{key}</div>')
        parts.append(_chart(view, chart))
    parts.append("<h2>Circuit breakers</h2><p class=key>thin: closed, thicker: half-open, thick: open</p>")
    parts.append(_ribbons(view))
    parts.append("<h2>What happened</h2><table>")
    for event in view.events:
        if event["time"] >= start:
            when, what = text.clock(event["time"]), describe(event).plain
            parts.append(f"<tr><td>{when}</td><td>{escape(what)}</td></tr>")
    parts.append("</table>")
    return PAGE.format(title=escape(f"Gateway Lab: {name}"), body="\n".join(parts))


def _span(view: View) -> tuple[int, int]:
    """The first second, and the one after the last."""
    end = view.history.end or 0
    return end - len(view.history.series["requests"]), end


def _summary(start: int, end: int, counted: Mapping[str, int]) -> str:
    hits, misses = counted.get("hits", 0), counted.get("misses", 0)
    return escape(
        f"From {text.clock(start)} to {text.clock(end)}, {text.span(end - start)}: "
        f"{counted.get('requests', 0)} requests, {counted.get('limited', 0)} limited (429), "
        f"{counted.get('5xx', 0)} answered 5xx, {counted.get('rejected', 0)} rejected by a breaker, "
        f"hit ratio {text.percent(ratio(hits, hits + misses))}, "
        f"{counted.get('upstream_calls', 0)} calls to services."
    )


def _x(at: float, start: int, end: int) -> float:
    place = (min(max(at, start), end) - start) / max(end - start, 1)
    return round(LEFT + place * (WIDTH - LEFT), 1)


def _bands(view: View, start: int, end: int, height: int, *, named: bool = True) -> str:
    drawn = []
    for band in view.bands:
        if band.covers(start, end):
            left, right = _x(band.start, start, end), _x(end if band.end is None else band.end, start, end)
            label = escape(f"{band.kind} {band.label}".strip())
            drawn.append(
                f'<rect class="band" x="{left}" width="{max(right - left, 1):.1f}" height="{height}">'
                f"<title>{label}</title></rect>"
                + (f'<text x="{left + 4}" y="19">{label}</text>' if named else "")
            )
    return "".join(drawn)


def _axis(start: int, end: int, height: int) -> str:
    marks = []
    for place in range(6):
        at = start + (end - start) * place / 5
        side = "start" if place == 0 else "end" if place == 5 else "middle"
        x = _x(at, start, end)
        marks.append(f'<text x="{x}" y="{height + 14}" text-anchor="{side}">{text.clock(at)}</text>')
    return "".join(marks)


def _chart(view: View, chart: Drawing) -> str:
    start, end = _span(view)
    samples = [_thinned(view.history.series[at], chart.filled) for _, at, _ in chart.lines]
    if chart.filled:
        samples = _stacked(samples)
    top = ceiling(max((v for line in samples for v in line if v is not None), default=0), chart.least)
    drawn = [_bands(view, start, end, HEIGHT)]
    for share in (0, 0.5, 1):
        y = HEIGHT - share * (HEIGHT - 6)
        label = chart.write(top * share).replace(".0", "") if share else "0"
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    ground: list[float | None] = [0.0] * len(samples[0])
    for (_, _, tone), line in zip(chart.lines, samples, strict=True):
        look = f'fill="{COLOURS[tone]}"' if chart.filled else f'fill="none" stroke="{COLOURS[tone]}"'
        for stroke in _strokes(line):
            points = [_point(at, line[at], len(line), top, start, end) for at in stroke]
            if chart.filled:
                points += [_point(at, ground[at], len(line), top, start, end) for at in reversed(stroke)]
            drawn.append(
                f'<path d="M{" L".join([*points, points[0]] if len(points) == 1 else points)}" {look} '
                'stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round"/>'
            )
        if chart.filled:
            ground = line
    drawn.append(_axis(start, end, HEIGHT))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img">{"".join(drawn)}</svg>'


def _thinned(ring: Iterable[float | None], filled: bool) -> list[float | None]:
    """At most `POINTS` values: of a line the highest of several, of an area, which adds up, their mean."""
    values = list(ring)
    step = math.ceil(len(values) / POINTS) or 1
    thinned: list[float | None] = []
    for first in range(0, len(values), step):
        known = [value for value in values[first : first + step] if value is not None]
        thinned.append((sum(known) / len(known) if filled else max(known)) if known else None)
    return thinned


def _stacked(samples: list[list[float | None]]) -> list[list[float | None]]:
    """Each on those before it; where one of them is unknown, so is what stands on it."""
    stacked = samples[:1]
    for line in samples[1:]:
        pairs = zip(stacked[-1], line, strict=True)
        stacked.append([None if a is None or b is None else a + b for a, b in pairs])
    return stacked


def _strokes(values: list[float | None]) -> list[list[int]]:
    """The stretches without a gap, as positions; a gap in the values is a gap in the drawing."""
    known = (at for at, value in enumerate(values) if value is not None)
    return [[at for _, at in run] for _, run in groupby(enumerate(known), lambda pair: pair[1] - pair[0])]


def _point(at: int, value: float | None, count: int, top: float, start: int, end: int) -> str:
    x = _x(start + (at + 0.5) * (end - start) / count, start, end)
    return f"{x:g} {HEIGHT - (value or 0) / top * (HEIGHT - 6):.1f}"


def _ribbons(view: View) -> str:
    start, end = _span(view)
    height = 28 * max(len(view.ribbons), 1)
    drawn = [_bands(view, start, end, height, named=False)]
    for row, (service, spans) in enumerate(view.ribbons.items()):
        middle = row * 28 + 14
        drawn.append(f'<text x="{LEFT - 6}" y="{middle + 4}" text-anchor="end">{escape(service)}</text>')
        states = list(spans)
        for number, (since, state) in enumerate(states):
            until = states[number + 1][0] if number + 1 < len(states) else end
            if until < start:
                continue
            colour, thick = STATES.get(state, ("#777", 4))
            left, right = _x(since, start, end), _x(until, start, end)
            drawn.append(
                f'<rect x="{left}" y="{middle - thick / 2:g}" width="{max(right - left, 1.5):.1f}" '
                f'height="{thick}" fill="{colour}"><title>{escape(state)}</title></rect>'
            )
    drawn.append(_axis(start, end, height))
    return f'<svg viewBox="0 0 {WIDTH} {height + 20}" role="img">{"".join(drawn)}</svg>'
