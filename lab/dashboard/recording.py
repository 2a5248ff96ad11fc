"""Recordings: what the feed said, thinned to a second, as JSON lines; and the feed that plays one again.

The first line names the format. Snapshots and events are kept whole, of the ticks one a second with at most
`SAMPLE` requests. A recording never grows faster than `RATE` bytes a second, whatever the gateway does: what
would be too much is left out, requests first.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, Any

from lab.dashboard.state import Message, View
from lab.errors import UserError

FORMAT = {"type": "recording", "format": 1, "of": "gateway-lab"}
RATE = 8_000
"""Bytes a second: ten minutes are below 5 MB."""
HEAD = 100_000
"""Bytes that a recording may have at once: the first snapshot with its 200 events."""
SAMPLE = 5
SELDOM = 20.0
"""Seconds between two ticks that keep `LARGE`."""
LARGE = ("policies", "clients", "paths")
"""What makes most of a tick and changes little."""
SPEEDS = (0.25, 1.0, 4.0, 16.0)


class Recorder:
    """Writes messages to a file until it is closed. Raises `UserError` where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.begun = False
        """Whether a snapshot is in it."""
        self.left_out = 0
        """Messages that would have been too much."""
        self._requests: list[Any] = []
        self._first: float | None = None
        self._last_second: int | None = None
        self._last_large = float("-inf")
        try:
            self._file: IO[str] = path.open("x", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: a recording cannot be made there: {error.strerror}") from None
        self._write(FORMAT)

    def take(self, message: Message) -> None:
        """Record one message of the feed."""
        if message.get("type") == "snapshot":
            self.begun = True
        elif not self.begun:
            return  # figures without a beginning cannot be shown
        now = float(message.get("time", 0.0))
        if self._first is None:
            self._first = now
        if message.get("type") == "tick":
            self._requests = (self._requests + message.get("requests", []))[-SAMPLE:]
            if math.floor(now) == self._last_second:
                return
            self._last_second = math.floor(now)
            message = message | {"requests": self._requests}
            if 0 <= now - self._last_large < SELDOM:
                message = {name: value for name, value in message.items() if name not in LARGE}
            else:
                self._last_large = now
            self._requests = []
        room = HEAD + RATE * max(now - self._first, 0) - self.bytes
        if not self._fits(message, room):
            message = message | {"requests": []} if "requests" in message else message
            if not self._fits(message, room):
                self.left_out += 1
                return
        self._write(message)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _fits(self, message: Message, room: float) -> bool:
        return len(json.dumps(message, separators=(",", ":"))) < room

    def _write(self, message: Message) -> None:
        line = json.dumps(message, separators=(",", ":")) + "\n"
        self.bytes += len(line)
        self._file.write(line)
        self._file.flush()


def read(path: Path) -> Iterator[Message]:
    """The messages of a recording. Raises `UserError` where it is none; a cut last line is left out."""
    view = View()
    try:
        with path.open(encoding="utf-8") as file:
            if json.loads(file.readline() or "{}") != FORMAT:
                raise ValueError
            for number, line in enumerate(file, 2):
                try:
                    message = json.loads(line)
                except ValueError:
                    if line.endswith("\n"):
                        raise UserError(f"{path}: line {number} is not JSON") from None
                else:
                    if not _folds(message, view):
                        raise UserError(f"{path}: line {number} is no message of the feed")
                    yield message
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: is no recording of the dashboard") from None


def _folds(message: Any, view: View) -> bool:
    """Whether a View can take it: a file may say anything."""
    try:
        view.fold(message)
        return math.isfinite(message["time"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


class Replay:
    """A feed that plays a recording, with pause, single steps and speeds."""

    def __init__(self, path: Path, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.messages = list(read(path))
        self.speed = 1.0
        self.paused = False
        self._sleep = sleep
        self._go = asyncio.Event()
        self._go.set()
        self._steps = 0

    async def __call__(self, status: Callable[[str, str], None]) -> AsyncIterator[Message]:
        """The messages at the pace at which they came, divided by the speed; ends with the recording."""
        status("replay", "")
        before = None
        for message in self.messages:
            now = float(message.get("time", 0.0))
            if before is not None and not self._steps:
                # A gap in the recording (a gateway that was away) is not waited for.
                await self._sleep(min(max(now - before, 0), 2.0) / self.speed)
            await self._go.wait()
            before = now
            yield message
            if message.get("type") == "tick" and self._steps:
                self._steps -= 1
                if not self._steps:
                    self._go.clear()
        status("replay", "the end")

    def pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self._steps = 0
        if self.paused:
            self._go.clear()
        else:
            self._go.set()

    def step(self) -> None:
        """On by one second; stands still afterwards."""
        self.paused = True
        self._steps += 1
        self._go.set()

    def change_speed(self, step: int) -> None:
        """The next higher (1) or lower (-1) speed."""
        at = SPEEDS.index(self.speed) + step
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]
