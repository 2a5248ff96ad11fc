"""The hints of an exercise: `hints.md`, whose second-level headings are their keys.

`## 1`, `## 2`, … are graded, the last almost gives it away. `## mistake: KEY` is for those whose last check
recognised that mistake; it comes before the graded ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab.exercises.progress import Entry


def read(path: Path) -> dict[str, str]:
    """Key → text, in the file's order."""
    parts = re.split(r"^## +(.+?) *$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {key: text.strip() for key, text in zip(parts[::2], parts[1::2], strict=True)}


def choose(hints: dict[str, str], entry: Entry) -> str:
    """The key of the next hint: the one for the last mistake, then the graded ones, then the last again."""
    recognised = f"mistake: {entry.mistake}"
    if recognised in hints and recognised not in entry.hints:
        return recognised
    graded = [key for key in hints if key.isdecimal()]
    return next((key for key in graded if key not in entry.hints), graded[-1])
