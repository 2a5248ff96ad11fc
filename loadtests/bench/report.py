"""What was measured, for people and for machines: a table, the targets, JSON, a section of a document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loadtests.bench.scenarios import Row

MARKS = ("<!-- bench:begin -->", "<!-- bench:end -->")


@dataclass
class Target:
    """A figure that the gateway must reach; `measured` is None where this run has not measured it."""

    name: str
    measured: float | None
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


@dataclass
class Report:
    """A finished run."""

    machine: dict[str, Any]
    command: str
    rows: list[Row] = field(default_factory=list)
    start_mib: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def get(self, scenario: str, peer: str, name: str) -> float | None:
        """One figure of a row, also of its `more`; None where it was not measured."""
        for row in self.rows:
            if (row.scenario, row.peer) == (scenario, peer):
                value = row.more.get(name) if name in row.more else getattr(row, name, None)
                return value if isinstance(value, int | float) else None
        return None

    def ratio(self, scenario: str, name: str, over: str, under: str) -> float | None:
        """The figure of peer `over` divided by that of peer `under`."""
        above, below = self.get(scenario, over, name), self.get(scenario, under, name)
        return above / below if above is not None and below else None

    def targets(self) -> list[Target]:
        percent: Callable[[float | None], float | None] = lambda v: None if v is None else 100 * v  # noqa: E731
        return [
            Target(
                "forward: requests a core-second, times fastapi-proxy-lib's",
                self.ratio("forward", "per_core", "gateway", "fastapi-proxy-lib"),
                18,
                at_least=True,
                unit="×",
            ),
            Target(
                "forward: CPU per request, times nginx's",
                self.ratio("forward", "cpu_us", "gateway", "nginx"),
                6,
                unit="×",
            ),
            Target(
                "forward: requests a second through one process",
                self.get("forward", "gateway", "rps"),
                10_000,
                at_least=True,
            ),
            Target(
                "cache hit: CPU per request, times a bare application's",
                self.ratio("hit", "cpu_us", "gateway", "uvicorn"),
                2.2,
                unit="×",
            ),
            Target(
                "live feed, one viewer: extra CPU",
                percent(self.get("feed", "1 viewer", "extra")),
                3,
                unit=" %",
            ),
            Target(
                "live feed, thirty viewers: extra CPU",
                percent(self.get("feed", "30 viewers", "extra")),
                10,
                unit=" %",
            ),
            Target(
                "memory with 1,000 connections open",
                self.get("idle", "gateway", "rss_mib"),
                95.4,
                unit=" MiB",
            ),
            Target(
                "memory added by 200 MiB down",
                self.get("memory", "200 MiB down", "added_mib"),
                32,
                unit=" MiB",
            ),
            Target(
                "memory added by 200 MiB up", self.get("memory", "200 MiB up", "added_mib"), 32, unit=" MiB"
            ),
            Target(
                "memory added by a slow reader",
                self.get("memory", "slow reader", "added_mib"),
                1,
                unit=" MiB",
            ),
            Target(
                "open loop at half the capacity: p99 added",
                self.get("open loop", "gateway", "added_p99_ms"),
                5,
                unit=" ms",
            ),
        ]

    def document(self) -> dict[str, Any]:
        """Everything, as JSON-ready values."""
        return {
            "command": self.command,
            "seconds": round(self.seconds, 1),
            "machine": self.machine,
            "start_mib": self.start_mib,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "targets": [{**dataclasses.asdict(t), "reached": t.reached} for t in self.targets()],
            "skipped": self.skipped,
            "failures": self.failures,
        }


# -- tables --------------------------------------------------------------------------------------------------

Column = tuple[str, Callable[[Row], str]]


def number(value: float | None, digits: int = 0) -> str:
    """A number with its thousands apart; a dash for what was not measured."""
    return "–" if value is None else f"{value:,.{digits}f}"


_LOAD: list[Column] = [
    ("peer", lambda r: r.peer),
    ("CPU µs/request", lambda r: number(r.cpu_us, 1)),
    ("requests/core-s", lambda r: number(r.per_core)),
    ("requests/s", lambda r: number(r.rps)),
    ("p50 ms", lambda r: number(r.p50_ms, 2)),
    ("p99 ms", lambda r: number(r.p99_ms, 2)),
    ("RSS MiB", lambda r: number(r.rss_mib)),
    ("peak MiB", lambda r: number(r.peak_mib)),
    ("spread", lambda r: "–" if r.spread is None else f"{100 * r.spread:.0f} %"),
    ("errors", lambda r: str(r.errors)),
]
_OF: dict[str, list[Column]] = {
    "idle": [
        ("peer", lambda r: r.peer),
        ("connections", lambda r: number(r.requests)),
        ("RSS before MiB", lambda r: number(r.more.get("before_mib"), 1)),
        ("RSS with them MiB", lambda r: number(r.rss_mib, 1)),
        ("KiB each", lambda r: number(r.more.get("kib_each"), 1)),
    ],
    "memory": [
        ("body", lambda r: r.peer),
        ("peak MiB", lambda r: number(r.peak_mib, 1)),
        ("added MiB", lambda r: number(r.more.get("added_mib"), 1)),
    ],
    "feed": [
        *_LOAD[:4],
        ("extra CPU", lambda r: "–" if "extra" not in r.more else f"{100 * r.more['extra']:+.1f} %"),
        _LOAD[8],
    ],
    "open loop": [
        ("peer", lambda r: r.peer),
        ("rate/s", lambda r: number(r.more.get("rate"))),
        ("p50 ms", lambda r: number(r.p50_ms, 2)),
        ("p99 ms", lambda r: number(r.p99_ms, 2)),
        ("direct p99 ms", lambda r: number(r.more.get("direct_p99_ms"), 2)),
        ("added p99 ms", lambda r: number(r.more.get("added_p99_ms"), 2)),
        _LOAD[1],
        _LOAD[9],
    ],
}
TITLES = {
    "forward": "Forward: 256 bytes, uncacheable",
    "hit": "Cache hit: 256 bytes",
    "websocket": "WebSocket echo: 64 bytes there and back",
    "1 MiB down": "1 MiB down",
    "1 MiB up": "1 MiB up",
    "idle": "1,000 connections that do nothing, half of them WebSockets",
    "feed": "Forward, while the live feed is watched",
    "open loop": "Open loop at half of each one's own capacity, latency from the intended start",
    "memory": "Large bodies through the gateway",
}


def tables(report: Report) -> list[tuple[str, list[list[str]]]]:
    """Each scenario's title, and its cells with the header in the first line."""
    result = []
    for scenario in dict.fromkeys(row.scenario for row in report.rows):
        columns = _OF.get(scenario, _LOAD)
        rows = [row for row in report.rows if row.scenario == scenario]
        cells = [[title for title, _ in columns], *([show(row) for _, show in columns] for row in rows)]
        result.append((TITLES[scenario], cells))
    measured = [t for t in report.targets() if t.measured is not None]
    if measured:
        cells = [["figure", "must be", "measured", ""]]
        for target in measured:
            sign = "≥" if target.at_least else "≤"
            digits = 0 if target.bound >= 1000 else 1
            cells.append(
                [
                    target.name,
                    f"{sign} {target.bound:,g}{target.unit}",
                    f"{number(target.measured, digits)}{target.unit}",
                    "reached" if target.reached else "missed",
                ]
            )
        result.append(("What it must reach", cells))
    return result


def text(report: Report) -> str:
    """For a terminal."""
    blocks = []
    for title, cells in tables(report):
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
    blocks.append(closing(report))
    return "\n\n".join(blocks)


def closing(report: Report) -> str:
    """What else has to be known to judge the figures."""
    m = report.machine
    start = ", ".join(f"{peer} {mib:.0f} MiB" for peer, mib in report.start_mib.items())
    lines = [
        f"{m['system']}, {m['cores']} cores shared by all; Python {m['python']}; "
        f"service behind: {m.get('service', '–')}; load tool: {m['load_tool']}; "
        f"load average {number(m['load_before'], 2)} before, {number(m.get('load_after'), 2)} after; "
        f"{report.seconds:.0f} s.",
        f"Memory after the start: {start}.",
    ]
    lines += [f"Left out: {peer}: {why}" for peer, why in report.skipped.items()]
    lines += [f"Failed: {failure}" for failure in report.failures]
    return "\n".join(lines)


def markdown(report: Report, plot: str | None = None) -> str:
    """For a document; `plot` is the address of the picture."""
    blocks = [f"Made with `{report.command}`."]
    if plot:
        blocks.append(f"![CPU time per request, the gateway beside its peers]({plot})")
    for title, cells in tables(report):
        head, *lines = cells
        rule = ["---", *("---:" for _ in head[1:])]
        block = [f"| {' | '.join(line)} |" for line in (head, rule, *lines)]
        blocks.append("\n".join([f"### {title}", "", *block]))
    blocks.append(closing(report).replace("\n", "\n\n"))
    return "\n\n".join(blocks)


def replace_section(document: str, section: str, marks: tuple[str, str] = MARKS) -> str:
    """`document` with `section` between the two marks. Raises ValueError where they do not stand so."""
    begin, end = marks
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise ValueError(f"the lines {begin} and {end} must stand there once, in this order")
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"
