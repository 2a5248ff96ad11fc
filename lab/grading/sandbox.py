"""Sandboxes as the grader sees them: where they come from, what they may use, how they ended."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.grading import vocabulary
from lab.grading.inside import jail

PRELOADED = ("asyncio", "lab.model", "lab.exercises.agent", "lab.exercises.serving", "httpx")

FIRST_UID = 61_000
"""Sandboxes of a grader that is root belong to users nobody has; the next slot gets the next number."""
START = 30.0
"""Seconds that the zygote may take to start, on a machine that is busy."""
END = 30.0
"""Seconds until a keeper must have reported the end."""

LACKING = {
    "network": "a submission can reach the network",
    "processes": "processes that a submission leaves behind are hunted down, not shut in",
    "files": "a submission can read the files of this machine that everybody may read",
    "user": "a submission runs with the rights of the user who grades",
    "libraries": "a submission can import only what is loaded already: Python is in a folder closed to it",
    "calls": "a submission can hold memory that no process has, which nothing bounds",
    "limits": "what a submission uses is looked at some times a second, and not bounded by the system",
}
"""What it means where a kind of isolation is not to be had."""


class GraderProblem(Exception):
    """The grader could not do its work; this is never a submission's fault and gives no verdict."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use: seconds, bytes, or how many."""

    wall: float = 12.0
    cpu: float = 6.0
    memory: int = 1 << 30
    """Address space of one process, and what all of them may hold in memory together."""
    output: int = 4 << 20
    """Printed, to standard output and standard error together."""
    disk: int = 64 << 20
    """All files together; they live in memory."""
    file: int = 16 << 20
    files: int = 256
    """Open files of one process."""
    all_files: int = 1024
    """Of all of them: each may be a socket with a full buffer, which is nobody's memory."""
    processes: int = 64
    """Processes and threads together."""

    def data(self) -> dict[str, float]:
        return {**vars(self), "cpu": math.ceil(self.cpu)}


@dataclass(frozen=True)
class End:
    """How a sandbox ended, told by its keeper."""

    reason: str
    """exit, signal, wall, cpu, memory, files, output, processes, disk, killed or setup."""
    code: int = 0
    """The exit status, or minus the signal's number."""
    output: str = ""
    """The beginning of what was printed."""
    output_bytes: int = 0
    cpu: float = 0.0
    """Seconds of processor time that all its processes used."""

    def sentence(self, limits: Limits) -> str:
        """What happened, for whoever wrote the submission."""
        match self.reason:
            case "wall":
                return f"it was still running after {limits.wall:g} seconds"
            case "cpu":
                return f"it used more than {math.ceil(limits.cpu)} seconds of processor time"
            case "memory":
                return f"it used more than {limits.memory >> 20} MiB of memory"
            case "files":
                return f"it had more than {limits.all_files} files and sockets open"
            case "output":
                return f"it printed more than {limits.output >> 20} MiB"
            case "processes":
                return f"it had more than {limits.processes} processes and threads"
            case "disk":
                return f"it wrote more than {limits.disk >> 20} MiB, or too many files"
            case "signal":
                return f"the Python process crashed (signal {-self.code})"
            case "exit":
                return f"it ended the Python process (exit status {self.code})"
        return "it closed the connection to the grader"


class Box(Protocol):
    """One sandboxed process, however it is made. `channel` is the socket on which its runtime answers."""

    channel: socket.socket
    limits: Limits

    def end(self, *, patience: float = 0.0) -> End:
        """Make sure that nothing of it lives, and say how it ended.

        `patience` in seconds: how long it is left to its own fate first.
        """


class Boxes(Protocol):
    """Where they come from. `isolation` is the kinds of `LACKING` that are not lacking."""

    isolation: frozenset[str]

    def start(self, work: Path, file: str, limits: Limits) -> Box:
        """A fresh one with a copy of the folder `work` as its home, in which `file` is the submission."""


class Sandbox:
    """One sandboxed process. `channel` is the socket on which its runtime answers."""

    def __init__(self, channel: socket.socket, report: socket.socket, limits: Limits) -> None:
        self.channel = channel
        self.limits = limits
        self._report = report
        self._end: End | None = None

    def end(self, *, patience: float = 0.0) -> End:
        """See `Box.end`."""
        if self._end is None:
            try:
                data = self._wait(patience) if patience else None
                if data is None:
                    self._report.shutdown(socket.SHUT_WR)
                    data = self._wait(END)
            finally:
                self.channel.close()
                self._report.close()
            if not data:
                raise GraderProblem("a sandbox's keeper did not report its end")
            told = json.loads(data)
            self._end = End(told["end"], told["code"], told["output"], told["output_bytes"], told["cpu"])
        return self._end

    def _wait(self, seconds: float) -> bytes | None:
        """The whole report; None where it does not begin within `seconds`."""
        self._report.settimeout(seconds)
        data = b""
        try:
            while chunk := self._report.recv(65_536):
                data += chunk
        except TimeoutError:
            return None
        except OSError:
            return b""
        return data


class Sandboxes:
    """Makes sandboxes. To be closed.

    `slot` tells graders apart that run side by side. `isolation` names what is to be tried (see `LACKING`);
    "landlock" is "files" without mounts, which is what "files" becomes where there are none.
    `sources` are Python texts, the starters' and solutions': what they import of the lab exists in the
    sandboxes, and what they import at all is loaded ahead. Raises `GraderProblem`.
    """

    def __init__(
        self,
        *,
        slot: int = 0,
        isolation: Sequence[str] = ("processes", "files", "user", "calls"),
        sources: Sequence[str] = (),
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lab-grade-"))
        self._folder.chmod(0o755)
        self._empty = self._folder / "root"
        self._empty.mkdir()
        library = self._folder / "library"
        imported = vocabulary.write(library, sources)
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0 and not in_user_namespace()
        uid = FIRST_UID + slot
        options = {
            "library": str(library),
            "empty": str(self._empty),
            "owner": (uid, uid) if is_root else None,
            "isolation": list(isolation),
            "preload": [*PRELOADED, *imported],
        }
        zygote = str(Path(jail.__file__).with_name("zygote.py"))
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            # -P, -s: neither the current folder nor the user's has a say in what is loaded. The order in sets
            # is the same each time; -I would take the variable for that away.
            [sys.executable, "-P", "-s", "-B", "-Xutf8", zygote, str(theirs.fileno()), json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"},
        )
        theirs.close()
        self._control.settimeout(START)
        try:
            hello = self._control.recv(65_536)
        except OSError:
            hello = b""
        if not hello:
            self.close()
            raise GraderProblem("the process that sandboxes come from did not start")
        told = json.loads(hello)
        self.isolation = frozenset(told["isolation"]) | {"limits"}
        self.owner: tuple[int, int] | None = tuple(told["owner"]) if told["owner"] else None
        """User and group of the sandboxes; None: those of the grader."""

    @property
    def pid(self) -> int:
        """The process that sandboxes come from."""
        return self._process.pid

    def __enter__(self) -> Sandboxes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, work: Path, file: str, limits: Limits) -> Sandbox:
        """See `Boxes.start`. Raises `GraderProblem`."""
        ours, channel = socket.socketpair()
        report, keeper = socket.socketpair()
        with channel, keeper:
            request = json.dumps({"work": str(work), "file": file, "limits": limits.data()}).encode()
            try:
                socket.send_fds(self._control, [request], [channel.fileno(), keeper.fileno()])
                self._control.recv(1)  # taken: the next request will not be mixed up with this one
            except OSError as error:
                raise GraderProblem(f"the process that sandboxes come from is gone ({error})") from None
        return Sandbox(ours, report, limits)

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def in_user_namespace() -> bool:
    """True where "root" is only the root of a user namespace of our own."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    except OSError:
        return False
