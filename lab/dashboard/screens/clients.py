"""Who asks, and for what: admitted and limited clients, the paths asked for most."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Grid, Horizontal

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import BAD, DIM, GOOD, STRONG, Part, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.table import LiveTable


class Clients(LabScreen):
    """The twenty busiest clients and paths."""

    mode = "clients"
    polls = True
    tip = "[b]b[/] is one greedy client: ten pass, then 429. The others do not notice"
    help = """
The rate limiter counts per client: the name of the API key where authentication is on, otherwise the address.
A client that is refused now and then is near its limit; one with more 429 than admitted requests is greedy.

The bar is the client's share of what the busiest one sent: `█` admitted, `▒` refused. To the right the
paths that were asked for most, without their queries.
"""

    DEFAULT_CSS = """
    Clients #by-client { width: 3fr; }
    Clients #by-path { width: 2fr; }
    Clients Horizontal { height: 21; }
    Clients #charts { grid-size: 2 1; height: 1fr; }
    Clients.-short Horizontal { height: 1fr; }
    Clients.-short #charts { display: none; }
    Clients.-narrow Horizontal { layout: vertical; }
    Clients.-narrow LiveTable { width: 1fr; }
    Clients.-narrow #by-client { height: 3fr; }
    Clients.-narrow #by-path { height: 2fr; }
    """

    def body(self) -> ComposeResult:
        """Two tables side by side, and what becomes of it all."""
        yield Line(id="limit")
        with Horizontal():
            yield LiveTable(
                *(("client", 15), (">admitted", 8), (">429", 5), (">seen", 6), ("share", 0)),
                id="by-client",
                cursor=False,
            )
            yield LiveTable((">requests", 8), ("path", 0), id="by-path", cursor=False)
        with Grid(id="charts"):
            yield charts.answers()
            yield charts.calls()

    def show(self, view: View) -> None:
        """Fill the tables."""
        super().show(view)
        policy = view.policies.get("rate_limit", {})
        options = policy.get("options", {})
        if policy.get("enabled"):
            limit = f"{options.get('limit')} in {options.get('window', 0):g} s a client, {policy.get('use')}"
        else:
            limit = "off"
        rates = f"{text.rate(view.rate('admitted'))} admitted, {text.rate(view.rate('limited'))} refused"
        self.query_one("#limit", Line).words = line(("rate limit  ", "bold"), limit, (f"   now {rates}", DIM))
        most = max((c.get("admitted", 0) + c.get("limited", 0) for c in view.clients), default=1)
        table = self.query_one("#by-client", LiveTable)
        table.fill(
            {
                str(c["client"]): (
                    (str(c["client"]), STRONG if view.time - c.get("last", 0) < 2 else ""),
                    (f"{text.count(c.get('admitted', 0))}", GOOD),
                    (f"{text.count(c.get('limited', 0))}", BAD if c.get("limited") else DIM),
                    (f"{text.ago(view.time - c['last'])}" if c.get("last") else "", DIM),
                    share(c.get("admitted", 0), c.get("limited", 0), most, table.rest),
                )
                for c in view.clients
            }
        )
        self.query_one("#by-path", LiveTable).fill(
            {str(p["path"]): (f"{text.count(p['requests'])}", str(p["path"])) for p in view.paths}
        )


LONGEST = 40
"""Cells of a bar at most."""


def share(admitted: int, limited: int, most: int, room: int) -> list[Part]:
    """A client's requests beside those of the busiest; whatever is not nothing has a cell at least."""
    unit = min(room, LONGEST) / max(most, 1)
    cells = [max(round(number * unit), 1) if number else 0 for number in (admitted, limited)]
    return [("█" * cells[0], GOOD), ("▒" * cells[1], BAD)]
