"""Grades many submissions side by side, in worker processes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.exercises.catalog import Exercise
from lab.grading.grade import LOAD, SLACK
from lab.grading.intake import Submission
from lab.grading.sandbox import GraderProblem
from lab.grading.verdict import Verdict

ATTEMPTS = 2
"""How often a submission is tried whose worker dies. Its sandboxes cannot kill it, so that is chance."""
HOPELESS = 3
"""Submissions in a row that cannot be graded, before any could, until it is clear that none can."""
START = 120.0
"""Seconds that a worker may take to start, on a machine that is busy."""
ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """One worker process and the conversation with it. Raises `GraderProblem` where it dies."""

    def __init__(self, slot: int, seed: int, isolation: str, exercises: Sequence[Exercise]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "lab.grading.worker", str(slot), str(seed), isolation]
            + [exercise.name for exercise in exercises],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the grader, which ends its workers in order
        )
        self._errors = ""
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        # What one check may take, twice over, since a worker bounds each of them by itself.
        checks = [check for exercise in exercises for check in exercise.checks()]
        self._patience = START
        try:
            self._next()  # it is ready
            self._patience += 2 * max(((check.limit + LOAD) * SLACK for check in checks), default=0.0)
        except BaseException:
            self.close()
            raise

    def _collect(self) -> None:
        assert self._process.stderr is not None
        while text := self._process.stderr.read(4096):
            self._errors = (self._errors + text)[-4096:]

    def grade(self, submission: Submission, key: str) -> Verdict:
        job = {
            "name": submission.name,
            "problem": submission.problem,
            "files": {name: str(path) for name, path in submission.files.items()},
            "key": key,
        }
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # the next line says so
        while "check" in (message := self._next()):
            pass  # it lives, and is at the next check
        return Verdict.of(message)

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(self._patience, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self._process.wait()
            self._reader.join(5)
            last = self._errors.strip().splitlines()[-1:] or ["no reason given"]
            raise GraderProblem(f"a grading process died: {last[0]}")
        message: dict[str, Any] = json.loads(line)
        if "grader_problem" in message:
            raise GraderProblem(message["grader_problem"])
        return message

    def close(self) -> None:
        """Let it end; what its sandboxes run ends with it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def kill(self) -> None:
        self._process.kill()


class Pool:
    """So many workers. `wanted` is `auto`, for all the isolation that there is, or `none`."""

    def __init__(
        self, exercises: Sequence[Exercise], *, jobs: int | None = None, seed: int = 0, wanted: str = "auto"
    ) -> None:
        self._exercises = exercises
        self._wanted = wanted
        self._jobs = jobs or cores()
        self._seed = seed

    def run(
        self,
        work: Sequence[tuple[Submission, str]],
        done: Callable[[Verdict], None],
        not_graded: Callable[[Submission, str], None] | None = None,
    ) -> None:
        """Grade each (submission, key) and hand the verdicts to `done` as they come, one at a time.

        One on which the grader itself fails goes to `not_graded`, with the reason, and the others go on.
        Raises `GraderProblem` where none at all can be graded (without `not_graded`: where one cannot), or
        what `done` raises; then no worker is left running.
        """
        waiting: queue.SimpleQueue[tuple[Submission, str]] = queue.SimpleQueue()
        for item in work:
            waiting.put(item)
        finished: queue.SimpleQueue[Verdict | Failed | BaseException | None] = queue.SimpleQueue()
        workers: dict[int, Worker] = {}
        stop = threading.Event()

        def run_slot(slot: int) -> None:
            try:
                while not stop.is_set():
                    try:
                        submission, key = waiting.get_nowait()
                    except queue.Empty:
                        return
                    finished.put(self._one(workers, slot, submission, key, stop))
            except BaseException as error:
                finished.put(error)
            finally:
                if slot in workers:
                    workers[slot].close()
                finished.put(None)

        threads = [
            threading.Thread(target=run_slot, args=(slot,), daemon=True)
            for slot in range(max(1, min(self._jobs, len(work))))
        ]
        for thread in threads:
            thread.start()
        ended = graded = 0
        failed: list[Failed] = []
        failure: BaseException | None = None
        try:
            while ended < len(threads):
                came = finished.get()
                if came is None:
                    ended += 1
                elif isinstance(came, BaseException):
                    failure = failure or came
                elif isinstance(came, Failed):
                    failed.append(came)
                    if not_graded is None or (not graded and len(failed) == min(HOPELESS, len(work))):
                        failure = failure or GraderProblem(came.reason)
                elif failure is None:
                    graded += 1
                    done(came)
                if failure is not None:
                    stop.set()
        except BaseException:
            stop.set()
            for worker in list(workers.values()):
                worker.kill()
            raise
        finally:
            for thread in threads:
                thread.join()
        if failure is not None:
            raise failure
        for one in failed:
            assert not_graded is not None
            not_graded(one.submission, one.reason)

    def _one(
        self, workers: dict[int, Worker], slot: int, submission: Submission, key: str, stop: threading.Event
    ) -> Verdict | Failed:
        problem = ""
        for _ in range(ATTEMPTS):
            try:
                if slot not in workers:
                    workers[slot] = Worker(slot, self._seed, self._wanted, self._exercises)
                return workers[slot].grade(submission, key)
            except GraderProblem as error:
                problem = str(error)
                if slot in workers:
                    workers.pop(slot).close()
                if stop.is_set():
                    break
        return Failed(submission, problem)


@dataclass(frozen=True)
class Failed:
    """A submission that could not be graded, and why: the grader's own words."""

    submission: Submission
    reason: str


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
