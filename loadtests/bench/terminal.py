"""A program in a pseudo-terminal (Linux, macOS): keys in, and what it paints, with the time it came at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence

ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[ -/]*[0-OQ-Z\\^-~])"
)
"""What a program sends besides text (ECMA-48 §5.4; operating system commands and device control strings)."""
OVERLAP = 80
"""Letters that are looked at again with what comes next: a word may be cut in two."""

Seen = Callable[[float, str], None]


class Terminal:
    """A program that believes to have a terminal of `columns` × `rows`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, columns: int = 120, rows: int = 40
    ) -> None:
        self.started = time.monotonic()
        self.bytes = 0
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execvpe(command[0], list(command), dict(env))
        threading.Thread(target=self._read, daemon=True).start()

    def on_text(self, seen: Seen) -> None:
        """Call `seen(time, text)` from another thread: what is painted, and a little of what was before."""
        with self._lock:
            self._seen.append(seen)

    def when(self, pattern: str) -> Painted:
        """The first time from now on at which something that matches `pattern` is painted."""
        painted = Painted(re.compile(pattern))
        self.on_text(painted.look)
        return painted

    def press(self, keys: str) -> float:
        """Type; when that was."""
        now = time.monotonic()
        os.write(self._screen, keys.encode())
        return now

    def close(self, seconds: float = 10.0) -> None:
        """Press q and wait for the end; what does not end is killed."""
        with contextlib.suppress(OSError):
            os.write(self._screen, b"q")
        until = time.monotonic() + seconds
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                until = float("inf")
            time.sleep(0.02)

    def _read(self) -> None:
        raw = shown = ""
        with contextlib.suppress(OSError):
            while chunk := os.read(self._screen, 65_536):
                now = time.monotonic()
                self.bytes += len(chunk)
                raw += chunk.decode("utf-8", "replace")
                whole, cut, rest = raw.rpartition("\x1b")
                # The last escape may be incomplete: it waits for what comes next.
                if cut and not ESCAPES.match(cut + rest):
                    ready, raw = whole, cut + rest
                else:
                    ready, raw = raw, ""
                shown = shown[-OVERLAP:] + ESCAPES.sub("", ready)
                with self._lock:
                    for seen in self._seen:
                        seen(now, shown)


class Painted:
    """Whether and when a pattern was painted."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.time: float | None = None
        self._pattern = pattern
        self._event = threading.Event()

    def look(self, now: float, text: str) -> None:
        if self.time is None and self._pattern.search(text):
            self.time = now
            self._event.set()

    def wait(self, seconds: float = 30.0) -> float:
        """When it was painted. Raises TimeoutError where it is not within so many seconds."""
        if not self._event.wait(seconds) or self.time is None:
            raise TimeoutError(f"{self._pattern.pattern!r} was not painted within {seconds:g} s")
        return self.time
