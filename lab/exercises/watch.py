"""Watches the exercises' files: what happens is an event, and one `match` says what is done about it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
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
    NOTHING = auto()
    """A moment has passed: time for what has to be looked at now and then."""


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
    """The file that is being worked on, and how it and those before it were when last looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = {path: stamp(path)}

    def look(self) -> None:
        """Call this before the file is checked: what is saved from now on is news."""
        self._seen[self.path] = stamp(self.path)

    def news(self) -> Event | None:
        now = stamp(self.path)
        if now == self._seen.get(self.path):
            return None
        self._seen[self.path] = now
        return Event(Kind.SAVED if now is not None else Kind.GONE, self.path)

    def told(self, paths: Collection[Path]) -> Event | None:
        """What notifications of these files mean beside `news`, None where nothing.

        A notification may come late, when the glance has seen the save already and the next exercise is being
        worked on: it is no reason to go back. Of several other exercises the one saved last counts.
        """
        others = [path for path in paths if path.name == "exercise.py" and path != self.path]
        fresh = [path for path in others if stamp(path) not in (None, self._seen.get(path))]
        if fresh:
            return Event(Kind.OTHER, max(fresh, key=lambda path: (stamp(path) or (0, 0), path)))
        course = [path for path in paths if path.name in ("checks.py", "hints.md")]
        return Event(Kind.CHECKS, min(course)) if course else None


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
        changed = {Path(path) for _, path in batch}
        yield watched.news() or watched.told(changed) or Event(Kind.NOTHING, watched.path)
