"""The policies: switch, swap and tune them while requests go on."""

from __future__ import annotations

import textwrap
from typing import Any, ClassVar

import yaml
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, DIM, GOOD, STRONG, line
from lab.dashboard.widgets.panel import Framed
from lab.dashboard.widgets.table import LiveTable

USES = {
    "rate_limit": ("fixed_window", "sliding_window", "token_bucket"),
    "cache": ("ttl", "http"),
    "breaker": ("consecutive", "failure_rate"),
}
"""The built-in algorithms of the configuration's sections; a class of one's own is `package.module:Class`."""

ABOUT = {
    "auth": "Who asks, and may they? A key in X-API-Key: 401 without a known one, 403 where it may not.",
    "rate_limit": "So many requests per client in so much time; one more is answered 429, and not forwarded.",
    "cache": "Answers are kept and given again; what is asked for meanwhile costs the service nothing.",
    "bulkhead": "So many requests in flight per service; one more is answered 503 at once.",
    "breaker": "A service that fails is left alone: 503 at once, then a few probes, then as before.",
    "retry": "A failed request is tried again where that is safe, after a pause, within a budget.",
}
OPTIONS = {
    "public": "paths that need no key",
    "limit": "requests …",
    "window": "… in so many seconds; of the breaker's failure_rate: the last so many calls",
    "routes": "limits of their own for some paths; the first that matches counts",
    "max_clients": "how many clients are remembered",
    "ttl": "seconds that an answer is kept which does not say so itself",
    "max_entries": "answers kept at most",
    "max_body": "bytes; larger answers are passed on and not kept",
    "stale_if_error": "seconds that an old answer may stand in for a service that fails",
    "coalesce": "equal requests wait for one call of the service",
    "max_concurrent": "requests in flight per service at most",
    "failures": "consecutive: so many failures in a row open it",
    "open_for": "seconds until the first probe",
    "probes": "calls let through half-open; all of them must succeed",
    "window_seconds": "failure_rate: calls as old as this no longer count",
    "minimum_calls": "failure_rate: below so many calls nothing opens it",
    "failure_percent": "failure_rate: so many failures in a hundred calls open it",
    "slow_call": "failure_rate: a call of so many seconds is slow",
    "slow_percent": "failure_rate: so many slow calls in a hundred open it",
    "fallback": "what is answered instead of a 503",
    "backoff": "the first pause is drawn from 0 to so many seconds, each further one from twice that",
    "backoff_max": "no pause is longer, in seconds",
    "budget_percent": "retries in a hundred requests of a service, at most",
    "budget_minimum": "retries in ten seconds that are allowed however few requests there are",
}
"""What the configuration's keys mean."""


class Policies(LabScreen):
    """A row for each policy of the pipeline that has options."""

    mode = "policies"
    polls = True
    tip = "[b]s[/] switches the selected policy off and on; [b]enter[/] changes its options"
    help = """
Each policy is a stage that a request passes. **s** switches the selected one off and on, **u** puts another
algorithm in its place (one of the built-in ones, or a class of your own as `package.module:Class` or
`path/to/file.py:Class`), **enter** changes its options. All of it takes effect at once, and requests in
flight go on.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "switch", "On/off", tooltip="Switch the selected policy on or off"),
        Binding("u", "use", "Algorithm", tooltip="Swap the selected policy's algorithm"),
        Binding("enter", "tune", "Options", tooltip="Change the selected policy's options", priority=True),
    ]
    changes: ClassVar[set[str]] = {"switch", "use", "tune"}

    DEFAULT_CSS = """
    Policies LiveTable { height: 8; }
    """

    def body(self) -> ComposeResult:
        """The table, and what the selected one's options mean."""
        yield LiveTable(("policy", 11), ("", 5), ("algorithm", 18), ("options", 0))
        yield Meaning()

    def on_data_table_row_highlighted(self) -> None:
        """Another one was selected."""
        self.dashboard.touch()

    def show(self, view: View) -> None:
        """Fill the table."""
        table = self.query_one(LiveTable)
        table.fill(
            {
                name: (
                    (name, "bold"),
                    ("● on", GOOD) if policy.get("enabled") else ("○ off", DIM),
                    (str(policy.get("use") or "–"), ACCENT if policy.get("plugged") else ""),
                    (flow(policy.get("options", {})), DIM),
                )
                for name, policy in view.policies.items()
            }
        )
        meaning = self.query_one(Meaning)
        meaning.policy = table.selected or ""
        meaning.border_title = meaning.policy
        super().show(view)

    def _selected(self) -> tuple[str, dict[str, Any]] | None:
        name = self.query_one(LiveTable).selected
        return (name, self.dashboard.view.policies[name]) if name in self.dashboard.view.policies else None

    def action_switch(self) -> None:
        """The selected policy off, or on again."""
        if (selected := self._selected()) and (control := self.dashboard.control):
            name, policy = selected
            on = not policy.get("enabled")
            self.dashboard.act(control.policy(name, enabled=on), f"{name} is {'on' if on else 'off'}")

    def action_use(self) -> None:
        """Another algorithm for the selected policy."""
        if (selected := self._selected()) and (control := self.dashboard.control):
            name, policy = selected
            known = USES.get(name, ())
            title = f"{name}: algorithm ({', '.join(known) or 'as configured'}, or package.module:Class)"

            def chosen(use: str | None) -> None:
                if use:
                    self.dashboard.act(control.policy(name, use=use), f"{name} uses {use}")

            self.app.push_screen(Ask(title, str(policy.get("use") or ""), known), chosen)

    def action_tune(self) -> None:
        """Other options for the selected policy."""
        if (selected := self._selected()) and (control := self.dashboard.control):
            name, policy = selected

            def chosen(given: str | None) -> None:
                if given is None:
                    return
                try:
                    options = parse(given)
                except ValueError as error:
                    self.dashboard.complain(str(error))
                else:
                    self.dashboard.act(control.policy(name, options=options), f"{name}: {flow(options)}")

            self.app.push_screen(Ask(f"{name}: options", flow(policy.get("options", {}))), chosen)


class Meaning(Framed):
    """A policy in a sentence, and each of its options with what it means."""

    DEFAULT_CSS = "Meaning { height: 1fr; }"

    policy = ""

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """Name, value, meaning."""
        rows = [line(row) for row in textwrap.wrap(ABOUT.get(self.policy, ""), width)]
        if known := USES.get(self.policy):
            rows.append(line(("algorithms  ", DIM), ", ".join(known), (", or a class of your own", DIM)))
        rows.append(line())
        for name, value in view.policies.get(self.policy, {}).get("options", {}).items():
            shown = flow({name: value}).partition(": ")[2] or "–"
            rows.append(line(f"{name:<16}", (f"{shown:<14}  ", STRONG), (OPTIONS.get(name, ""), DIM)))
        return rows


def flow(options: dict[str, Any]) -> str:
    """`{"limit": 10, "window": 60.0, "more": None}` → `limit: 10, window: 60`, readable by `parse`."""
    given = {name: value for name, value in options.items() if value is not None}
    whole = {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in given.items()}
    written = yaml.safe_dump(whole, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return written.removeprefix("{").removesuffix("}")


def parse(given: str) -> dict[str, Any]:
    """The options in `limit: 10, window: 60`. Raises ValueError with one line."""
    try:
        options = yaml.safe_load("{" + given + "}")
    except yaml.YAMLError:
        options = None
    if not isinstance(options, dict) or any(value is None for value in options.values()):
        raise ValueError("options are written like this: limit: 10, window: 60")
    return {str(key): value for key, value in options.items()}
