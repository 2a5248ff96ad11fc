"""The access log: one line per exchange, the newest at the bottom."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets.panel import Panel

WIDE = 100
"""Columns from which on there is room for more than the essentials."""
CACHE = {"HIT": GOOD, "MISS": WARN, "limited": ACCENT}


class AccessLog(Panel):
    """The last exchanges that the feed told of."""

    DEFAULT_CSS = "AccessLog { height: 1fr; min-height: 2; padding: 0 1; text-overflow: ellipsis; }"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """A head, then as many exchanges as there is room for."""
        wide = width >= WIDE
        head = f"{'time':<10}{'client':<16}{'status':>6}  {'cache':<8}{'took':>7}  "
        head += f"{'breaker':<11}{'tries':>5}  " if wide else ""
        if not view.requests:
            return [line((head + "request", DIM)), line(("no request yet", DIM))]
        newest = list(view.requests)[-(height - 1) :] if height > 1 else []
        return [line((head + "request", DIM)), *(entry(request, wide) for request in newest)]


def entry(request: dict[str, Any], wide: bool = False) -> Content:
    """One access log entry; where it is wide with the breaker and the attempts."""
    status = int(request.get("status") or 0)
    style = BAD if status >= 500 else WARN if status >= 400 else GOOD
    cache = "limited" if request.get("limited") else request.get("cache") or ""
    took = request.get("duration_ms")
    when = request.get("ts")
    at = text.clock(when) if isinstance(when, int | float) else str(when or "")[11:19]
    breaker = str(request.get("breaker") or "").replace("_", "-")
    return line(
        (f"{at:<10}", DIM),
        f"{str(request.get('client') or '')[:15]:<16}",
        (f"{status or '–':>6}  ", f"bold {style}"),
        (f"{cache:<8}", CACHE.get(cache, DIM)),
        (f"{text.duration(None if took is None else took / 1000):>7}  ", DIM),
        *([(f"{breaker:<11}{request.get('attempts', ''):>5}  ", DIM)] if wide else []),
        (f"{str(request.get('method', ''))[:7]} ", DIM),
        str(request.get("path", "")),
    )
