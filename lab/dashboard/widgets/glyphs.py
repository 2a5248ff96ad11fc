"""What stands in one cell of a chart: lines of braille dots, areas of blocks, both looked up once drawn.

A cell is two seconds wide. A braille glyph has two columns of four dots, one column a second; a block glyph
fills its cell from the ground in eighths, which reads from the last row of a room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

SECONDS = 2
"""Seconds a cell."""
DOTS = 4
"""Steps of height a row for lines."""
EIGHTHS = 8
"""Steps of height a row for areas."""

Heights = tuple[int | None, ...]
"""Per line the height of a sample in dots from 1 on; None is a gap."""

BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The dots of the left and the right column, from the top."""
BRAILLE = (" ", *(chr(0x2800 + bits) for bits in range(1, 256)))
BLOCKS = " ▁▂▃▄▅▆▇█"
WHOLE = BLOCKS[-1]

KEPT = 2048
"""Columns that are looked up: those of a few frames of all charts, in a few megabytes."""

NOBODY = -1
"""In the place of a series' number: the ground."""


@lru_cache(maxsize=KEPT)
def lines(before: Heights, left: Heights, right: Heights, rows: int) -> tuple[tuple[str, int], ...]:
    """A column of cells with lines, from the top: each cell's glyph, and the number of the line that has it.

    `left` and `right` are the samples of the cell's two seconds, `before` is the one left of them, to which
    the lines connect. Where lines cross, the later one has the cell.
    """
    bits = [0] * rows
    owner = [NOBODY] * rows
    for side, (last, now) in enumerate(((before, left), (left, right))):
        for line, height in enumerate(now):
            if height is None:
                continue
            previous = last[line]
            level = max(height, 1)
            other = level if previous is None else max(previous, 1)
            # A line goes from just beside the last sample's height to its own.
            beside = other + (other < level) - (other > level)
            for dot in range(min(level, beside), max(level, beside) + 1):
                row, step = divmod(dot - 1, DOTS)
                bits[rows - 1 - row] |= BITS[side][DOTS - 1 - step]
                owner[rows - 1 - row] = line
    return tuple((BRAILLE[b], o) for b, o in zip(bits, owner, strict=True))


@lru_cache(maxsize=KEPT)
def areas(tops: tuple[int, ...], rows: int) -> tuple[tuple[str, int, int], ...]:
    """A column of cells with areas that stand on each other, from the top: glyph, area, area behind it.

    `tops` says how high each area reaches, in eighths of a row from the ground. A cell has two colours: where
    the ground and several areas meet in one, the uppermost area has it, which is the most alarming.
    """
    drawn = []
    for row in reversed(range(rows)):
        low, high = row * EIGHTHS, (row + 1) * EIGHTHS
        here = [
            area
            for area, (bottom, top) in enumerate(zip((0, *tops), tops, strict=False))
            if top > max(low, bottom) and bottom < high
        ]
        if not here:
            drawn.append((" ", NOBODY, NOBODY))
        elif len(here) > 1 and tops[here[-1]] >= high:
            drawn.append((BLOCKS[max(tops[here[0]] - low, 1)], here[0], here[-1]))
        else:
            drawn.append((BLOCKS[min(tops[here[-1]], high) - low], here[-1], NOBODY))
    return tuple(drawn)


def stacked(values: Sequence[float | None], scale: float, most: int) -> tuple[int, ...]:
    """The tops of areas with these values; whatever is not nothing is seen, at least an eighth high."""
    tops, top, total = [], 0, 0.0
    for value in values:
        total += value or 0.0
        if value:
            top = max(top + 1, round(total * scale))
        tops.append(top)
    for area in reversed(range(len(tops))):
        tops[area] = min(tops[area], most)
        most = tops[area] - 1 if values[area] else tops[area]
    return tuple(tops)


def ceiling(value: float, least: float) -> float:
    """The end of a scale: the smallest round number that is not below `value`, nor below `least`."""
    value = max(value, least)
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.9999)


def axis(columns: int) -> list[tuple[int, str]]:
    """The labels below a plot that ends now: (cell, text), such as `-1 min` and `now`, from the right."""
    labels = [(columns - 3, "now")] if columns >= 3 else []
    step = 60 if columns >= 60 else 30
    for ago in range(step, columns * SECONDS, step):
        label = f"-{ago // 60} min" if ago % 60 == 0 else f"-{ago} s"
        at = columns - ago // SECONDS
        if at >= 0 and at + len(label) < columns - 3:
            labels.append((at, label))
    return labels
