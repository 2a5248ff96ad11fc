"""Watches the exercises' files: what happens is an event, and one `match` says what is done about it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import watchfiles

DEBOUNCE_MS = 60
"""An editor saves in several steps; what comes within this time is one event."""
STEP_MS = 20


class Kind(Enum):
    """What can happen."""

    SAVED = auto()
    """The file that is being worked on was written."""
    OTHER = auto()
    """Another exercise's file was written: whoever does that works on that one now."""
    CHECKS = auto()
    """The checks or the hints were changed, by someone who writes exercises."""
    GONE = auto()
    """The file that is being worked on was deleted or moved."""


@dataclass(frozen=True)
class Event:
    kind: Kind
    path: Path


def events(root: Path, current: list[Path], stop: threading.Event | None = None) -> Iterator[Event]:
    """What happens below `root`; `current[0]` is the file that is being worked on, and may be exchanged.

    Uses the system's notifications; where there are none (network folders, some containers) setting
    WATCHFILES_FORCE_POLLING makes it look three times a second instead.
    """
    changes = watchfiles.watch(
        root,
        watch_filter=None,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        stop_event=stop,
        raise_interrupt=True,
        poll_delay_ms=150,
        ignore_permission_denied=True,
    )
    for batch in changes:
        seen = sorted({Path(path) for _, path in batch})
        for path in seen:
            event = told(path, current[0])
            if event is not None:
                yield event
                break


def told(path: Path, current: Path) -> Event | None:
    """What a change of `path` means, None where it means nothing."""
    if path == current or path.resolve() == current:
        return Event(Kind.SAVED if path.is_file() else Kind.GONE, current)
    if path.name == "exercise.py" and path.is_file():
        return Event(Kind.OTHER, path)
    if path.name in ("checks.py", "hints.md"):
        return Event(Kind.CHECKS, path)
    return None
