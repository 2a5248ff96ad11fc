"""The path of a request as a drawing: clients → the gateway's stages → services, with live figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View, ratio
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, STRONG, WARN, line
from lab.dashboard.widgets.panel import Panel

STAGES = 6
HEIGHT = STAGES + 2
LEFT, EDGE = 13, 7


class RequestPath(Panel):
    """The drawing. Needs 78 columns and 8 rows; more columns show each stage's settings as well."""

    DEFAULT_CSS = f"RequestPath {{ height: {HEIGHT}; padding: 0 1; }}"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """The three blocks side by side."""
        right = min(max(width // 4, 20), 40)
        middle = width - LEFT - EDGE - right
        clients = _clients(view, LEFT)
        gateway = _gateway(view, middle)
        services, edges = _services(view, right)
        return [a + b + e + c for a, b, e, c in zip(clients, gateway, edges, services, strict=True)]


def _clients(view: View, width: int) -> list[Content]:
    rate = view.rate("requests")
    connections = view.connections
    rows = [
        line(),
        line(("clients", STRONG)),
        line((text.rate(rate), STRONG if rate else DIM)),
        line(_arrow(width - 1, rate)),
        line(("p95 ", DIM), text.duration(view.latency.get("p95"))),
        line(("in flight ", DIM), text.count(view.in_flight)),
        line(
            ("http ", DIM),
            f"{connections.get('http', 0)}",
            (" ws ", DIM),
            f"{connections.get('websocket', 0)}",
        ),
        line(),
    ]
    return [row.truncate(width, pad=True) for row in rows]


def _arrow(width: int, rate: float) -> tuple[str, str]:
    return ("━" * (width - 1) + "▶", GOOD) if rate else ("─" * (width - 1) + "▷", DIM)


def _box(title: Content, rows: list[Content], width: int, style: str = DIM) -> list[Content]:
    title = title.truncate(width - 5, ellipsis=True)
    top = line(("╭─ ", style), title, (" " + "─" * (width - 5 - title.cell_length) + "╮", style))
    side = (" │", style)
    body = [line(("│ ", style), row.truncate(width - 4, ellipsis=True, pad=True), side) for row in rows]
    return [top, *body, line(("╰" + "─" * (width - 2) + "╯", style))]


def _gateway(view: View, width: int) -> list[Content]:
    known = bool(view.policies)
    rows = [line(*_name(view, name), draw(view, width > 50) if known else ("–", DIM)) for name, draw in DRAWN]
    where = f" pid {view.pid} · up {text.span(view.uptime)}" if view.pid and width > 45 else ""
    return _box(line(("gateway", STRONG), (where, DIM)), rows, width)


SECTIONS = {"limit": "rate_limit"}
"""Stage → its policy's name, where that is another."""


def _name(view: View, stage: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The stage's name, with a star where the student's own class is plugged in."""
    plugged = view.policies.get(SECTIONS.get(stage, stage), {}).get("plugged")
    return (stage, STRONG), (f"{'★' if plugged else '':<{9 - len(stage)}}", ACCENT)


def _policy(view: View, name: str) -> dict[str, Any] | None:
    """A policy's part of the snapshot, None where it is switched off."""
    policy = view.policies.get(name)
    return policy if policy and policy.get("enabled", True) else None


OFF = line(("off", DIM))


def _number(label: str, view: View, name: str, style: str = "") -> Content:
    """A total with its label; lit up while it is counting."""
    active = view.rate(name) > 0
    return line(
        (f"{label} ", DIM), (text.count(view.totals.get(name, 0)), f"{style} bold" if active else style)
    )


def _join(wide: bool, *parts: Content) -> Content:
    return Content("  " if wide else " ").join(parts)


def _tail(policy: dict[str, Any], wide: bool, settings: str) -> Content:
    """What a stage is set to, where there is room."""
    plugged = "your " if policy.get("plugged") else ""
    use = policy.get("use", "")
    use = use.rpartition(":")[2] if ":" in use else use
    return line((f"  {plugged}{use} {settings}", DIM)) if wide else line()


def _auth(view: View, wide: bool) -> Content:
    if not _policy(view, "auth"):
        return OFF
    return _join(wide, _number("401", view, "unauthorized", WARN), _number("403", view, "forbidden", WARN))


def _limit(view: View, wide: bool) -> Content:
    policy = _policy(view, "rate_limit")
    if not policy:
        return OFF
    options = policy.get("options", {})
    settings = f"{options.get('limit', '?')} in {float(options.get('window', 0)):g} s"
    figures = _join(wide, _number("admitted", view, "admitted", GOOD), _number("429", view, "limited", BAD))
    return figures + _tail(policy, wide, settings)


def _cache(view: View, wide: bool) -> Content:
    policy = _policy(view, "cache")
    if not policy:
        return OFF
    share = ratio(view.totals.get("hits", 0), view.totals.get("hits", 0) + view.totals.get("misses", 0))
    settings = f"ttl {float(policy.get('options', {}).get('ttl', 0)):g} s"
    figures = _join(
        wide,
        _number("hit", view, "hits", GOOD),
        _number("miss", view, "misses", WARN),
        line(text.percent(share)),
    )
    return figures + _tail(policy, wide, settings)


def _bulkhead(view: View, wide: bool) -> Content:
    policy = _policy(view, "bulkhead")
    if not policy:
        return OFF
    most = policy.get("options", {}).get("max_concurrent", "?")
    busy = sum(service.get("in_flight", 0) for service in view.services.values())
    return line(("in flight ", DIM), str(busy), (f" of {most} a service" if wide else f" of {most}", DIM))


def _breakers(view: View, wide: bool) -> Content:
    if not _policy(view, "breaker"):
        return OFF
    states = [
        line((f"{text.short(name)} ", DIM), text.breaker(service.get("breaker"), word=wide))
        for name, service in view.services.items()
    ]
    return _join(True, *states, _number("rejected", view, "rejected", BAD))


def _retry(view: View, wide: bool) -> Content:
    policy = _policy(view, "retry")
    if not policy:
        return OFF
    return _join(
        wide,
        _number("retries", view, "retries", WARN),
        _number("upstream calls" if wide else "calls", view, "upstream_calls"),
    )


DRAWN: list[tuple[str, Callable[[View, bool], Content]]] = [
    ("auth", _auth),
    ("limit", _limit),
    ("cache", _cache),
    ("bulkhead", _bulkhead),
    ("breaker", _breakers),
    ("retry", _retry),
]
"""The stages in the order in which a request meets them."""


def _services(view: View, width: int) -> tuple[list[Content], list[Content]]:
    """The services' boxes, and the edges that lead to them."""
    boxes: list[Content] = []
    edges: list[Content] = []
    shown = list(view.services.items())
    for name, service in shown[: HEIGHT // 4]:
        rate = view.rate("upstream_calls", name)
        shape, style = text.HEALTH.get(service.get("health", "unknown"), text.HEALTH["unknown"])
        title = line((name, STRONG), " ", (f"{shape} {service.get('health', 'unknown')}", style))
        boxes += _box(title, _service(service, width), width, BAD if service.get("health") == "down" else DIM)
        edges += [
            line(" " * EDGE),
            line((f"{text.rate(rate):^{EDGE}}", STRONG if rate else DIM)),
            line(_arrow(EDGE, rate)),
            line(" " * EDGE),
        ]
    more = len(shown) - HEIGHT // 4
    if more > 0:
        boxes[-1] = line((f"and {more} more".center(width), DIM))
    blank = HEIGHT - len(boxes)
    return boxes + [line(" " * width)] * blank, edges + [line(" " * EDGE)] * blank


def _service(service: dict[str, Any], width: int) -> list[Content]:
    pool = service.get("pool", {})
    waiting = pool.get("waiting", 0)
    breaker = service.get("breaker")
    first = text.breaker(breaker)
    if breaker and breaker.get("state") == "open" and breaker.get("retry_after"):
        first += line((f" {breaker['retry_after']:.0f} s", WARN))
    elif breaker and breaker.get("failures"):
        first += line((f" {breaker['failures']} failed", WARN))
    second = line(
        ("pool ", DIM),
        f"{pool.get('in_use', 0)}",
        (f"+{pool.get('idle', 0)}/{pool.get('limit', 0)}", DIM),
        (f" {waiting} wait", BAD) if waiting else "",
    )
    if width >= 28:
        second += line(("  p95 ", DIM), text.duration(service.get("latency", {}).get("p95")))
    return [first, second]
