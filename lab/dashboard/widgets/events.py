"""What happened: transitions of breakers and health, changed policies, notes of the tools."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, STRONG, WARN, Part, line
from lab.dashboard.widgets.panel import Framed

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


def told(event: dict[str, Any]) -> tuple[str, str, list[Part]]:
    """An event as its kind (of a note: who made it), whom it concerns, and what happened."""
    kind = str(event.get("kind", ""))
    subject = text.short(str(event.get("service") or event.get("name") or ""))
    reason = text.masked(str(event.get("reason") or ""))
    if "to" in event:
        old, new = str(event.get("from", "?")).replace("_", "-"), str(event["to"]).replace("_", "-")
        return kind, subject, [f"{old} → ", (new, STATES.get(new, "")), (f"  {reason}", DIM)]
    action = str(event.get("action") or "")
    if kind == "note":
        words = text.masked(str(event.get("text") or ""))
        what = [f"{action}: {words}" if action and words and action != "says" else words or action]
        return str(event.get("source") or "note"), subject, [*what]
    detail = text.masked(str(event.get("path") or "")) or (
        "" if "entries" not in event else f"{event['entries']} entries"
    )
    return kind, subject, [(action, STATES.get(action, ACCENT)), (f"  {detail}  {reason}".rstrip(), DIM)]


def describe(event: dict[str, Any]) -> Content:
    """What happened, in a few words: `A breaker closed → open  5 failures in a row`."""
    kind, subject, what = told(event)
    who = (f"{subject} " if subject else "", STRONG)
    return line(who, (f"{kind} ", ACCENT if event.get("kind") == "note" else ""), *what)


class EventLines(Framed):
    """The last events, the newest at the bottom."""

    BORDER_TITLE = "events"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """As many as fit."""
        if not view.events:
            return [line(("nothing happened yet", DIM))]
        newest = list(view.events)[-height:]
        return [line((f"{text.clock(event['time'])} ", DIM), describe(event)) for event in newest]
