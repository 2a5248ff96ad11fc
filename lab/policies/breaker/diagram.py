"""The state diagram, drawn from the table: `python -m lab.policies.breaker.diagram` renews it in the docs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from lab.policies.breaker.states import TABLE, Event, State

PAGE = Path(__file__).parents[3] / "docs" / "policies" / "breaker.md"
BEGIN = "<!-- drawn from lab/policies/breaker/states.py; renew: python -m lab.policies.breaker.diagram -->\n"
END = "<!-- end of the drawing -->\n"


def draw(table: Mapping[tuple[State, Event], State] = TABLE) -> str:
    """The table as a Mermaid state diagram and as a Markdown table; a dash is an event that cannot happen."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", "    [*] --> closed"]
    lines += [f"    {state} --> {after}: {event}" for (state, event), after in table.items()]
    lines += ["```", ""]
    events = get_args(Event)
    lines.append("| state | " + " | ".join(events) + " |")
    lines.append("|---" * (len(events) + 1) + "|")
    for state in get_args(State):
        cells = [table.get((state, event), "–") for event in events]
        lines.append(f"| **{state}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def renew(text: str) -> str:
    """A page's text with the drawing between its marks made anew. Raises ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return before + BEGIN + draw() + END + after


def main(arguments: Sequence[str]) -> int:
    page = Path(arguments[0]) if arguments else PAGE
    try:
        page.write_text(renew(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        print(f"{page}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
