"""The faults: what can go wrong with a service, set by a key, and what is set now."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from lab.dashboard import text
from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.screens.policies import flow, parse
from lab.dashboard.screens.quick import QuickKeys
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, WARN, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.table import LiveTable
from lab.faults.model import Aimed, Fault, FaultError
from lab.faults.registry import FAULTS

TTL = Fault.model_fields["ttl"].default
"""Seconds that a fault lasts unless it is told otherwise."""


class Faults(LabScreen):
    """What is set now; below, every kind with its parameters."""

    mode = "faults"
    tip = "[b]enter[/] sets the selected fault, [b]p[/] its parameters first; [b]![/] undoes everything"
    help = """
A fault makes a service fail in one exact way, for a bounded time, and undoes itself: 30 seconds after it was
set, or after its `ttl`. Above are the faults that are set, with the seconds left and how many of the requests
they struck; below is what can be set, with its parameters.

**enter** sets the selected fault on the service that the first line names, **s** takes the other service,
**p** changes the parameters first: besides those shown, `ttl` (seconds), `probability` (0 to 1), `first`
(only so many requests), `path`, `header` and `seed` choose which requests are struck. **u** clears the
selected one of those that are set, **U** all.

The commonest have a key of their own, on every screen that has no other use for it: **l** latency, **e**
errors, **h** hang, **r** refused connections, **k** kill; and **A L C B R** switch policies off and on. **!**
undoes everything.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "set", "Set", tooltip="Set the selected fault on the service", priority=True),
        Binding("p", "tune", "Parameters", tooltip="Set the selected fault with other parameters"),
        Binding("s", "service", "Service", tooltip="Take the next service"),
        Binding("u", "clear", "Undo", tooltip="Clear the selected one of the faults that are set"),
        Binding("U", "clear_all", "Undo all", tooltip="Clear every fault of every service"),
    ]
    needs_trouble: ClassVar[set[str]] = {"set", "tune", "service", "clear", "clear_all"}
    AUTO_FOCUS = "#kinds"

    DEFAULT_CSS = """
    Faults #now { height: auto; min-height: 2; max-height: 8; margin-bottom: 1; }
    Faults #kinds { height: auto; }
    Faults.-short #kinds { height: 1fr; }
    Faults #charts { grid-size: 2 1; height: 1fr; min-height: 8; }
    Faults.-short #charts { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._options = {kind: usual(kind) for kind in FAULTS}
        self._service = 0

    def body(self) -> ComposeResult:
        """Service, what is set, what can be set, and what comes of it."""
        yield QuickKeys()
        yield LiveTable(
            *(("service", 11), ("set now", 22), (">left", 6), (">struck", 7), (">of", 6), ("", 0)),
            id="now",
        )
        yield Line(id="target")
        yield LiveTable(("fault", 10), ("parameters", 19), ("what a client sees", 0), id="kinds")
        with Grid(id="charts"):
            yield charts.answers()
            yield charts.latency()

    def on_mount(self) -> None:
        """Ask the services once a second what is set."""
        super().on_mount()
        self.set_interval(1.0, self._refresh)

    def on_screen_resume(self) -> None:
        """At once, too."""
        super().on_screen_resume()
        self._refresh()

    def _refresh(self) -> None:
        if self.is_current and (trouble := self.dashboard.trouble):

            async def ask() -> None:
                try:
                    await trouble.refresh()
                except FaultError:
                    return  # a service that is away has no faults to show
                self.dashboard.touch()

            self.run_worker(ask(), group="ask")

    @property
    def service(self) -> str:
        """On which service the next fault is set."""
        services = list(self.dashboard.trouble.services) if self.dashboard.trouble else ["none"]
        return services[self._service % len(services)]

    def show(self, view: View) -> None:
        """Fill the tables."""
        super().show(view)
        trouble = self.dashboard.trouble
        words = (
            line(
                ("enter sets on  ", DIM),
                (self.service, f"bold {ACCENT}"),
                (f"  for {TTL:g} s   s: the next service", DIM),
            )
            if trouble
            else line(("faults are set from the machine of the services, with --control", DIM))
        )
        self.query_one("#target", Line).words = words
        active = trouble.active() if trouble else []
        now = {
            f"{service}/{each['name']}": (
                (service, "bold"),
                (str(each["label"]), WARN),
                f"{left:.0f} s",
                (f"{each.get('struck', 0)}", BAD if each.get("struck") else DIM),
                (f"{each.get('matched', 0)}", DIM),
                ("requests", DIM),
            )
            for service, each, left in active
        }
        self.query_one("#now", LiveTable).fill(now or {"": (("nothing", DIM), "", "", "", "", "")})
        mine = {each["kind"] for service, each, _ in active if service == self.service}
        kinds = self.query_one("#kinds", LiveTable)
        kinds.fill(
            {
                kind: (
                    (kind, f"bold {WARN}" if kind in mine else "bold"),
                    special(options),
                    (text.fitting(about(kind), kinds.rest), DIM),
                )
                for kind, options in self._options.items()
            }
        )

    def action_set(self) -> None:
        """The selected kind, with its parameters."""
        if kind := self.query_one("#kinds", LiveTable).selected:
            self._set(kind, self._options[kind])

    def action_tune(self) -> None:
        """The selected kind, with other parameters; they stay for the next time."""
        if kind := self.query_one("#kinds", LiveTable).selected:
            more = "; also probability, first, path, header, seed" if issubclass(FAULTS[kind], Aimed) else ""

            def chosen(given: str | None) -> None:
                if given is None:
                    return
                try:
                    self._options[kind] = parse(given)
                except ValueError as error:
                    self.dashboard.complain(str(error))
                else:
                    self._set(kind, self._options[kind])

            self.app.push_screen(Ask(f"{kind} on {self.service}{more}", flow(self._options[kind])), chosen)

    def _set(self, kind: str, options: dict[str, Any]) -> None:
        if trouble := self.dashboard.trouble:
            fault = options | {"kind": kind}
            self.dashboard.act(trouble.set(self.service, fault), f"{kind} is set on {self.service}")

    def action_service(self) -> None:
        """The next one."""
        self._service += 1
        self.show(self.dashboard.view)

    def action_clear(self) -> None:
        """The fault that is selected among those that are set."""
        selected = self.query_one("#now", LiveTable).selected
        if selected and (trouble := self.dashboard.trouble):
            service, _, name = selected.partition("/")
            self.dashboard.act(trouble.clear(service, name), f"{name} is cleared on {service}")

    def action_clear_all(self) -> None:
        """All of all."""
        if trouble := self.dashboard.trouble:
            self.dashboard.act(trouble.clear(), "no fault is set any more")


def usual(kind: str) -> dict[str, Any]:
    """The parameters of a kind with their defaults; those that choose requests are left out."""
    fields = FAULTS[kind].model_fields
    wanted = [name for name in fields if name not in Aimed.model_fields] + ["ttl"]
    found = {name: fields[name].default for name in wanted if fields[name].default not in (None, "")}
    return {name: int(value) if value == int(value) else value for name, value in found.items()}


def special(options: dict[str, Any]) -> str:
    """The parameters in a table: a `ttl` only where it is not the usual one."""
    return flow({name: value for name, value in options.items() if (name, value) != ("ttl", TTL)})


def about(kind: str) -> str:
    """What a kind of fault is, from the first line of its module."""
    doc = sys.modules[FAULTS[kind].__module__].__doc__ or ""
    return doc.partition("\n")[0].partition(": ")[2].rstrip(".")
