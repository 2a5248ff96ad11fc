"""The first screen: the path of a request, what it looks like over time, the access log."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal

from lab.dashboard.screens.base import LabScreen
from lab.dashboard.screens.quick import QuickKeys
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.chart import Timeline
from lab.dashboard.widgets.events import EventLines
from lab.dashboard.widgets.log import AccessLog
from lab.dashboard.widgets.path import RequestPath


class Overview(LabScreen):
    """How requests go through the gateway right now."""

    mode = "overview"
    help = """
The drawing is the path of a request: from the clients through the gateway's stages, top to bottom, to the
services. Totals count since the gateway's start and light up while they grow; rates (`/s`) are those of the
last two seconds.

- **auth** refused: 401 without a known key, 403 with a key that may not
- **limit** admitted by the rate limiter, and 429: refused
- **cache** answered from the cache (hits), asked of the service (misses)
- **bulkhead** requests that wait for a service now
- **breaker** `■ closed` lets through, `□ OPEN` refuses with 503, `◧ half-open` probes; `!` is forced by hand
- **retry** further attempts after a failure, and calls to services in all

Below: charts of the last minutes, in a small window behind **c**; under them each breaker's state over time,
`─` closed, `▒` half-open, `█` open, and what happened. The coloured ground marks where a fault or a load was
on. Then the access log, the newest exchange last.

One key, one failure, here and on every screen that has no other use for the key: **l** makes service A slow,
**e** lets it answer 500, **h** hang, **r** refuse connections, **k** kills it; each lasts 30 seconds, or
until the key is pressed again. **A L C B R** switch a policy off and on. **!** undoes everything.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "charts", "Charts", tooltip="More room for the charts, and back"),
    ]

    DEFAULT_CSS = """
    Overview #charts { grid-size: 2 2; grid-rows: 1fr 1fr; height: 14; }
    Overview.-tall #charts { height: 20; }
    Overview.-short #charts { display: none; }
    Overview #over-time { height: 5; }
    Overview #over-time > * { width: 1fr; }
    Overview.-narrow EventLines { display: none; }
    Overview.-charts #charts { display: block; height: 1fr; }
    Overview.-charts AccessLog { display: none; }
    Overview.-charts.-short RequestPath { display: none; }
    """

    def body(self) -> ComposeResult:
        """Drawing, charts, ribbons and events, log."""
        yield RequestPath(self.dashboard.processes)
        yield QuickKeys()
        with Grid(id="charts"):
            yield charts.answers()
            yield charts.latency()
            yield charts.hit_ratio()
            yield charts.calls()
        with Horizontal(id="over-time"):
            yield Timeline()
            yield EventLines()
        yield AccessLog()

    def action_charts(self) -> None:
        """More room for the charts, or all of it again."""
        self.toggle_class("-charts")
