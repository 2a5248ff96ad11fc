"""The picture for the document: CPU time per request as bars, on a logarithmic scale, in plain SVG."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from loadtests.bench.report import Report, number

PANELS = {
    "forward": "forward",
    "hit": "cache hit",
    "websocket": "WebSocket echo",
    "1 MiB down": "1 MiB down",
    "1 MiB up": "1 MiB up",
}
WIDTH, LEFT, RIGHT = 760, 150, 90
BAR, GAP, TITLE = 16, 6, 34
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .bar { fill: #8c959f } .own { fill: #0969da } .grid { stroke: #d0d7de }
.faint { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .bar { fill: #6e7681 } .own { fill: #4493f8 } .grid { stroke: #30363d }
  .faint { fill: #9198a1 }
}"""


def svg(report: Report) -> str:
    """One panel a scenario, one bar a peer, shortest is best."""
    panels = [
        (title, rows)
        for scenario, title in PANELS.items()
        if (rows := [r for r in report.rows if r.scenario == scenario and r.cpu_us])
    ]
    values = [row.cpu_us or 1.0 for _, rows in panels for row in rows]
    low = 10 ** math.floor(math.log10(min(values, default=1.0)))
    high = 10 ** math.ceil(math.log10(max(values, default=10.0) + 1e-9))
    decades = math.log10(high / low) or 1.0

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(value / low) / decades

    parts: list[str] = []
    y = 28.0
    parts.append(
        f'<text class="title" x="12" y="{y - 8:.0f}">CPU time of the proxy per request, µs '
        "(logarithmic; less is better)</text>"
    )
    for title, rows in panels:
        bottom = y + TITLE + len(rows) * (BAR + GAP)
        tick = low
        while tick <= high:
            parts.append(
                f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y + TITLE - 6:.1f}" '
                f'y2="{bottom:.1f}"/>'
                f'<text class="faint" text-anchor="middle" x="{x(tick):.1f}" y="{y + TITLE - 10:.1f}">'
                f"{number(tick)}</text>"
            )
            tick *= 10
        parts.append(f'<text class="title" x="12" y="{y + TITLE - 10:.1f}">{escape(title)}</text>')
        for i, row in enumerate(sorted(rows, key=lambda r: r.cpu_us or 0.0)):
            top = y + TITLE + i * (BAR + GAP)
            end = x(row.cpu_us or low)
            kind = "own" if row.peer == "gateway" else "bar"
            parts.append(
                f'<text x="{LEFT - 8}" y="{top + 12:.1f}" text-anchor="end">{escape(row.peer)}</text>'
                f'<rect class="{kind}" x="{LEFT}" y="{top:.1f}" '
                f'width="{max(1.0, end - LEFT):.1f}" height="{BAR}">'
                f"<title>{escape(row.peer)}: {number(row.cpu_us, 1)} µs</title></rect>"
                f'<text x="{max(end, LEFT + 1) + 6:.1f}" y="{top + 12:.1f}">{number(row.cpu_us, 1)}</text>'
            )
        y = bottom + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" '
        f'height="{y:.0f}" role="img">\n<style>{_STYLE}\n</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )
