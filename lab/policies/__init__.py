"""The policies: one file (or folder) each, with a protocol, a core without I/O, and a thin stage.

A *core* is the algorithm: plain, synchronous, the time is an argument. A *stage* puts a core into the
pipeline: `async (exchange, call_next) -> Response`. The configuration's `use` names the core: a short name
(`sliding_window`) or `package.module:Class`, which may be a student's own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from lab.model import Clock, Emit, Exchange, Handler, Response, ignore
from lab.settings import Section, ServiceSettings

Guard = Callable[[Callable[..., None]], Callable[..., None]]
"""Takes a function and gives one that raises nothing and comes back."""


def unguarded(function: Callable[..., None]) -> Callable[..., None]:
    """The `Guard` of those who need none: the function itself."""
    return function


@dataclass(frozen=True)
class Context:
    """What stages need from the world; a test passes a fake clock and a list to emit into."""

    services: Mapping[str, ServiceSettings] = field(default_factory=dict)
    """The services as they are now; it changes while the gateway runs."""
    clock: Clock = time.monotonic
    """Seconds that only ever grow: limits, breakers, deadlines."""
    wall: Clock = time.time
    """Unix seconds: only for what HTTP dates need."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    emit: Emit = ignore
    guard: Guard = unguarded
    """For what a stage lets run where nobody could catch a mistake of its core: at the end of an exchange. A
    plugged-in class that makes one there is taken out at once, as one that makes it on the way."""


class Stage(Protocol):
    """A policy as the pipeline holds it."""

    section: ClassVar[str]
    """The configuration section that switches, chooses and tunes it."""

    def __init__(self, options: Any, context: Context, *, core: Any = None) -> None:
        """`core` replaces what `options.use` names; None builds that."""

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response: ...

    def snapshot(self) -> dict[str, Any]:
        """What a viewer wants to know now, as JSON-ready values; cheap, bounded in size."""

    def adopt(self, old: Self) -> None:
        """Go on with the live state (counters, entries) of a predecessor of the same algorithm."""


__all__ = ["Context", "Section", "Stage"]
