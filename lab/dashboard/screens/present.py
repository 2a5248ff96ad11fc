"""For a room full of people: the few figures that matter, large, and the keys that were pressed."""

from __future__ import annotations

import textwrap

from textual.app import ComposeResult
from textual.containers import Grid
from textual.content import Content
from textual.geometry import Size

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import DIM, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.big import Big
from lab.dashboard.widgets.chart import Timeline
from lab.dashboard.widgets.events import EventLines
from lab.dashboard.widgets.panel import Panel


class Narration(Panel):
    """What a scenario says that it does now, until it is over. Of no height in between."""

    DEFAULT_CSS = "Narration { height: auto; padding: 0 2; text-style: bold; color: $text-accent; }"

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as its words need."""
        return len(textwrap.wrap(narrated(self.view), width)) if self.view else 0

    def watch_view(self, old: View | None, new: View | None) -> None:
        """Its words, and with them its height, may be others."""
        self.refresh(layout=True)

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """The words."""
        return [line(row) for row in textwrap.wrap(narrated(view), width)]


TOLD = 30.0
"""Seconds for which a step's words stand; no step of a scenario lasts longer."""


def narrated(view: View) -> str:
    """The newest step that a scenario told of; empty where none is being played."""
    for event in reversed(view.events):
        if event.get("kind") == "note" and event.get("source") == "scenario":
            fresh = event.get("action") == "says" and view.time - event["time"] < TOLD
            return text.masked(str(event.get("text") or "")) if fresh else ""
    return ""


class Present(LabScreen):
    """Six figures, the breakers over time, what happened last."""

    mode = "present"
    help = """
For a projector. The figures are those of the last two seconds; below are the breakers over time, what
happened last, and the last keys that were pressed, so that the room can follow. While a scenario is played,
it says here, step by step, what it does. **f** freezes the picture on every screen, while everything goes on
behind it.
"""
    DEFAULT_CSS = """
    Present #figures { grid-size: 3 2; height: 14; }
    Present.-short #figures { height: 10; }
    Present Chart { height: 1fr; }
    Present.-short Chart { display: none; }
    Present EventLines { height: 7; }
    Present.-short EventLines { height: 1fr; }
    """

    def body(self) -> ComposeResult:
        """Figures, what is told, ribbons, events, keys."""
        with Grid(id="figures"):
            yield Big("requests/s")
            yield Big("latency p95, ms")
            yield Big("429 refused/s", "warn")
            yield Big("cache hits, %", "good")
            yield Big("calls to services/s")
            yield Big("failed, rejected/s", "bad")
        yield Narration()
        yield charts.answers()
        yield Timeline()
        yield EventLines()
        yield Line(id="keys")

    def show(self, view: View) -> None:
        """Fill in the figures."""
        super().show(view)
        ratio, p95 = view.hit_ratio(), view.latency.get("p95")
        values = (
            short(view.rate("requests")),
            "--" if p95 is None else short(p95 * 1000),
            short(view.rate("limited")),
            "--" if ratio is None else f"{ratio * 100:.0f}",
            short(view.rate("upstream_calls")),
            short(view.rate("5xx")),
        )
        for figure, value in zip(self.query(Big), values, strict=True):
            figure.value = value
        keys = "  ".join(self.dashboard.keys)
        self.query_one("#keys", Line).words = line(("keys  ", DIM), (keys or "none yet", text.STRONG))


def short(number: float) -> str:
    """At most four digits: `0`, `4.7`, `38`, `1234`, `12.3k`."""
    return f"{number:.1f}" if 0 < number < 9.95 else text.count(number)
