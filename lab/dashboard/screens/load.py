"""The load: Locust's users against the gateway, what they measure, and what the gateway says of it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from lab.dashboard import text
from lab.dashboard.screens.ask import Ask
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.screens.policies import flow, parse
from lab.dashboard.state import View
from lab.dashboard.text import BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.table import LiveTable
from lab.load.shapes import SHAPES, USUAL_TIME, Shape

USERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BARS = "▁▂▃▄▅▆▇"


class Load(LabScreen):
    """The shapes; what Locust measures beside what the gateway counts; requests and latency over time."""

    mode = "load"
    tip = "[b]enter[/] starts the selected load, [b]+[/] and [b]-[/] change its users, [b]s[/] stops it"
    help = """
The load comes from Locust, in a process of its own. **enter** starts the selected shape, **s** stops it,
**+** and **-** change the number of users for the next start, **p** also the time and the rate (requests a
second of all users together; 0 is as many as they can).

Below are Locust's figures, as its users see them, beside the gateway's. They differ: a user's latency has
the way to the gateway in it, and with the shape `open` also the wait of a request that could not be sent in
time. Where Locust is the bottleneck, its figures say so. **!** kills the load at once.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start", tooltip="Start the selected load", priority=True),
        Binding("s", "stop", "Stop", tooltip="Stop the load"),
        Binding("p", "tune", "Parameters", tooltip="Start the selected load with other parameters"),
        Binding("plus", "users(1)", "More", key_display="+", tooltip="More users"),
        Binding("equals_sign", "users(1)", "More", show=False),
        Binding("minus", "users(-1)", "Fewer", key_display="-", tooltip="Fewer users"),
    ]
    needs_trouble: ClassVar[set[str]] = {"start", "stop", "tune", "users"}
    AUTO_FOCUS = "#shapes"

    DEFAULT_CSS = """
    Load #shapes { height: 8; }
    Load #figures { height: 3; margin: 1 0; }
    Load.-short #figures { margin: 0; }
    Load #charts { grid-size: 2 1; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[str, Any] = {"users": 20, "seconds": USUAL_TIME, "rate": 0.0}

    def body(self) -> ComposeResult:
        """Settings, shapes, figures, charts."""
        yield Line(id="settings")
        yield LiveTable(("shape", 8), ("users", 8), ("what they do", 0), id="shapes")
        yield LiveTable(
            *(("", 7), (">users", 5), (">requests", 8), (">rate", 7), (">failed", 6), (">429", 6)),
            *((">p50", 7), (">p95", 7), (">p99", 7)),
            id="figures",
            cursor=False,
        )
        with Grid(id="charts"):
            yield charts.answers()
            yield charts.latency()

    def show(self, view: View) -> None:
        """Fill the tables."""
        super().show(view)
        trouble = self.dashboard.trouble
        load = trouble.load if trouble else None
        figures = trouble.figures if trouble else None
        rate = f"{self._wanted['rate']:g} requests/s" if self._wanted["rate"] else "no limit"
        wanted = f"{self._wanted['users']} users, {self._wanted['seconds']:g} s, {rate}"
        state = ("● " + load.label if figures else "◌ starting Locust", WARN) if load else ("no load", DIM)
        busy = ("   Locust is the bottleneck", BAD) if figures and figures.saturated else ""
        cpu = (f"   Locust: {text.percent(figures.cpu)} of a core", DIM) if load and figures else ""
        self.query_one("#settings", Line).words = line(state, cpu, busy, ("   next: ", DIM), wanted)
        shapes = self.query_one("#shapes", LiveTable)
        shapes.fill(
            {
                name: ((name, "bold"), (drawing(shape), GOOD), (text.fitting(shape.about, shapes.rest), DIM))
                for name, shape in SHAPES.items()
            }
        )
        name = "locust" if figures is None or not figures.final else "in all"
        self.query_one("#figures", LiveTable).fill(
            {
                "locust": (
                    (name, "bold"),
                    text.count(figures.users),
                    text.count(figures.requests),
                    text.rate(figures.rate),
                    (text.rate(figures.failure_rate), BAD if figures.failure_rate else DIM),
                    (text.rate(figures.limited_rate), WARN if figures.limited_rate else DIM),
                    *(text.duration(value) for value in (figures.p50, figures.p95, figures.p99)),
                )
                if figures
                else ((name, "bold"), *("–" for _ in range(8))),
                "gateway": (
                    ("gateway", "bold"),
                    "",
                    text.count(view.totals.get("requests", 0)),
                    text.rate(view.rate("requests")),
                    (text.rate(view.rate("5xx")), BAD if view.rate("5xx") else DIM),
                    (text.rate(view.rate("limited")), WARN if view.rate("limited") else DIM),
                    *(text.duration(view.latency.get(name)) for name in ("p50", "p95", "p99")),
                ),
            }
        )

    def action_start(self) -> None:
        """The selected shape; one that runs is stopped."""
        shape, trouble = self.query_one("#shapes", LiveTable).selected, self.dashboard.trouble
        if shape and trouble:
            self.dashboard.act(trouble.run_load(self.dashboard.touch, shape=shape, **self._wanted))

    def action_stop(self) -> None:
        """Stop it."""
        if trouble := self.dashboard.trouble:
            self.dashboard.act(trouble.stop_load(), "the load is stopped" if trouble.load else "")

    def action_users(self, step: int) -> None:
        """The next larger (1) or smaller (-1) number."""
        if step > 0:
            further = [n for n in USERS if n > self._wanted["users"]]
        else:
            further = [n for n in reversed(USERS) if n < self._wanted["users"]]
        self._wanted["users"] = further[0] if further else self._wanted["users"]
        self.show(self.dashboard.view)

    def action_tune(self) -> None:
        """Users, time and rate."""

        def chosen(given: str | None) -> None:
            if given is None:
                return
            try:
                self._wanted = wanted(parse(given))
            except ValueError as error:
                self.dashboard.complain(str(error))
            else:
                self.action_start()

        self.app.push_screen(
            Ask("users, seconds, and requests a second (0: no limit)", flow(self._wanted)), chosen
        )


def wanted(options: dict[str, Any]) -> dict[str, Any]:
    """What a load is started with. Raises ValueError with one line."""
    numbers = {"users": int, "seconds": float, "rate": float}
    for name, value in options.items():
        if name not in numbers:
            raise ValueError(f"{name}: users, seconds and rate were expected")
        if isinstance(value, bool) or not isinstance(value, int | float) or numbers[name](value) != value:
            raise ValueError(f"{name}: a number was expected")
    return {"users": 20, "seconds": USUAL_TIME, "rate": 0.0} | options


def drawing(shape: Shape) -> str:
    """The users over the time, in eight steps: `▁▁▁▁▇▁▁▁`."""
    shares = [shape.users_at(n / 8, 1000, 1.0) or 0 for n in range(8)]
    return "".join(BARS[min(share * 7 // 1001, 6)] for share in shares)
