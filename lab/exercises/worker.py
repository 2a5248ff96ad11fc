"""A process that runs checks: `python -m lab.exercises.worker NUMBER`.

It first imports what the exercise's starter imports, says that it is ready, and then waits for jobs on what
was its standard input, one JSON line each: {"file": path of the submission, "checks": names}. Results go to
what was its standard output, one JSON line each; what the submission prints goes to standard error and does
no harm. A check that builds on one that failed is left out.

A check that takes longer than it may is reported by a thread, with the line at which the submission was, and
ends the process: nothing else ends an endless loop. Whoever started the worker goes on with a new one.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import json
import math
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from lab.exercises import kit
from lab.exercises.agent import Agent
from lab.exercises.catalog import Exercise, find

GRACE = 0.5
"""Seconds after which whoever started the worker may take it that the thread could not do its work either."""
LOAD = kit.Check("load", lambda: None, 0, "", False, (), "", "", 5.0)
"""Loading the file is guarded like a check."""
TOGETHER = 4
"""Checks of a program that are under way at the same time, where it listens on the port that it is given."""
TELLING = threading.Lock()


def main(number: str) -> None:
    exercise = find(number)
    preload(exercise.starter)
    # HTTP clients make a TLS context whether they speak TLS or not, and no check does. Reading the web's root
    # certificates anew takes 20 ms, for each client of each check.
    ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]
    jobs, channel = private_jobs(), private_channel()
    if exercise.program:
        from lab.exercises.program import get_ready

        get_ready()
    tell(channel, {"ready": True})
    for line in jobs:
        job = json.loads(line)
        for message in run(exercise, Path(job["file"]), job["checks"], channel):
            tell(channel, message)
        tell(channel, {"done": True})
    channel.flush()
    # Threads, atexit functions and open event loops of the submission's must not keep us.
    os._exit(0)


def private_channel() -> TextIO:
    """What was standard output, for results only; from now on printing goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="replace", line_buffering=True
    )
    return channel


def private_jobs() -> TextIO:
    """What was standard input, for jobs only; from now on `input()` meets the end of the file."""
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = io.StringIO()
    return jobs


def tell(channel: TextIO, message: dict[str, Any], *, last: bool = False) -> None:
    """Send a message, as a whole line whoever else has something to tell. The last one ends the process."""
    with TELLING:
        channel.write(json.dumps(message) + "\n")
        channel.flush()
        if last:
            os._exit(3)


def preload(starter: bytes) -> None:
    """Import what the starter imports at its top, so that loading the submission takes no time."""
    for node in ast.parse(starter).body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def run(exercise: Exercise, file: Path, names: list[str], channel: TextIO) -> Iterator[dict[str, Any]]:
    """Load the file, then run the checks of these names in order; a message for each step."""
    checks = {check.name: check for check in exercise.checks()}
    with Guard(file, channel) as guard:
        yield from guarded(exercise, file, [checks[name] for name in names], guard)


def guarded(
    exercise: Exercise, file: Path, checks: list[kit.Check], guard: Guard
) -> Iterator[dict[str, Any]]:
    with guard.watch(LOAD, kit.Calls()):
        # A program is started by its checks, each time anew; running it here would be once too often.
        answer = Agent(file).handle("parse", {}) if exercise.program else Agent(file).load()
    if "raised" in answer:
        yield {"unloadable": answer["raised"]}
        return
    yield {"loaded": True}

    elsewhere = False

    def perform(check: kit.Check) -> kit.Result:
        nonlocal elsewhere
        began, calls = time.perf_counter(), kit.Calls()
        with guard.watch(check, calls):
            agent = Agent(file)  # each check has the file loaded anew: nothing is left over from the last
            try:
                result = kit.execute(check, kit.LocalChannel(agent), calls)
            finally:
                agent.handle("stop", {})
                elsewhere = elsewhere or agent.elsewhere
        return replace(result, seconds=time.perf_counter() - began)

    if exercise.program:
        yield from side_by_side(checks, perform, lambda: 1 if elsewhere else TOGETHER)
    else:
        yield from one_by_one(checks, perform)


Perform = Callable[[kit.Check], kit.Result]


def one_by_one(checks: list[kit.Check], perform: Perform) -> Iterator[dict[str, Any]]:
    """The checks in order; what builds on one that did not pass is left out."""
    not_passed: set[str] = set()
    for check in checks:
        if not_passed.intersection(check.after):
            not_passed.add(check.name)
            continue
        yield {"begin": check.name, "limit": check.limit}
        result = perform(check)
        if not result.passed:
            not_passed.add(check.name)
        yield {"result": asdict(result)}


def side_by_side(
    checks: list[kit.Check], perform: Perform, together: Callable[[], int]
) -> Iterator[dict[str, Any]]:
    """The same, several at a time: a submission that is a process of its own lets its check wait a lot.

    The first is alone: it shows how many there may be. Two programs cannot listen on one port.
    """
    waiting, not_passed, room = list(checks), set[str](), 1
    under_way: dict[Future[kit.Result], kit.Check] = {}
    with ThreadPoolExecutor(TOGETHER) as pool:
        while waiting or under_way:
            for check in list(waiting):
                undecided = {other.name for other in (*waiting, *under_way.values())}
                if not_passed.intersection(check.after):
                    waiting.remove(check)
                    not_passed.add(check.name)
                elif len(under_way) < room and not undecided.intersection(check.after):
                    waiting.remove(check)
                    yield {"begin": check.name, "limit": check.limit}
                    under_way[pool.submit(perform, check)] = check
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                check, result, room = under_way.pop(future), future.result(), together()
                if not result.passed:
                    not_passed.add(check.name)
                yield {"result": asdict(result)}


class Guard:
    """Ends the process when a check takes too long, and says where the submission was."""

    def __init__(self, file: Path, channel: TextIO) -> None:
        self._file = str(file)
        self._channel = channel
        self._changed = threading.Condition()
        self._under_way: dict[int, tuple[float, kit.Check, kit.Calls]] = {}
        """By thread: when the check must be over, and what it has done so far."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._thread.start()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @contextlib.contextmanager
    def watch(self, check: kit.Check, calls: kit.Calls) -> Iterator[None]:
        thread = threading.get_ident()
        with self._changed:
            self._under_way[thread] = time.monotonic() + check.limit, check, calls
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._under_way[thread]

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                ends = [(until, thread) for thread, (until, *_) in self._under_way.items()]
                until, thread = min(ends, default=(math.inf, 0))
                left = until - time.monotonic()
                if left > 0:
                    self._changed.wait(left if ends else None)
                    continue
                _, check, calls = self._under_way[thread]
                hung = {"hung": check.name, "at": self._line(thread), "sent": calls.text()}
                tell(self._channel, hung, last=True)

    def _line(self, thread: int) -> str:
        """`line 12: while True:`, the line of the submission that is being run; empty if none is."""
        frame = sys._current_frames().get(thread)
        while frame is not None:
            if frame.f_code.co_filename == self._file:
                lines = Path(self._file).read_text("utf-8", "replace").splitlines()
                return f"line {frame.f_lineno}: {lines[frame.f_lineno - 1].strip()}"
            frame = frame.f_back
        return ""


if __name__ == "__main__":
    main(sys.argv[1])
