"""Sandboxes that any system can make: a process of its own, watched, and hunted down at the end.

Next to `sandbox` these are little: nothing keeps a submission from reading what the one who grades may read,
from reaching the network, or from ending the grader. They give it an empty temporary home and a clean
environment, a channel that only it can have opened, and bounds on time, memory, processes, files and output
that are looked at some times a second. What is lacking stands in every report.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from lab.grading import vocabulary
from lab.grading.inside import jail, zygote
from lab.grading.sandbox import PRELOADED, End, GraderProblem, Limits

LOOK = 0.1
"""Seconds between two looks at what a submission uses."""
START = 60.0
"""Seconds that a process may take to start, on a machine that is busy."""
HUNTS = 20
"""How often it is looked for what is left: each time others may have been started meanwhile."""
MARK = "LAB_SANDBOX"
"""An environment variable that all processes of one submission inherit: by it the last of them are found."""
NEEDED = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS")
"""What programs need of the environment, on Windows most of all; it says nothing about the one who grades."""
HOMES = ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA")


class PlainSandboxes:
    """Makes them, like `sandbox.Sandboxes`. To be closed."""

    isolation: frozenset[str] = frozenset({"libraries"})

    def __init__(self, *, sources: Sequence[str] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lab-grade-"))
        library = self._folder / "library"
        imported = vocabulary.write(library, sources)
        inside = self._folder / "start"
        inside.mkdir()
        for name in ("alone.py", "jail.py", "runtime.py"):  # so that nothing loaded tells where we are
            shutil.copyfile(Path(jail.__file__).with_name(name), inside / name)
        self._command = [sys.executable, "-P", "-s", "-B", "-X", "utf8", str(inside / "alone.py")]
        self._command += [str(library), *PRELOADED, *imported]
        self._spare: PlainSandbox | None = None

    def __enter__(self) -> PlainSandboxes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, work: Path, file: str, limits: Limits) -> PlainSandbox:
        """A process with a copy of the folder `work` as its home. Raises `GraderProblem`."""
        sandbox = self._spare or PlainSandbox(self._command)
        # The next one loads its libraries while this one is at work.
        self._spare = PlainSandbox(self._command)
        sandbox.begin(work, file, limits)
        return sandbox

    def close(self) -> None:
        if self._spare is not None:
            self._spare.end()
        shutil.rmtree(self._folder, ignore_errors=True)


class PlainSandbox:
    """One submission's process, and two threads that look after it: one reads, one counts."""

    channel: socket.socket

    def __init__(self, command: list[str]) -> None:
        self.limits = Limits()
        self._mark = secrets.token_hex(16)
        self._home = Path(tempfile.mkdtemp(prefix="lab-sandbox-"))
        kept = {name: value for name, value in os.environ.items() if name.upper() in NEEDED}
        self._environment = kept | dict.fromkeys(HOMES, str(self._home)) | {MARK: self._mark}
        self._environment |= {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self._home,
        )
        self._began = time.time()
        self._kept, self._count = b"", 0
        self._reason = ""
        self._cpu = 0.0
        self._seen: set[psutil.Process] = set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._read, daemon=True)]
        self._threads[0].start()
        self._end: End | None = None

    def begin(self, work: Path, file: str, limits: Limits) -> None:
        """Give it its job. Raises `GraderProblem` where it does not take it."""
        self.limits = limits
        shutil.copytree(work, self._home, dirs_exist_ok=True, copy_function=shutil.copyfile)
        token = secrets.token_bytes(32)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            job = {"port": listener.getsockname()[1], "token": token.hex(), "home": str(self._home)}
            # Of processes the system counts all that a user has: that is looked at, and not left to it.
            bounds = {name: value for name, value in limits.data().items() if name != "processes"}
            job |= {"file": file, "environment": self._environment, "limits": bounds}
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(job).encode() + b"\n")
                self._process.stdin.flush()
                self.channel = accepted(listener, token)
            except OSError as error:
                self.end()
                said = self._kept.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
                raise GraderProblem(f"a submission's process does not start: {said[0]}") from None
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self._threads[1].start()

    def end(self, *, patience: float = 0.0) -> End:
        """Make sure that nothing of it lives, and say how it ended; see `sandbox.Sandbox.end`."""
        if self._end is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            if self._process.poll() is None:
                self._stop("killed")
            self._over.set()
            self._hunt()
            code = self._process.wait()
            for thread in self._threads:
                thread.join(5)
            if hasattr(self, "channel"):
                self.channel.close()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            shutil.rmtree(self._home, ignore_errors=True)
            reason = self._reason or ("exit" if code >= 0 else "signal")
            if reason == "signal" and self._cpu > self.limits.cpu - 1:
                reason = "cpu"  # the system was quicker than we
            output = self._kept.decode("utf-8", "replace")
            self._end = End(reason, code, output, self._count, round(self._cpu, 3))
        return self._end

    # -- looking after it ------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what is printed, so that nobody waits for us; keep the beginning."""
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 65_536):
                self._kept += chunk[: zygote.SHOWN - len(self._kept)]
                self._count += len(chunk)
                if self._count > self.limits.output:
                    self._stop("output")

    def _watch(self) -> None:
        until = time.monotonic() + self.limits.wall
        looks = 0
        while not self._over.wait(LOOK):
            looks += 1
            if time.monotonic() > until:
                self._stop("wall")
            elif reason := self._too_much(looks):
                self._stop(reason)

    def _too_much(self, looks: int) -> str:
        """What it uses more of than it may, all its processes together; or nothing."""
        memory, cpu, count = 0, 0.0, 0
        self._seen.update(self._tree())
        for process in self._seen:
            with contextlib.suppress(psutil.Error), process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
                count += process.num_threads()
        self._cpu = max(self._cpu, cpu)
        if memory > self.limits.memory:
            return "memory"
        if cpu > self.limits.cpu + 1:
            return "cpu"
        if count > self.limits.processes + 8:  # ours among them: the channel's and the end's
            return "processes"
        return zygote.fills(self._home, self.limits.disk) if looks % 5 == 0 else ""

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def _stop(self, reason: str) -> None:
        """End its processes because of this; what was first is what counts."""
        self._reason = self._reason or reason
        for process in [*self._tree(), *list(self._seen)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _hunt(self) -> None:
        """End what has left its family: whatever has begun since, and bears the mark."""
        for _ in range(HUNTS):
            found = [process for process in psutil.process_iter() if self._is_ours(process)]
            if not found:
                return
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(found, 1)

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == self._process.pid or process.create_time() < self._began - 2:
                return False
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(MARK) == self._mark
        return False


def accepted(listener: socket.socket, token: bytes) -> socket.socket:
    """The connection of the one who knows the token; whoever else connects is sent away. Raises OSError."""
    until = time.monotonic() + START
    while True:
        listener.settimeout(max(0.01, until - time.monotonic()))
        sock, _ = listener.accept()
        sock.settimeout(max(0.01, until - time.monotonic()))
        with contextlib.suppress(OSError):
            said = b""
            while len(said) < len(token) and (chunk := sock.recv(len(token) - len(said))):
                said += chunk
            if hmac.compare_digest(said, token):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        sock.close()
