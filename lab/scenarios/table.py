"""The scenarios, in the order of the list. One more is one more file in `classics` and one more line here."""

from __future__ import annotations

import difflib
from importlib import import_module

from lab.errors import UserError
from lab.scenarios.model import Scenario

NAMES = (
    "breaker-trip",
    "stampede",
    "boundary-burst",
    "retry-storm",
    "noisy-neighbour",
    "slow-dependency",
    "hot-key",
    "recovery-herd",
    "breaker-flapping",
    "zero-downtime",
    "cascade",
    "metastable",
    "partial-outage",
    "slow-consumer",
)


def load(name: str) -> Scenario:
    """The scenario of that name; raises `UserError` with the nearest one."""
    if name not in NAMES:
        match = difflib.get_close_matches(name.lower()[:60], NAMES, n=1, cutoff=0.4)
        hint = f"did you mean '{match[0]}'?" if match else "they are listed by: lab scenarios"
        raise UserError(f"no scenario is called '{name[:60]}'; {hint}")
    scenario: Scenario = import_module(f"lab.scenarios.classics.{name.replace('-', '_')}").SCENARIO
    return scenario


def all_of_them() -> list[Scenario]:
    return [load(name) for name in NAMES]
