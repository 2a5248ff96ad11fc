"""The line that shows the keys which break something at once, and what they have done."""

from __future__ import annotations

from textual.content import Content

from lab.dashboard.state import View
from lab.dashboard.text import DIM, WARN
from lab.dashboard.widgets.panel import Panel

FAULTS = [("l", "latency"), ("e", "error"), ("h", "hang"), ("r", "refuse"), ("k", "kill")]
POLICIES = [
    ("A", "auth", "auth"),
    ("L", "limit", "rate_limit"),
    ("C", "cache", "cache"),
    ("B", "breaker", "breaker"),
    ("R", "retry", "retry"),
]


class QuickKeys(Panel):
    """`break A  l latency …   switch  A ● auth …`; a click is the key. Not there for who may only look."""

    DEFAULT_CSS = "QuickKeys { height: 1; padding: 0 1; link-style: none; link-style-hover: bold; }"

    def on_mount(self) -> None:
        """Who may only look has no keys."""
        self.display = self.app.trouble is not None  # type: ignore[attr-defined]

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """Faults that are set and policies that are off stand out."""
        trouble = self.app.trouble  # type: ignore[attr-defined]
        running = trouble.quick() if trouble else []
        faults = [f"[{DIM}]break A[/]"]
        for key, kind in FAULTS:
            faults.append(_key(key, f"▲ {kind}" if kind in running else kind, kind in running))
        named, marks = [], []
        for key, name, section in POLICIES:
            on = view.policies.get(section, {}).get("enabled", False)
            mark = "●" if on else "○"
            named.append(_key(key, f"{mark} {name}", not on))
            marks.append(_key(key, mark, not on))
        left = Content.from_markup("  ".join(faults))
        if not view.policies:
            return [left]  # nobody knows yet which are on
        for part in ("  ".join([f"[{DIM}]switch[/]", *named]), "  ".join(named), " ".join(marks)):
            right = Content.from_markup(part)
            room = width - left.cell_length - right.cell_length
            if room >= 2:
                return [left + " " * room + right]
        return [left]


def _key(key: str, name: str, bright: bool) -> str:
    style = f"b {WARN}" if bright else "$foreground"
    return f"[@click=app.simulate_key('{key}')][b]{key}[/] [{style}]{name}[/][/]"
