"""Reads what a process appends to its log file.

The children write to files, not into pipes: a pipe that nobody empties (a launcher stopped by Ctrl-Z) would
block the gateway at its next log line.
"""

from __future__ import annotations

import os
from pathlib import Path

MAX_READ = 1_000_000
"""Bytes taken at once; of a longer backlog only the end is shown."""
MAX_LINE = 8_192
"""Bytes of a line; the rest of a longer one becomes further lines."""


class Tail:
    """The lines that are added to the file `path` from now on, also past its rotation to `….1`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def read(self) -> list[str]:
        """The lines that were completed since the last call."""
        data = self._more()
        if self._replaced():
            self._file.close()
            self._file = self.path.open("rb")
            data += self._more()
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE:
            lines.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        return [line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r") for line in lines]

    def close(self) -> None:
        self._file.close()

    def _more(self) -> bytes:
        size = os.fstat(self._file.fileno()).st_size
        if size < self._file.tell():  # truncated
            self._file.seek(0)
        if size - self._file.tell() > MAX_READ:
            self._file.seek(size - MAX_READ)
            self._rest = b""
        return self._file.read(MAX_READ)

    def _replaced(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False  # between the rename and the new file
