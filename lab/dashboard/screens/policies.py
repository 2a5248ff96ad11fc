"""The policies: switch, swap and tune them while requests go on."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, DIM, GOOD
from lab.dashboard.widgets.table import LiveTable

USES = {
    "rate_limit": ("fixed_window", "sliding_window", "token_bucket"),
    "cache": ("ttl", "http"),
    "breaker": ("consecutive", "failure_rate"),
}
"""The built-in algorithms of the configuration's sections; a class of one's own is `package.module:Class`."""


class Policies(LabScreen):
    """A row for each policy of the pipeline that has options."""

    mode = "policies"
    polls = True
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

    def body(self) -> ComposeResult:
        """The table."""
        yield LiveTable(("policy", 11), ("", 5), ("algorithm", 18), ("options", 0))

    def show(self, view: View) -> None:
        """Fill the table."""
        super().show(view)
        self.query_one(LiveTable).fill(
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


def flow(options: dict[str, Any]) -> str:
    """`{"limit": 10, "window": 60.0}` → `limit: 10, window: 60.0`, readable by `parse`."""
    written = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=10_000).strip()
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
