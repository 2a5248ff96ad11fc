"""The circuit breakers: their state now, over time, and by hand."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.content import Content

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View, normal
from lab.dashboard.text import BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.chart import Timeline
from lab.dashboard.widgets.events import describe
from lab.dashboard.widgets.panel import Framed
from lab.dashboard.widgets.table import LiveTable

THEN = " open it for {open_for:g} s; then {probes} probes"
TRIPS = {
    "consecutive": "{failures} failures in a row" + THEN,
    "failure_rate": "{failure_percent:g} % failures in {window:g} calls" + THEN,
}
"""The algorithm's options in words."""


class Breakers(LabScreen):
    """Each service's breaker, its ribbon, its transitions."""

    mode = "breakers"
    tip = "[b]o[/] holds the selected breaker open: 503 at once. [b]a[/] lets it decide again"
    help = """
A breaker counts failures of its service: 5xx, 502 and 504. Too many, and it opens: requests are answered 503
at once, which spares the clients the wait and the service the load. After a while it is half-open: a few
probes pass, and if all succeed it closes.

**o** and **c** hold the selected breaker open or closed by hand, **a** lets it decide again.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "force('open')", "Open", tooltip="Hold the selected breaker open"),
        Binding("c", "force('closed')", "Close", tooltip="Hold the selected breaker closed"),
        Binding("a", "force('auto')", "Auto", tooltip="Let the selected breaker decide for itself"),
    ]
    changes: ClassVar[set[str]] = {"force"}

    DEFAULT_CSS = """
    Breakers LiveTable { height: auto; max-height: 8; }
    Breakers #charts { grid-size: 2 1; height: 12; }
    Breakers.-tall #charts { height: 18; }
    Breakers.-short #charts { display: none; }
    """

    def body(self) -> ComposeResult:
        """Settings, table, ribbon, what it spares whom, transitions."""
        yield Line(id="settings")
        yield LiveTable(
            *(("service", 14), ("state", 13), (">for", 8), (">failures", 8), (">rejected", 8)),
            *((">retry in", 8), ("probes", 0)),
        )
        yield Timeline()
        with Grid(id="charts"):
            yield charts.answers()
            yield charts.calls()
        yield Transitions()

    def show(self, view: View) -> None:
        """Fill the table."""
        super().show(view)
        policy = view.policies.get("breaker", {})
        on = str(policy.get("use")) if policy.get("enabled") else "off"
        self.query_one("#settings", Line).words = line(
            ("breaker  ", "bold"), on, (f"   {trips(policy)}", DIM)
        )
        rows = {}
        for name, service in view.services.items():
            breaker = service.get("breaker", {})
            shape, word, style = text.BREAKERS.get(normal(breaker.get("state", "")), ("?", "?", WARN))
            wait, rejected = breaker.get("retry_after") or 0, service.get("totals", {}).get("rejected", 0)
            probes = f"{breaker.get('probes_succeeded', 0)} ok" if word == "half-open" else ""
            rows[name] = (
                (name, "bold"),
                (f"{shape} {word}{' !' if breaker.get('forced') else ''}", style),
                (text.span(view.time - breaker.get("since", view.time)), DIM),
                (f"{breaker.get('failures', 0)}", WARN if breaker.get("failures") else DIM),
                (f"{rejected}", BAD if rejected else DIM),
                (f"{wait:.0f} s" if wait else "", WARN),
                (probes, GOOD),
            )
        self.query_one(LiveTable).fill(rows)

    def action_force(self, state: str) -> None:
        """Hold the selected breaker in a state, or let it go."""
        service, control = self.query_one(LiveTable).selected, self.dashboard.control
        if service and control:
            said = "decides for itself again" if state == "auto" else f"is held {state}"
            self.dashboard.act(control.breaker(service, state), f"the breaker of {service} {said}")


def trips(policy: dict[str, Any]) -> str:
    """When a built-in breaker opens, and how it closes; empty for a class of one's own."""
    try:
        return TRIPS[str(policy.get("use"))].format_map(policy.get("options", {}))
    except (KeyError, ValueError, TypeError):
        return ""


class Transitions(Framed):
    """The last transitions, the newest at the bottom."""

    DEFAULT_CSS = "Transitions { height: 1fr; }"
    BORDER_TITLE = "transitions"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """As many as fit."""
        events = [e for e in view.events if e.get("kind") == "breaker"][-height:]
        if not events:
            return [line(("no breaker has changed its state yet", DIM))]
        return [line((f"{text.clock(e['time'])} ", DIM), describe(e)) for e in events]
