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
GLANCE_MS = 150


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


Stamp = tuple[int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes with each save; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Watched:
    """The file that is being worked on, and how it was when it was last looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = stamp(path)

    def look(self) -> None:
        """Call this before the file is checked: what is saved from now on is news."""
        self.seen = stamp(self.path)

    def news(self) -> Event | None:
        now = stamp(self.path)
        if now == self.seen:
            return None
        self.seen = now
        return Event(Kind.SAVED if now is not None else Kind.GONE, self.path)


def events(root: Path, watched: Watched, stop: threading.Event | None = None) -> Iterator[Event]:
    """What happens below `root`, from the last `look` of `watched` on; its `path` may be exchanged.

    The system's notifications wake this up, and so does a glance at the one file a few times a second: where
    there are no notifications (network folders, some containers), or one gets lost, a save is still seen.
    """
    changes = watchfiles.watch(
        root,
        watch_filter=None,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        stop_event=stop,
        rust_timeout=GLANCE_MS,
        yield_on_timeout=True,
        raise_interrupt=True,
        poll_delay_ms=GLANCE_MS,
        ignore_permission_denied=True,
    )
    for batch in changes:
        news = watched.news()
        if news is not None:
            yield news
            continue
        for path in sorted({Path(path) for _, path in batch}):
            if (event := told(path, watched.path)) is not None:
                yield event
                break


def told(path: Path, current: Path) -> Event | None:
    """What a change of a file other than `current` means, None where it means nothing."""
    if path.name == "exercise.py" and path != current and path.is_file():
        return Event(Kind.OTHER, path)
    if path.name in ("checks.py", "hints.md"):
        return Event(Kind.CHECKS, path)
    return None
