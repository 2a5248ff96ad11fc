"""Reading a page of the documentation: its fenced blocks, its tables, the sessions it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


def blocks(text: str, kind: str) -> list[str]:
    """The insides of all blocks fenced as ```kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column is called `first`, code without its backticks."""
    table = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-|: ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, f"there is no table that begins with '{first}'"
    cells = [row.strip("|").split(" | ") for row in table[1].splitlines()]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row] for row in cells]


def sessions(text: str) -> Iterator[tuple[list[str], str]]:
    """Each `$ command` of the console blocks, in words, with a pattern for what it shows (… is anything)."""
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield shlex.split(command), ".*".join(map(re.escape, shown.strip().split("…")))


def files(text: str) -> dict[str, str]:
    """The Python blocks that say in their first line which file they are."""
    found = {}
    for block in blocks(text, "python"):
        if name := re.match(r"# (\S+\.py)\n", block):
            found[name[1]] = block
    return found


def patch(root: Path, text: str) -> int:
    """Apply the `diff` blocks, each a place in one file with lines added; how many there were."""
    changes = blocks(text, "diff")
    for change in changes:
        head, *lines = change.splitlines()
        path = root / head.removeprefix("--- ")
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{path.name} has not this place once:\n{before}"
        after = "".join(f"{line[1:]}\n" for line in lines)
        path.write_text(source.replace(before, after), encoding="utf-8")
    return len(changes)
