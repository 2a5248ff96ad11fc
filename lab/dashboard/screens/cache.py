"""What the cache holds."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import DIM, GOOD, WARN, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.table import LiveTable


class Cache(LabScreen):
    """The entries with the most hits, and the hit ratio over time."""

    mode = "cache"
    polls = True
    tip = "[b]p[/] purges the selected entry: its next request is a MISS"
    help = """
A **hit** is answered from the cache and costs the service nothing; a **miss** is asked of the service, and
kept if the answer allows it. An entry's age counts from when it was made; after its time to live it is asked
for again.

**p** purges the selected entry, **P** all of them.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "purge", "Purge", tooltip="Purge the selected entry"),
        Binding("P", "purge_all", "Purge all", tooltip="Purge every entry of the cache"),
    ]
    changes: ClassVar[set[str]] = {"purge", "purge_all"}

    DEFAULT_CSS = """
    Cache #charts { grid-size: 2 1; height: 12; }
    Cache.-short #charts { height: 7; }
    """

    def body(self) -> ComposeResult:
        """Summary, charts, entries."""
        yield Line(id="summary")
        with Grid(id="charts"):
            yield charts.hit_ratio()
            yield charts.calls()
        yield LiveTable((">hits", 6), (">age", 6), (">left", 6), (">status", 6), (">size", 8), ("entry", 0))

    def show(self, view: View) -> None:
        """Fill the table."""
        super().show(view)
        policy = view.policies.get("cache", {})
        state: dict[str, Any] = policy.get("state", {})
        use = policy.get("use") if policy.get("enabled") else "off"
        figures = f"{text.count(state.get('entries', 0))} of {text.count(state.get('max_entries'))} entries"
        rest = f"   {text.size(state.get('bytes'))}   coalesced {view.totals.get('coalesced', 0)}"
        stale = f"   stale {view.totals.get('stale', 0)}"
        self.query_one("#summary", Line).words = line(
            ("cache  ", "bold"), f"{use}   {figures}", (rest + stale, DIM)
        )
        self.query_one(LiveTable).fill(
            {
                str(e["key"]): (
                    (f"{e.get('hits', 0)}", GOOD if e.get("hits") else DIM),
                    (f"{text.span(e.get('age', 0))}", DIM),
                    (
                        f"{text.span(e['ttl'])}" if e.get("ttl", 0) > 0 else "stale",
                        "" if e.get("ttl", 0) > 0 else WARN,
                    ),
                    f"{e.get('status', '')}",
                    (f"{text.size(e.get('bytes', 0))}", DIM),
                    text.masked(str(e["key"])),
                )
                for e in state.get("top", [])
            }
        )

    def action_purge(self) -> None:
        """Drop the selected entry."""
        key, control = self.query_one(LiveTable).selected, self.dashboard.control
        if key and control:
            path = key[key.index("/") :] if "/" in key else key
            self.dashboard.act(control.purge(path), f"purged {path}")

    def action_purge_all(self) -> None:
        """Drop all."""
        if self.dashboard.control:
            self.dashboard.act(self.dashboard.control.purge(), "the cache is empty")
