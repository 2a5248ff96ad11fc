"""Runs the checks of an exercise in worker processes and puts their messages together to a report.

A worker is spent by one run, so nothing that a submission leaves behind reaches the next. A runner that is
kept (as `lab watch` does) has the next worker ready before it is needed: from a saved file to its verdict
takes the checks' own time. With `reuse`, for files that are known to be harmless, one worker does them all
until one of them ends it; what they print is not kept.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.exercises import kit
from lab.exercises.catalog import Exercise
from lab.exercises.worker import GRACE, LOAD

PRINTED = 4000
"""Characters of a submission's output that are kept."""
READY = 30.0
"""Seconds that a worker may take to start, on a machine that is busy."""


@dataclass
class Report:
    """What the checks of one exercise said."""

    exercise: Exercise
    file: Path
    results: list[kit.Result]
    problem: str = ""
    """Why the file could not be loaded; then no check was run."""
    printed: str = ""
    """The beginning of what the submission printed."""
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results)

    @property
    def maximum(self) -> int:
        return self.exercise.points

    @property
    def passed(self) -> bool:
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def mistake(self) -> str:
        """The first known mistake that was recognised, or empty."""
        return next((result.mistake for result in self.results if result.mistake), "")


class Worker:
    """One worker process and the messages that come from it."""

    def __init__(self, exercise: Exercise) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "lab.exercises.worker", str(exercise.number)],
            cwd=exercise.folder.parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.printed = ""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._listen, self._collect)]
        for reader in self._readers:
            reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._messages.put(json.loads(line))
            except ValueError:
                break
        self._messages.put(None)

    def _collect(self) -> None:
        assert self._process.stderr is not None
        while chunk := self._process.stderr.read1(65536):  # type: ignore[attr-defined]
            if len(self.printed) < PRINTED:
                self.printed += chunk.decode("utf-8", "replace")

    def send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: that is the next message

    def next(self, timeout: float) -> dict[str, Any] | None:
        """The next message; None where it has ended. Raises `queue.Empty`."""
        return self._messages.get(timeout=timeout)

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass


class Runner:
    """Checks submissions of one exercise. To be closed."""

    def __init__(self, exercise: Exercise, *, keep_spare: bool = False, reuse: bool = False) -> None:
        self.exercise = exercise
        self._keep_spare = keep_spare
        self._reuse = reuse
        self._spare: Worker | None = self._start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _start(self) -> Worker:
        return Worker(self.exercise)

    def _worker(self) -> Worker:
        worker, self._spare = self._spare or self._start(), None
        return worker

    def run(
        self,
        file: Path | None = None,
        *,
        hidden: bool = True,
        each: Callable[[kit.Result], None] = lambda result: None,
    ) -> Report:
        """Check `file`, by default the student's own. `each` hears every result as it comes.

        The results stand in the checks' order, one for every check, whatever happens.
        """
        began = time.monotonic()
        run = _Run(self.exercise, (file or self.exercise.file).resolve(), hidden, each)
        while run.waiting and not run.report.problem:
            worker = self._worker()
            survived = False
            try:
                survived = run.go_on(worker)
            finally:
                if survived and self._reuse:
                    self._spare = worker
                else:
                    worker.close()
                    run.report.printed = (run.report.printed + worker.printed)[:PRINTED]
        run.give_up()
        if self._keep_spare and self._spare is None:
            self._spare = self._start()
        run.report.seconds = time.monotonic() - began
        return run.report


@dataclass
class _Run:
    """The state of one run across its workers."""

    exercise: Exercise
    file: Path
    hidden: bool
    each: Callable[[kit.Result], None]
    report: Report = field(init=False)
    waiting: list[kit.Check] = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report(self.exercise, self.file, [])
        self.waiting = [check for check in self.exercise.checks() if self.hidden or not check.hidden]
        if not self.file.is_file():
            self.report.problem = f"there is no file {self.file}"

    def go_on(self, worker: Worker) -> bool:
        """Let a worker do as many of the waiting checks as it survives; the value is whether it did."""
        self._skip()
        if not self.waiting:
            return True
        checks = {check.name: check for check in self.waiting}
        under_way = {LOAD.name: LOAD}
        left = READY
        worker.send({"file": str(self.file), "checks": list(checks)})
        while True:
            try:
                message = worker.next(left)
            except queue.Empty:
                self._lost(next(iter(under_way.values()), None), "hung")
                return False
            match message:
                case {"ready": _}:
                    left = LOAD.limit + GRACE
                case {"loaded": _}:
                    left = READY
                case {"unloadable": raised}:
                    self.report.problem = self._unloadable(kit.Raised(raised).sentence())
                    return False
                case {"begin": name, "limit": limit}:
                    under_way.pop(LOAD.name, None)
                    under_way[name] = checks[name]
                    self._skip()
                    left = limit + GRACE
                case {"result": values}:
                    self._add(under_way.pop(values["name"]), kit.Result(**values))
                    left = max([READY, *(check.limit + GRACE for check in under_way.values())])
                case {"hung": name, "at": at, "sent": sent}:
                    self._lost(under_way[name], "hung", at, sent)
                    return False
                case {"done": _}:
                    self._skip()
                    return True
                case None:
                    # Where several were under way, the others are given to the next worker.
                    self._lost(next(iter(under_way.values()), None), "crashed")
                    return False

    def _add(self, check: kit.Check, result: kit.Result) -> None:
        self.waiting.remove(check)
        self.report.results.append(result)
        self.each(result)

    def _skip(self) -> None:
        """Settle the checks that build on one that did not pass."""
        bad = {result.name for result in self.report.results if not result.passed}
        for check in list(self.waiting):
            missing = next((name for name in check.after if name in bad), None)
            if missing is not None:
                bad.add(check.name)
                self._add(check, kit.skipped(check, missing))

    def _unloadable(self, text: str) -> str:
        return f"{self.file.name} cannot be loaded: {text}"

    def _lost(self, check: kit.Check | None, status: kit.Status, at: str = "", sent: str = "") -> None:
        """A worker ended, or is to be ended, with this check under way, or with none."""
        if check is None:
            return
        where = f", at {at}" if at else ""
        if status == "hung":
            text = f"it was still running after {check.limit:g} seconds{where}"
        else:
            text = "it ended the Python process (os._exit, or a crash of the interpreter)"
        if check is LOAD:
            self.report.problem = self._unloadable(text)
        else:
            failure = kit.Failure("an answer", text, sent=sent)
            self._add(check, kit.failed(check, failure, status=status))

    def give_up(self) -> None:
        """Bring the results into the checks' order; with a file that cannot be loaded, all have failed."""
        if self.report.problem:
            for check in list(self.waiting):
                self._add(check, kit.unloaded(check, self.report.problem))
        order = {check.name: place for place, check in enumerate(self.exercise.checks())}
        self.report.results.sort(key=lambda result: order[result.name])
