"""The table of screens. One more screen is one more entry; its module is imported when it is first shown."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lab.dashboard.screens.base import LabScreen


@dataclass(frozen=True, slots=True)
class Entry:
    """A screen's key, mode, title, and where its class is."""

    key: str
    mode: str
    title: str
    where: str
    """`package.module:Class`"""

    def make(self) -> LabScreen:
        """A new screen."""
        module, _, name = self.where.partition(":")
        return cast("LabScreen", getattr(importlib.import_module(module), name)())


def load() -> None:
    """Import all of them; what is imported when it is first shown lets that wait."""
    for entry in SCREENS:
        importlib.import_module(entry.where.partition(":")[0])


SCREENS: list[Entry] = [
    Entry("1", "overview", "Overview", "lab.dashboard.screens.overview:Overview"),
    Entry("2", "clients", "Clients", "lab.dashboard.screens.clients:Clients"),
    Entry("3", "breakers", "Breakers", "lab.dashboard.screens.breakers:Breakers"),
    Entry("4", "cache", "Cache", "lab.dashboard.screens.cache:Cache"),
    Entry("5", "policies", "Policies", "lab.dashboard.screens.policies:Policies"),
    Entry("6", "processes", "Processes", "lab.dashboard.screens.processes:Processes"),
    Entry("7", "faults", "Faults", "lab.dashboard.screens.faults:Faults"),
    Entry("8", "load", "Load", "lab.dashboard.screens.load:Load"),
    Entry("9", "scenarios", "Scenarios", "lab.dashboard.screens.scenarios:Scenarios"),
    Entry("0", "events", "Events", "lab.dashboard.screens.events:Events"),
    Entry("x", "exercises", "Exercises", "lab.dashboard.screens.exercises:Exercises"),
    Entry("v", "present", "Present", "lab.dashboard.screens.present:Present"),
]
