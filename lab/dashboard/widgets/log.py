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
CACHE = {"HIT": GOOD, "MISS": WARN, "BYPASS": DIM}


class AccessLog(Panel):
    """The last exchanges that the feed told of."""

    DEFAULT_CSS = "AccessLog { height: 1fr; min-height: 2; padding: 0 1; }"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """A head, then as many exchanges as there is room for."""
        wide = width >= WIDE
        path = max(width - (72 if wide else 53), 10)
        head = f"{'time':<9}{'client':<16}{'request':<{path + 5}}{'status':>6}  {'cache':<7}{'took':>7}"
        head += f"  {'breaker':<10}{'tries':>6}" if wide else ""
        if not view.requests:
            return [line((head, DIM)), line(("no request yet", DIM))]
        newest = list(view.requests)[-(height - 1) :] if height > 1 else []
        return [line((head, DIM)), *(entry(request, path, wide) for request in newest)]


def entry(request: dict[str, Any], path: int, wide: bool = False) -> Content:
    """One access log entry; `path` cells for the path, and where it is wide the breaker and the attempts."""
    status = int(request.get("status") or 0)
    style = BAD if status >= 500 else WARN if status >= 400 else GOOD
    cache = request.get("cache") or ""
    shown = str(request.get("path", ""))
    shown = shown if len(shown) <= path else shown[: path - 1] + "…"
    took = request.get("duration_ms")
    when = request.get("ts")
    breaker = str(request.get("breaker") or "").replace("_", "-")
    return line(
        (f"{text.clock(when) if isinstance(when, int | float) else str(when or '')[11:19]:<9}", DIM),
        f"{str(request.get('client') or '')[:15]:<16}",
        (f"{str(request.get('method', ''))[:4]:<5}", DIM),
        f"{shown:<{path}}",
        (f"{status or '–':>6}  ", f"bold {style}"),
        (f"{cache:<7}", CACHE.get(cache, DIM)) if not request.get("limited") else (f"{'limited':<7}", ACCENT),
        (f"{text.duration(None if took is None else took / 1000):>7}", DIM),
        *([(f"  {breaker:<10}", DIM), (f"{request.get('attempts', ''):>6}", DIM)] if wide else []),
    )
