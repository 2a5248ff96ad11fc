"""The path of a request as a drawing: clients → the gateway's stages → services, with live figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View, ratio
from lab.dashboard.text import ACCENT, BAD, DIM, FRAME, GOOD, STRONG, WARN, line
from lab.dashboard.widgets.panel import Panel

if TYPE_CHECKING:
    from lab.launcher.stack import Process

    Processes = Callable[[], Mapping[str, Process]]

STAGES = 6
HEIGHT = STAGES + 2
LEFT, EDGE = 13, 7
WIDE = 56
"""Cells of the gateway's box from which on each stage's settings stand beside its figures."""


class RequestPath(Panel):
    """The drawing. Needs 78 columns and 8 rows. `processes` are those that the dashboard started."""

    DEFAULT_CSS = f"RequestPath {{ height: {HEIGHT}; padding: 0 1; }}"

    def __init__(self, processes: Processes = dict) -> None:
        super().__init__()
        self._processes = processes

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """The three blocks side by side."""
        right = min(max(width // 4, 22), 40)
        middle = width - LEFT - EDGE - right
        processes = self._processes()
        clients = _clients(view, LEFT)
        gateway = _gateway(view, processes.get("gateway"), middle)
        services, edges = _services(view, processes, right)
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


def _box(
    title: Content, rows: list[Content], width: int, style: str = FRAME, foot: Content | None = None
) -> list[Content]:
    """Rows in a frame with a title in its upper edge, and where there is a `foot`, that in its lower one."""
    side = (" │", style)
    body = [line(("│ ", style), row.truncate(width - 4, ellipsis=True, pad=True), side) for row in rows]
    return [_edge("╭─ ", title, "╮", width, style), *body, _edge("╰─ ", foot, "╯", width, style)]


def _edge(left: str, words: Content | None, right: str, width: int, style: str) -> Content:
    if not words:
        return line((left[0] + "─" * (width - 2) + right, style))
    words = words.truncate(width - 5, ellipsis=True)
    return line((left, style), words, (" " + "─" * (width - 5 - words.cell_length) + right, style))


def _gateway(view: View, process: Process | None, width: int) -> list[Content]:
    known = bool(view.policies)
    wide = width >= WIDE
    rows = []
    for name, draw in DRAWN:
        figures, settings = draw(view, wide) if known else (line(("–", DIM)), line())
        row = line(*_name(view, name), figures)
        fits = row.cell_length + settings.cell_length < width - 5
        rows.append(text.columns(row, settings, width - 4) if fits else row)
    title = line(("gateway", STRONG))
    if process is not None and process.state != "healthy":
        title += line("  ", _state(process))
    elif view.pid and wide:
        port = f":{process.port} · " if process else ""
        title += line((f"  {port}pid {view.pid} · up {text.span(view.uptime)}", DIM))
    return _box(title, rows, width)


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


Stage = tuple[Content, Content]
"""A stage's figures, and what it is set to."""
OFF: Stage = (line(("○ off", DIM)), line())


def _number(label: str, view: View, name: str, style: str = "") -> Content:
    """A total with its label, in colour once there is something to see; bright while it is counting."""
    total, active = view.totals.get(name, 0), view.rate(name) > 0
    return line((f"{label} ", DIM), (text.count(total), f"{style if total else DIM}{' bold' * active}"))


def _join(wide: bool, *parts: Content) -> Content:
    return Content("  " if wide else " ").join(parts)


def _settings(policy: dict[str, Any], options: str) -> Content:
    """The algorithm and its most important options."""
    plugged = "your " if policy.get("plugged") else ""
    return line((f"{plugged}{str(policy.get('use') or '').rpartition(':')[2]}  {options}", DIM))


def _auth(view: View, wide: bool) -> Stage:
    if not _policy(view, "auth"):
        return OFF
    refused = _number("401", view, "unauthorized", WARN), _number("403", view, "forbidden", WARN)
    return _join(wide, *refused), line()


def _limit(view: View, wide: bool) -> Stage:
    policy = _policy(view, "rate_limit")
    if not policy:
        return OFF
    options = policy.get("options", {})
    settings = f"{options.get('limit', '?')} in {float(options.get('window', 0)):g} s"
    figures = _join(wide, _number("admitted", view, "admitted", GOOD), _number("429", view, "limited", BAD))
    return figures, _settings(policy, settings)


def _cache(view: View, wide: bool) -> Stage:
    policy = _policy(view, "cache")
    if not policy:
        return OFF
    share = ratio(view.totals.get("hits", 0), view.totals.get("hits", 0) + view.totals.get("misses", 0))
    figures = _join(
        wide,
        _number("hit", view, "hits", GOOD),
        _number("miss", view, "misses", WARN),
        line(text.percent(share)),
    )
    return figures, _settings(policy, f"ttl {float(policy.get('options', {}).get('ttl', 0)):g} s")


def _bulkhead(view: View, wide: bool) -> Stage:
    policy = _policy(view, "bulkhead")
    if not policy:
        return OFF
    most = policy.get("options", {}).get("max_concurrent", "?")
    busy = sum(service.get("in_flight", 0) for service in view.services.values())
    figures = line(("in flight ", DIM), str(busy))
    if wide:
        return figures, line((f"at most {most} a service", DIM))
    return figures + line((f" of {most}", DIM)), line()


def _breakers(view: View, wide: bool) -> Stage:
    policy = _policy(view, "breaker")
    if not policy:
        return OFF
    states = [
        line((f"{text.short(name)} ", DIM), text.breaker(service.get("breaker"), word=wide))
        for name, service in view.services.items()
    ]
    options = policy.get("options", {})
    trips = {"consecutive": f"{options.get('failures')} failures"}
    settings = trips.get(str(policy.get("use")), f"{options.get('failure_percent', '?')} % failures")
    return _join(True, *states, _number("rejected", view, "rejected", BAD)), _settings(policy, settings)


def _retry(view: View, wide: bool) -> Stage:
    policy = _policy(view, "retry")
    if not policy:
        return OFF
    calls = _number("upstream calls" if wide else "calls", view, "upstream_calls")
    return _join(wide, _number("retries", view, "retries", WARN), calls), line()


DRAWN: list[tuple[str, Callable[[View, bool], Stage]]] = [
    ("auth", _auth),
    ("limit", _limit),
    ("cache", _cache),
    ("bulkhead", _bulkhead),
    ("breaker", _breakers),
    ("retry", _retry),
]
"""The stages in the order in which a request meets them."""


def _services(
    view: View, processes: Mapping[str, Process], width: int
) -> tuple[list[Content], list[Content]]:
    """The services' boxes, and the edges that lead to them."""
    boxes: list[Content] = []
    edges: list[Content] = []
    starting: dict[str, dict[str, Any]] = {name: {} for name in processes if name != "gateway"}
    shown = list((view.services or starting).items())
    for name, service in shown[: HEIGHT // 4]:
        rate = view.rate("upstream_calls", name)
        health = service.get("health", "unknown")
        shape, style = text.HEALTH.get(health, text.HEALTH["unknown"])
        title = line((name, STRONG), " ", (f"{shape} {health}" if service else shape, style))
        foot = _foot(service, processes.get(name))
        boxes += _box(title, _service(service, width), width, BAD if health == "down" else FRAME, foot)
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


def _state(process: Process) -> tuple[str, str]:
    """`✖ ended by SIGKILL; starting again in 0.25 s`."""
    shape, style = text.PROCESS.get(process.state, ("?", DIM))
    return f"{shape} {process.detail or process.state}", style


def _foot(service: dict[str, Any], process: Process | None) -> Content:
    """Where the service is, or in what trouble its process is."""
    if process is None:
        return line((urlsplit(service.get("url", "")).netloc, DIM))
    if process.state != "healthy":
        return line(_state(process))
    again = f" · {process.restarts} restart{'s' * (process.restarts != 1)}" if process.restarts else ""
    return line((f":{process.port}{again}", DIM))


def _service(service: dict[str, Any], width: int) -> list[Content]:
    if not service:
        return [line(("breaker –", DIM)), line(("pool –", DIM))]  # nothing is known of it yet
    pool = service.get("pool", {})
    waiting = pool.get("waiting", 0)
    breaker = service.get("breaker")
    wide = width >= 28
    first = line(("breaker " if wide else "", DIM)) + text.breaker(breaker)
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
    if wide:
        second += line(("  p95 ", DIM), text.duration(service.get("latency", {}).get("p95")))
    return [first, second]
