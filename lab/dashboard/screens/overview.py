"""The first screen: the path of a request, the processes, the access log."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.screens.quick import BREAK
from lab.dashboard.widgets.chart import Chart, Series, Timeline
from lab.dashboard.widgets.events import EventLines
from lab.dashboard.widgets.log import AccessLog
from lab.dashboard.widgets.path import RequestPath
from lab.dashboard.widgets.processes import ProcessLines


class Overview(LabScreen):
    """How requests go through the gateway right now."""

    mode = "overview"
    help = """
The drawing is the path of a request: from the clients through the gateway's stages, top to bottom, to the
services. Totals count since the gateway's start and light up while they grow; rates (`/s`) are those of the
last two seconds.

| stage | figures |
|---|---|
| auth | refused: 401 without a known key, 403 with a key that may not |
| limit | admitted by the rate limiter, and 429: refused |
| cache | answered from the cache (hits), asked of the service (misses) |
| bulkhead | requests that wait for a service now |
| breaker | `■ closed` lets through, `□ OPEN` refuses with 503, `◧ half-open` probes; `!` is forced by hand |
| retry | further attempts after a failure, and calls to services in all |

Below: charts of the last minutes, in a small window behind **c**; under them each breaker's state over time,
`─` closed, `▒` half-open, `█` open. The coloured ground marks where a fault or a load was on. Then the
processes, and the access log, the newest exchange last.

One key, one failure: **l** makes service A slow, **e** lets it answer 500, **h** hang, **r** refuse
connections, **k** kills it; each lasts 30 seconds, or until the key is pressed again. **A L C B R** switch a
policy off and on. **!** undoes everything.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "charts", "Charts", tooltip="Charts instead of processes and log, and back"),
        *BREAK,
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012

    DEFAULT_CSS = """
    Overview ProcessLines, Overview AccessLog { border-top: solid $panel; }
    Overview Charts { grid-size: 2 3; grid-rows: 1fr 1fr 4; height: 16; }
    Overview.-tall Charts { height: 40%; min-height: 16; }
    Overview.-short Charts { display: none; }
    Overview.-charts Charts { display: block; }
    Overview.-charts Charts { height: 1fr; }
    Overview.-charts ProcessLines, Overview.-charts AccessLog { display: none; }
    """

    def body(self) -> ComposeResult:
        """Drawing, charts, processes, log."""
        yield RequestPath()
        yield Charts()
        yield ProcessLines(self.dashboard.processes)
        yield AccessLog()

    def action_charts(self) -> None:
        """Charts instead of processes and log, where there is no room for both."""
        self.toggle_class("-charts")


class Charts(Grid):
    """The four charts over the same minutes, the breakers' ribbons, and what happened last."""

    def compose(self) -> ComposeResult:
        """Requests by outcome, latency, hit ratio, calls to services."""
        yield Chart(
            "answers",
            [
                Series("ok", "ok", "ok"),
                Series("4xx", "client_error", "one"),
                Series("429", "limited", "warn"),
                Series("5xx", "server_error", "bad"),
            ],
            text.rate,
            least=5,
            filled=True,
        )
        yield Chart(
            "latency",
            [Series("p99", "p99", "three"), Series("p95", "p95", "two"), Series("p50", "p50", "one")],
            text.duration,
            least=0.01,
        )
        ratio = [Series("hit ratio", "hit_ratio", "ok")]
        yield Chart("cache", ratio, text.percent, least=1, most=1, filled=True)
        yield Chart(
            "asked",
            [Series("clients", "requests", "one"), Series("services", "upstream", "two")],
            text.rate,
            least=5,
        )
        yield Timeline()
        yield EventLines()
