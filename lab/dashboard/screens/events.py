"""Everything that happened, to be searched, held and saved."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, DIM, STRONG
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.events import told
from lab.dashboard.widgets.table import Cell, LiveTable


class Events(LabScreen):
    """The last thousand events."""

    mode = "events"
    tip = "[b]/[/] finds words, [b]p[/] holds the list still, [b]e[/] saves it"
    help = """
Breakers and health that changed, policies that were switched, swapped or tuned, services added and removed,
purges of the cache, and notes of the tools: faults, loads, scenarios.

**/** filters by words, all of which must appear; **p** holds the list still while events go on; **e** saves
what is shown as JSON lines in the current folder.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", tooltip="Show only events with these words"),
        Binding("p", "pause", "Pause", tooltip="Hold the list still, and let it go on"),
        Binding("e", "export", "Export", tooltip="Save the events that are shown as JSON lines"),
    ]

    DEFAULT_CSS = """
    Events Input { display: none; height: 1; border: none; padding: 0 1; background: $boost; }
    Events Input.-open { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: list[dict[str, Any]] | None = None

    def body(self) -> ComposeResult:
        """Filter and list."""
        yield Line(id="count")
        yield Input(placeholder="words to look for")
        yield LiveTable(("time", 8), ("kind", 9), ("who", 10), ("what happened", 0))

    def events(self) -> list[dict[str, Any]]:
        """Those that pass the filter, oldest first."""
        events = list(self.dashboard.view.events) if self._held is None else self._held
        words = self.query_one(Input).value.lower().split()
        return [e for e in events if all(w in json.dumps(e).lower() for w in words)] if words else events

    def show(self, view: View) -> None:
        """Fill the list; the cursor follows the newest while it is at the end."""
        super().show(view)
        events = self.events()
        table = self.query_one(LiveTable)
        at_end = table.cursor_row >= table.row_count - 1
        table.fill({f"{event.get('seq')}-{event['time']}": row(event) for event in events})
        if at_end and table.row_count:
            table.move_cursor(row=table.row_count - 1)
        held = "   held" if self._held is not None else ""
        self.query_one("#count", Line).words = text.line(
            (f"{len(events)}", "bold"), f" of {len(view.events)} events", (held, text.WARN)
        )

    def on_input_changed(self) -> None:
        """Another filter."""
        self.show(self.dashboard.view)

    def on_input_submitted(self) -> None:
        """Back to the list; an empty filter closes."""
        field = self.query_one(Input)
        field.set_class(bool(field.value), "-open")
        self.query_one(LiveTable).focus()

    def action_filter(self) -> None:
        """Open the filter."""
        field = self.query_one(Input)
        field.add_class("-open")
        field.focus()

    def action_pause(self) -> None:
        """Hold, or go on."""
        self._held = list(self.dashboard.view.events) if self._held is None else None
        self.show(self.dashboard.view)

    def action_export(self) -> None:
        """Save what is shown."""
        path = Path(time.strftime("events-%Y%m%d-%H%M%S.jsonl"))
        try:
            path.write_text("".join(json.dumps(e) + "\n" for e in self.events()), encoding="utf-8")
        except OSError as error:
            self.dashboard.complain(f"{path}: cannot be written: {error.strerror}")
        else:
            self.dashboard.saved(path)


def row(event: dict[str, Any]) -> tuple[Cell, ...]:
    """When, what kind, who, what."""
    kind, who, what = told(event)
    return (
        (text.clock(event["time"]), DIM),
        (kind, ACCENT if event.get("kind") == "note" else ""),
        (who, STRONG),
        what,
    )
