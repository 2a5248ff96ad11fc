"""What a scenario is, as data: steps, what must be seen after each, and questions to ask before.

    Scenario ── script(cured) ──▶ [ Step: say, do, expect ]  played off and on
        └───── contrast: what must differ between the two plays

A scenario's file states what happens; how it is played is in `play.py` and `engine.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.scenarios.play import Play
    from lab.scenarios.recording import Recording

Figures = dict[str, float]
"""What a play measured, by name: `asked of the service` → 40."""


@dataclass(frozen=True)
class Expect:
    """Something that must be seen once its step is done.

    `check` looks at the recording of the play so far. It is asked again whenever the feed brings something,
    until `by` seconds after the step: the feed may be a moment behind the answers. It speaks of orders and
    counts, never of how long something took, so that a loaded machine changes nothing.
    """

    what: str
    check: Callable[[Recording], bool]
    by: float = 3.0


@dataclass(frozen=True)
class Step:
    """A part of a play: what is said, what is done, and what must then be seen."""

    say: str
    do: Callable[[Play], Awaitable[None]]
    expect: Sequence[Expect] = ()
    within: float = 10.0
    """Seconds that `do` may take; more means that what it waits for never came."""


@dataclass(frozen=True)
class Question:
    """Asked before the scenario is played: predict, then observe."""

    ask: str
    answer: str


@dataclass(frozen=True)
class Contrast:
    """What must differ between the play without the cure and the one with it."""

    what: str
    check: Callable[[Figures, Figures], bool]
    """Gets the figures without and with the cure."""


@dataclass(frozen=True)
class Scenario:
    """A failure that repeats itself on demand."""

    name: str
    title: str
    story: str
    """What happens in production, two or three sentences."""
    cure: str
    """What `--cure on` switches on, a few words."""
    source: str
    """Who described it."""
    script: Callable[[bool], Sequence[Step]]
    """The steps, without the cure (False) and with it (True)."""
    contrast: Sequence[Contrast]
    questions: Sequence[Question]
    look_at: str
    """Where in the dashboard it shows."""
    policies: Callable[[bool], dict[str, dict[str, Any]]] = field(default=lambda cured: {})
    """Section → `{"enabled", "use", "options"}`, on top of `play.PLAIN`."""
    seed: int = 1
    """For whatever is drawn at random: `Play.dice`, faults with a probability."""
    many_clients: bool = False
    """It speaks for many clients (`Play.client`), which not every gateway that runs can tell apart."""
