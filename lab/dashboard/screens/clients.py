"""Who asks, and for what: admitted and limited clients, the paths asked for most."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import BAD, DIM, GOOD, line
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.table import LiveTable


class Clients(LabScreen):
    """The twenty busiest clients and paths."""

    mode = "clients"
    polls = True
    help = """
The rate limiter counts per client: the name of the API key where authentication is on, otherwise the address.
A client that is refused now and then is near its limit; one with more 429 than admitted requests is greedy.

To the right the paths that were asked for most, without their queries.
"""

    DEFAULT_CSS = """
    Clients #by-client { width: 3fr; }
    Clients #by-path { width: 2fr; }
    """

    def body(self) -> ComposeResult:
        """Two tables side by side."""
        yield Line(id="limit")
        with Horizontal():
            yield LiveTable(("client", 16), (">admitted", 8), (">429", 5), (">last seen", 9), id="by-client")
            yield LiveTable((">requests", 8), ("path", 0), id="by-path")

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
        self.query_one("#by-client", LiveTable).fill(
            {
                str(c["client"]): (
                    (str(c["client"]), "bold" if view.time - c.get("last", 0) < 2 else ""),
                    (f"{text.count(c.get('admitted', 0))}", GOOD),
                    (f"{text.count(c.get('limited', 0))}", BAD if c.get("limited") else DIM),
                    (f"{text.ago(view.time - c['last'])}" if c.get("last") else "", DIM),
                )
                for c in view.clients
            }
        )
        self.query_one("#by-path", LiveTable).fill(
            {str(p["path"]): (f"{text.count(p['requests'])}", str(p["path"])) for p in view.paths}
        )
