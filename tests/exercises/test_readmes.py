"""The READMEs of the exercises, taken at their word: a student who has solved them types what they say.

A line after `$ ` is run as it stands there; where lines are shown below it, they come out (`…` is anything,
measured numbers may be others). What serves goes on in a terminal of its own: `lab up`, a service, one's own
program. `lab up` in a sentence is what runs from there on. Ports 8000 to 8009 are swapped for ten free ones,
and what would be repeated for ever is repeated nine times.
"""

from __future__ import annotations

import itertools
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.exercises.catalog import Exercise
from lab.exercises.catalog import exercises as course
from lab.launcher import ports
from tests.exercises.conftest import ROOT, Clone

COURSE = course()
UP = r"(?:[A-Z_]+=\S+ )*lab up"
PARTS = re.compile(
    rf"^```console\n(?P<session>.*?)^```$"
    rf"|Write this to `(?P<file>[\w.]+)`:\n\n```yaml\n(?P<text>.*?)^```$"
    rf"|`(?P<up>{UP})`",
    re.MULTILINE | re.DOTALL,
)
SERVING = (
    (rf"{UP}$|.*; {UP}$", "Ctrl-C"),
    (r"lab watch", "watching"),
    (r"uvicorn ", "running on"),
    (r"python exercises/", "running on"),
    (r"python -m lab\.exercises\.sockets", "Ctrl-C"),
)
"""What goes on in a terminal of its own, and what it says when it is ready."""
NOT_ZERO = {r"curl -m ": 28, r".*/ws/refuse/": 1}
"""Which commands are meant to end with another status: patience at an end, a WebSocket that never opens."""

pytestmark = pytest.mark.skipif(
    not shutil.which("bash") or not shutil.which("curl"), reason="the READMEs use bash and curl"
)


class Terminal:
    """A command that goes on, and what it says."""

    def __init__(self, command: str, clone: Clone) -> None:
        self.command = command
        self.said: list[str] = []
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=clone.root,
            env=clone.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def until(self, ready: str) -> int | None:
        """Wait until it says `ready`; its exit status where it ends before."""
        while (line := self._lines.get(timeout=120)) is not None:
            self.said.append(line)
            if ready in line:
                return None
        return self._process.wait(120)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(60)
        self._reader.join(60)


class Student:
    """Types what a README says."""

    def __init__(self, clone: Clone, base: int) -> None:
        self._clone = clone
        self._base = base
        self._up = "lab up"
        self._terminals: dict[str, Terminal] = {}
        commands = clone.root / "bin"
        commands.mkdir()
        (commands / "lab").write_text('#!/bin/sh\nexec python -m lab "$@"\n', encoding="utf-8")
        (commands / "lab").chmod(0o755)
        path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
        clone.environ |= {
            "PATH": path,
            "LAB_PORT_BASE": str(base),
            "PORT": str(base),
            "SERVICE_A_URL": f"http://127.0.0.1:{base + 1}",
            "SERVICE_B_URL": f"http://127.0.0.1:{base + 2}",
        }

    def follow(self, readme: str) -> int:
        """Do all that it says; how much was typed."""
        typed = 0
        for part in PARTS.finditer(readme):
            if part["up"]:
                self._up = part["up"]
            elif part["file"]:
                (self._clone.root / part["file"]).write_text(part["text"], encoding="utf-8")
            else:
                for line in re.split(r"^\$ ", part["session"], flags=re.MULTILINE)[1:]:
                    command, _, shown = line.partition("\n")
                    self._type(command, shown.strip())
                    typed += 1
        return typed

    def _type(self, command: str, shown: str) -> None:
        if re.search(r"localhost|lab plug|\.lab/logs|exercises\.sockets", command) and not self._terminals:
            self._serve(self._up, "Ctrl-C")
        for usual, ready in SERVING:
            if re.match(usual, command):
                self._serve(command, ready)
                return
        expected = next((status for usual, status in NOT_ZERO.items() if re.match(usual, command)), 0)
        status, said = self._run(command)
        if ".lab/logs" in command:  # a line is written when its exchange is over, in a thread
            deadline = time.monotonic() + 60
            while status and time.monotonic() < deadline:
                time.sleep(0.05)
                status, said = self._run(command)
        assert status == expected, f"$ {command}\n{said}"
        known = [as_pattern(line) for line in shown.splitlines()]
        for line in said.strip().splitlines() if known else ():
            assert any(re.fullmatch(each, line.strip()) for each in known), f"$ {command}\n{said}"
        assert said or not known, f"$ {command}\n(nothing)"

    def _serve(self, command: str, ready: str) -> None:
        if re.search(UP, command):
            self.close()
        terminal = Terminal(self._moved(command), self._clone)
        status = terminal.until(ready)
        if status is None and "watch" not in command:
            self._terminals[command] = terminal
            return
        terminal.close()
        # A configuration with a mistake is refused in one line.
        assert status is None or (status, len(terminal.said)) == (2, 1), f"$ {command}\n{terminal.said}"

    def _run(self, command: str) -> tuple[int, str]:
        command = re.sub(r"while sleep (\S+); do", r"for _ in 1 2 3 4 5 6 7 8 9; do sleep \1;", command)
        ran = subprocess.run(
            ["bash", "-c", self._moved(command)],
            cwd=self._clone.root,
            env=self._clone.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ran.returncode, ran.stdout + (ran.stderr if ran.returncode else "")

    def _moved(self, command: str) -> str:
        """The command on ports of our own."""
        command = command.replace("logs/gateway.log", f"logs/gateway-{self._base}.log")
        command = re.sub(r"(exercises\.sockets)$", r"\1 --port 8003", command)
        return re.sub(r"\b800(\d)\b", lambda match: str(self._base + int(match[1])), command)

    def close(self) -> None:
        for terminal in self._terminals.values():
            terminal.close()
        self._terminals.clear()


def as_pattern(shown: str) -> str:
    """What a line may be where `shown` is in the README."""
    pattern = ".*".join(map(re.escape, shown.strip().split("…")))
    return re.sub(r"\d+\\\.\d+|(?<=ttl=)\d+", r"[\\d.]+", pattern)


@pytest.fixture
def base() -> int:
    """The first of ten ports on which nobody listens."""
    return next(
        first
        for first in itertools.count(20_000 + 10 * (os.getpid() % 1000), 10)
        if all(ports.is_free(first + number) for number in range(10))
    )


@pytest.fixture
def student(clone: Clone, base: int) -> Iterator[Student]:
    for name in ("service_a.py", "service_b.py"):
        shutil.copy(ROOT / name, clone.root / name)
    student = Student(clone, base)
    yield student
    student.close()


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.name)
def test_what_a_readme_says_to_type_does_what_it_says(
    student: Student, clone: Clone, exercise: Exercise
) -> None:
    clone.solve(exercise.name)
    assert student.follow((exercise.folder / "README.md").read_text(encoding="utf-8")) >= 3


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.name)
def test_what_a_readme_names_is_there(exercise: Exercise) -> None:
    readme = (exercise.folder / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link]
    assert links
    assert [link for link in links if not (exercise.folder / link).exists()] == []
    headings = re.findall(r"^## (.*)$", readme, re.MULTILINE)
    assert headings == [
        "The problem in a picture",
        "Read first",
        "The task",
        "Watch it live",
        "Questions to think about",
    ]
