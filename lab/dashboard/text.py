"""How figures are written: short, aligned, the same everywhere."""

from __future__ import annotations

import re
import time as _time
from typing import Any

from textual.content import Content

GOOD, WARN, BAD, DIM, STRONG = "$text-success", "$text-warning", "$text-error", "$foreground-muted", "bold"
ACCENT = "$text-accent"
FRAME = "$foreground 30%"

BREAKERS = {
    "closed": ("■", "closed", GOOD),
    "half_open": ("◧", "half-open", WARN),
    "open": ("□", "OPEN", BAD),
}
"""State → shape, word, colour: told apart without colour as well."""

HEALTH = {"up": ("●", GOOD), "down": ("○", BAD), "unknown": ("◌", DIM)}

PROCESS = {
    "healthy": ("●", GOOD),
    "starting": ("◌", WARN),
    "unhealthy": ("◐", WARN),
    "stopping": ("◌", WARN),
    "stopped": ("○", DIM),
    "crashed": ("✖", BAD),
}

Part = str | tuple[str, str]
"""Text, or text and its style."""


def line(*parts: Part | Content) -> Content:
    """One line of text and (text, style) pairs."""
    return Content.assemble(*parts)


def columns(left: Content, right: Content, width: int) -> Content:
    """`left` and `right` at the two ends of `width` cells; the left gives way."""
    room = max(width - right.cell_length - 1, 0)
    return left.truncate(room, ellipsis=True, pad=True) + " " + right


def count(number: float | None) -> str:
    """`999`, `12.3k`, `4.5M`."""
    if number is None:
        return "–"
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e6 if unit == 'M' else 1e3):.1f}{unit}"
    return f"{number:.0f}"


def rate(per_second: float | None) -> str:
    """`0/s`, `4.8/s`, `120/s`, `1.2k/s`."""
    if per_second is None:
        return "–"
    if per_second == 0:
        return "0/s"
    return f"{per_second:.1f}/s" if per_second < 99.95 else f"{count(per_second)}/s"


def duration(seconds: float | None) -> str:
    """`–`, `0.3 ms`, `12 ms`, `1.4 s`, `2 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"


def percent(share: float | None) -> str:
    """`–` or `56%`."""
    return "–" if share is None else f"{share * 100:.0f}%"


def span(seconds: float) -> str:
    """A time that goes on: `0:42`, `12:05`, `1:02:03`."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def ago(seconds: float) -> str:
    """`now`, `12 s`, `3 min`: since when."""
    return "now" if seconds < 2 else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def size(count_of_bytes: float | None) -> str:
    """`–`, `120 B`, `1.2 KiB`, `34 MiB`."""
    if count_of_bytes is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if count_of_bytes < 1000:
            return f"{count_of_bytes:.{0 if unit == 'B' or count_of_bytes >= 10 else 1}f} {unit}"
        count_of_bytes /= 1024
    return f"{count_of_bytes:.1f} GiB"


def masked(words: str) -> str:
    """`/items?token=abc&page=2` → `/items?token=…&page=…`: what stands in a query may be a secret."""
    return re.sub(r"([?&][^=&\s]*=)[^&\s]+", r"\1…", words)


def fitting(words: str, room: int) -> str:
    """As many of the clauses of `words` as have room; where not even the first has, it is the first."""
    while len(words) > room and (end := max(words.rfind(","), words.rfind(";"))) > 0:
        words = words[:end]
    return words


def clock(unix: float) -> str:
    """`14:03:07`, local time."""
    return _time.strftime("%H:%M:%S", _time.localtime(unix))


def breaker(state: dict[str, Any] | None, *, word: bool = True) -> Content:
    """`■ closed`, with `!` behind a forced one; `– off` where there is no breaker."""
    if not state:
        return line(("– off", DIM))
    shape, name, style = BREAKERS.get(
        str(state.get("state", "")).lower().replace("-", "_"), ("?", str(state.get("state")), WARN)
    )
    forced = "!" if state.get("forced") else ""
    return line((f"{shape} {name}{forced}" if word else shape + forced, style))


def short(service: str) -> str:
    """`service-a` → `A`, others as they are: for places where only a letter fits."""
    name = service.removeprefix("service-")
    return name.upper() if len(name) == 1 else name
