"""The first screen: the path of a request, the processes, the access log."""

from __future__ import annotations

from textual.app import ComposeResult

from lab.dashboard.screens.base import LabScreen
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

Below: the processes, and the access log, the newest exchange last.
"""

    DEFAULT_CSS = """
    Overview ProcessLines { border-top: solid $panel; border-title-color: $text-muted; }
    Overview AccessLog { border-top: solid $panel; border-title-color: $text-muted; }
    """

    def body(self) -> ComposeResult:
        """Drawing, processes, log."""
        yield RequestPath()
        yield ProcessLines(self.dashboard.processes)
        yield AccessLog()
