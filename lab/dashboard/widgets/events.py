"""What happened: transitions of breakers and health, changed policies, notes of the tools."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets.panel import Panel

STATES = {
    "closed": GOOD,
    "up": GOOD,
    "restored": GOOD,
    "half-open": WARN,
    "unknown": WARN,
    "open": BAD,
    "down": BAD,
    "exhausted": BAD,
}


def describe(event: dict[str, Any]) -> Content:
    """What happened, in a few words: `service-a breaker closed → open  5 failures in a row`."""
    kind = str(event.get("kind", ""))
    subject = text.short(str(event.get("service") or event.get("name") or ""))
    reason = text.masked(str(event.get("reason") or ""))
    if "to" in event:
        old, new = str(event.get("from", "?")).replace("_", "-"), str(event["to"]).replace("_", "-")
        return line(
            (f"{subject} ", "bold"),
            f"{kind} {old} → ",
            (new, STATES.get(new, "")),
            (f"  {reason}", DIM),
        )
    if kind == "note":
        source = str(event.get("source") or "note")
        parts = (str(event.get("action") or ""), text.masked(str(event.get("text") or "")))
        return line(
            (f"{source} ", ACCENT), (f"{subject} " if subject else "", "bold"), " ".join(parts).strip()
        )
    action = str(event.get("action", ""))
    detail = text.masked(str(event.get("path") or "")) or (
        "" if "entries" not in event else f"{event['entries']} entries"
    )
    return line(
        (f"{subject} " if subject else "", "bold"),
        f"{kind} ",
        (action, STATES.get(action, ACCENT)),
        (f"  {detail}", DIM),
        (f"  {reason}", DIM),
    )


class EventLines(Panel):
    """The last events, the newest at the bottom."""

    DEFAULT_CSS = "EventLines { padding: 0 1; height: 4; text-overflow: ellipsis; }"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """As many as fit."""
        if not view.events:
            return [line(("nothing happened yet", DIM))]
        newest = list(view.events)[-height:]
        return [line((f"{text.clock(event['time'])} ", DIM), describe(event)) for event in newest]
