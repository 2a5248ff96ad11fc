"""For a room full of people: the few figures that matter, large, and the keys that were pressed."""

from __future__ import annotations

import textwrap

from textual.app import ComposeResult
from textual.containers import Grid, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Digits, Label

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import DIM, line
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.chart import Timeline
from lab.dashboard.widgets.events import EventLines
from lab.dashboard.widgets.panel import Panel


class Figure(Vertical):
    """A large number with its name."""

    DEFAULT_CSS = """
    Figure { height: 4; }
    Figure Label { width: 1fr; text-align: center; color: $foreground-muted; }
    Figure Digits { width: 1fr; text-align: center; }
    Figure.-good Digits { color: $text-success; }
    Figure.-warn Digits { color: $text-warning; }
    Figure.-bad Digits { color: $text-error; }
    """

    def __init__(self, title: str, tone: str = "") -> None:
        super().__init__(classes=f"-{tone}" if tone else "")
        self._title = title

    def compose(self) -> ComposeResult:
        """Number over name."""
        yield Digits("")
        yield Label(self._title)

    def show(self, value: str) -> None:
        """Another number."""
        digits = self.query_one(Digits)
        if digits.value != value:
            digits.update(value)


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
it says here, step by step, what it does. **f** freezes the picture on
every screen, while everything goes on behind it.
"""
    DEFAULT_CSS = """
    Present Grid { grid-size: 3 2; height: 9; margin-top: 1; }
    Present EventLines { height: 1fr; margin-top: 1; }
    """

    def body(self) -> ComposeResult:
        """Figures, ribbons, events, keys."""
        with Grid():
            yield Figure("requests/s")
            yield Figure("hit ratio", "good")
            yield Figure("429/s", "warn")
            yield Figure("p95, ms")
            yield Figure("asked of services/s")
            yield Figure("failed or rejected/s", "bad")
        yield Narration()
        yield Timeline()
        yield EventLines()
        yield Line(id="keys")

    def show(self, view: View) -> None:
        """Fill in the figures."""
        super().show(view)
        ratio, p95 = view.hit_ratio(), view.latency.get("p95")
        values = (
            f"{view.rate('requests'):.1f}",
            "--" if ratio is None else f"{ratio * 100:.0f}%",
            f"{view.rate('limited'):.1f}",
            "--" if p95 is None else f"{p95 * 1000:.1f}",
            f"{view.rate('upstream_calls'):.1f}",
            f"{view.rate('5xx'):.1f}",
        )
        for figure, value in zip(self.query(Figure), values, strict=True):
            figure.show(value)
        keys = "  ".join(self.dashboard.keys)
        self.query_one("#keys", Line).words = line(("keys  ", DIM), (keys or "none yet", text.STRONG))
