"""Every row of docs/wire.md has its tests, its line there, and a broken gateway that it was tried on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.wire.broken.variants import VARIANTS
from tests.wire.wire import ROOT

ROWS = set(range(1, 65))
TESTS = {
    name
    for file in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^def (test_row_\d+_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_every_row_has_a_test() -> None:
    assert {int(name.split("_")[2]) for name in TESTS} == ROWS


def test_every_row_has_its_line_in_the_docs_and_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\d+) \| .+ \| `(\w+)` \|$", text, re.MULTILINE)
    assert [int(row) for row, _ in lines] == sorted(ROWS)
    for row, name in lines:
        assert name in TESTS, name
        assert name.startswith(f"test_row_{row}_")


def test_every_row_has_a_broken_gateway_to_be_tried_on() -> None:
    """`python -m tests.wire.broken` tries them."""
    assert set(VARIANTS) == ROWS
