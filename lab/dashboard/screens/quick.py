"""The keys that break something at once, on several screens the same, and the line that shows them."""

from __future__ import annotations

from textual.binding import Binding, BindingType
from textual.content import Content

from lab.dashboard.state import View
from lab.dashboard.text import DIM, WARN
from lab.dashboard.widgets.panel import Panel

BREAK: list[BindingType] = [
    Binding(
        "l", "app.fault('latency')", "Latency", show=False, tooltip="Service A slow for 30 s, or no more"
    ),
    Binding("e", "app.fault('error')", "Errors", show=False, tooltip="Service A answers 500, or no more"),
    Binding("h", "app.fault('hang')", "Hang", show=False, tooltip="Service A answers nothing, or again"),
    Binding("r", "app.fault('refuse')", "Refuse", show=False, tooltip="Service A's port closed, or open"),
    Binding("k", "app.fault('kill')", "Kill", show=False, tooltip="Kill service A; it comes back"),
    Binding("A", "app.switch_policy('auth')", "Auth", show=False, tooltip="API keys wanted, or not"),
    Binding("L", "app.switch_policy('rate_limit')", "Limit", show=False, tooltip="Rate limit on or off"),
    Binding("C", "app.switch_policy('cache')", "Cache", show=False, tooltip="Cache on or off"),
    Binding("B", "app.switch_policy('breaker')", "Breaker", show=False, tooltip="Circuit breaker on or off"),
    Binding("R", "app.switch_policy('retry')", "Retry", show=False, tooltip="Retries on or off"),
]
"""One key, one failure: the commonest faults and the policies' switches, on several screens the same."""

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
        switches = [f"[{DIM}]switch[/]"]
        for key, name, section in POLICIES:
            on = view.policies.get(section, {}).get("enabled", False)
            switches.append(_key(key, f"{'●' if on else '○'} {name}", not on))
        left = Content.from_markup("  ".join(faults))
        for part in (switches, switches[1:]):
            right = Content.from_markup("  ".join(part))
            room = width - left.cell_length - right.cell_length
            if room >= 4:
                return [left + " " * room + right]
        return [left]


def _key(key: str, name: str, bright: bool) -> str:
    style = f"b {WARN}" if bright else "$foreground"
    return f"[@click=app.simulate_key('{key}')][b]{key}[/] [{style}]{name}[/][/]"
