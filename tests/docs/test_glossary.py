"""docs/glossary.md: every place that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.page import DOCS, ROOT

PAGE = (DOCS / "glossary.md").read_text(encoding="utf-8")
ENTRIES = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| term")
]
REQUIRED = {
    *("policy", "stage", "core", "exchange", "upstream", "edge", "service", "instance", "client", "identity"),
    *("snapshot", "fault", "scenario", "exercise", "check", "verdict", "submission", "half-open", "bulkhead"),
    *("circuit breaker", "jitter", "goodput", "coordinated omission", "tail latency"),
}


def names(path: Path) -> set[str]:
    """What a module defines at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry[0] for entry in ENTRIES])
def test_a_term_lives_where_it_says(entry: list[str]) -> None:
    term, meaning, where = entry
    assert meaning.endswith(".")
    places = re.findall(r"(?:`(\w+)` in )?\[([^]]+)\]\(([^)]+)\)", where)
    assert places, f"{term} has no place"
    for symbol, shown, link in places:
        path = (DOCS / link).resolve()
        assert path == ROOT / shown.replace("\\", "")
        assert path.is_file()
        assert not symbol or symbol in names(path), f"{shown} has no {symbol}"


def test_the_terms_are_in_order_and_stand_once() -> None:
    terms = [entry[0] for entry in ENTRIES]
    assert set(terms) >= REQUIRED
    assert len(terms) == len(set(terms))
    for part in PAGE.split("\n## ")[1:]:
        inside = [term for term in terms if f"\n| {term} |" in part]
        assert inside == sorted(inside, key=str.lower)
