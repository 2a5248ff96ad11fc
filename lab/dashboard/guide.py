"""The hint line: what to try next, from what has been seen so far. A table, read top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from textual.markup import escape

from lab.dashboard.state import View

if TYPE_CHECKING:
    from lab.dashboard.app import Dashboard


@dataclass(frozen=True, slots=True)
class Facts:
    """What the hints depend on besides the View."""

    can_send: bool = False
    owns_stack: bool = False
    steady: bool = False
    rate: int = 0
    service_a: str = "healthy"
    """State of the process service-a, where the dashboard owns it."""
    replay: tuple[bool, float] | None = None
    """A recording is shown: whether it stands still, and its speed."""

    @classmethod
    def of(cls, app: Dashboard) -> Self:
        """As they are now."""
        service = app.processes().get("service-a")
        return cls(
            can_send=app.traffic is not None,
            owns_stack=app.stack is not None,
            steady=app.traffic is not None and app.traffic.steady,
            rate=app.traffic.rate if app.traffic else 0,
            replay=None if app.replay is None else (app.replay.paused, app.replay.speed),
            service_a=service.state if service else "healthy",
        )


def hint(view: View, facts: Facts) -> str:
    """One line of content markup; keys are in bold."""
    if facts.replay is not None:
        paused, speed = facts.replay
        if view.trouble:
            return "The recording is at its end; every screen shows its last moment · [b]q[/] leaves"
        state = "paused" if paused else f"playing at {speed:g}×"
        space = "goes on" if paused else "pauses"
        return f"A recording, {state} · [b]space[/] {space} · [b].[/] one second on · [b]+[/] [b]-[/] speed"
    if not view.live:
        if view.status == "refused":
            return f"[b]{view.trouble}[/]: give the right one with --token, or set GATEWAY_ADMIN_TOKEN"
        if facts.owns_stack:
            return (
                "starting the services and the gateway …"
                if view.pid == 0
                else "the gateway is away; waiting for it …"
            )
        return f"waiting for the gateway: {view.trouble or 'connecting'} …"
    if not facts.can_send:
        return "looking only; [b]?[/] help, numbers change the screen"
    seen = view.totals
    opened = any(state == "open" for ribbon in view.ribbons.values() for _, state in ribbon)
    states = [service.get("breaker", {}).get("state") for service in view.services.values()]
    down = facts.owns_stack and facts.service_a in ("stopped", "crashed")
    more = "" if facts.steady else "; [b]t[/] sends some"
    if "open" in states:
        back = "[b]d[/] brings service A back" if down else f"Soon requests may probe{more}"
        return f"Breaker OPEN: 503 at once, nobody waits. {back}"
    if "half_open" in states:
        back = "; [b]d[/] brings service A back" if down else more
        return f"Breaker HALF-OPEN: the next requests are probes{back}"
    if down:
        return f"Service A is down. Five failures in a row open its breaker{more}"
    faults = [band.label for band in view.running if band.kind == "fault"]
    if faults:
        return f"A fault is on: {escape(faults[-1])}{more}. [b]![/] undoes everything"
    if view.policies.get("auth", {}).get("enabled"):
        return "Who has no key gets a 401, the traffic from here too. [b]A[/] lets everyone in again"
    if not seen.get("misses") and not seen.get("hits"):
        return "[b]space[/] sends one request through the gateway to service A"
    if not seen.get("hits"):
        return "A MISS: service A answered, the cache kept a copy. [b]space[/] again: a HIT"
    if not seen.get("limited"):
        return "A HIT: service A was not asked. [b]b[/] sends 20 at once: ten pass, then 429"
    if not opened and facts.owns_stack:
        if not facts.steady:
            return "429: one client had its ten a minute. [b]t[/] starts traffic of many clients"
        return "Many clients, each within its limit. [b]d[/] takes service A down: watch its breaker"
    if facts.steady:
        return f"Steady traffic: {facts.rate}/s · [b]+[/] [b]-[/] change it · [b]t[/] ends it · [b]?[/] help"
    return "[b]space[/] one request · [b]t[/] traffic · [b]b[/] burst · [b]?[/] explains this screen"
