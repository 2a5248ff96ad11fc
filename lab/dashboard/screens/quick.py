"""The keys that break something at once, on several screens the same."""

from __future__ import annotations

from textual.binding import Binding, BindingType

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
