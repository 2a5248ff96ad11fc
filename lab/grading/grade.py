"""Grades one submission: each check in a sandbox of its own, with the submission loaded anew.

The check itself runs here. What the submission does to its process costs it that one check.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.exercises import kit
from lab.exercises.catalog import Exercise
from lab.grading.channel import RemoteChannel
from lab.grading.disguise import Disguised
from lab.grading.sandbox import Box, Boxes, End, GraderProblem, Limits
from lab.grading.verdict import CheckVerdict

LOAD = 5.0
"""Seconds that loading the file may take, on top of what a check may."""
SLACK = 3.0
"""How many times its limit a check may last on the wall clock: a busy machine is nobody's fault. Processor
time, which does not depend on that, is held to the limit itself. It is the same for every check of every
submission, whatever happened before, or a verdict would depend on what happened before."""
OURS = 10.0
"""Seconds of the grader's own processor time that a check may cost, on top of its limit."""
LONGEST = 20_000
"""Characters of a message."""
SETTLE = 3.0
"""Seconds that a process which has hung up is given to end by itself."""
ATTEMPTS = 3
"""How often a sandbox that does not come up is tried again. That is no failure of the student's."""


@dataclass(frozen=True)
class Answer:
    """What one check said, and what its sandbox cost."""

    result: kit.Result
    end: End
    unloadable: str = ""


class Overtime(Exception):
    """What a submission answered keeps a check busy for longer than any check needs."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise `Overtime` in what takes more than so many seconds of this process's own time.

    Where there is no such timer, or in another thread than the first, nothing is bounded.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise Overtime

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Grader:
    """Grades submissions of any exercise, one after the other."""

    def __init__(
        self, sandboxes: Boxes, limits: Limits | None = None, *, seed: int = 0, slack: float = SLACK
    ) -> None:
        self._sandboxes = sandboxes
        self._limits = limits or Limits()
        self._seed = seed
        self._slack = slack

    def grade(
        self,
        exercise: Exercise,
        work: Path,
        file: str,
        each: Callable[[kit.Check], None] = lambda check: None,
    ) -> tuple[list[CheckVerdict], float]:
        """One verdict for each check, in their order, and the processor time used in seconds.

        `file` is in the folder `work`, whose files the submission may read. `each` is called before every
        check. Raises `GraderProblem`.
        """
        verdicts: list[CheckVerdict] = []
        bad: set[str] = set()
        unloadable, cpu = "", 0.0
        for check in exercise.checks():
            each(check)
            missing = next((name for name in check.after if name in bad), None)
            printed, began = "", time.monotonic()
            if unloadable:
                result = kit.unloaded(check, unloadable)
            elif missing is not None:
                result = kit.skipped(check, missing)
            else:
                answer = self._run(check, work, file, "parse" if exercise.program else "load")
                result, printed = answer.result, answer.end.output
                cpu += answer.end.cpu
                unloadable = answer.unloadable
            if not result.passed:
                bad.add(check.name)
            verdicts.append(verdict_of(exercise, result, printed, time.monotonic() - began))
        return verdicts, cpu

    def _run(self, check: kit.Check, work: Path, file: str, first: str) -> Answer:
        seconds = check.limit + LOAD
        limits = dataclasses.replace(self._limits, cpu=seconds, wall=seconds * self._slack + 1)
        for _ in range(ATTEMPTS):
            sandbox = self._sandboxes.start(work, file, limits)
            answer = self._ask(check, sandbox, first)
            if answer.end.reason != "setup":
                return answer
        raise GraderProblem(f"a sandbox cannot be set up: {answer.end.output.strip() or 'no reason given'}")

    def _ask(self, check: kit.Check, sandbox: Box, first: str) -> Answer:
        channel = RemoteChannel(sandbox.channel, LOAD * self._slack)
        channel.seed = self._seed
        if answer := self._load(first, check, channel, sandbox):
            return answer
        channel.extend(check.limit * self._slack)
        calls = kit.Calls()
        try:
            with bounded(OURS + check.limit):
                result = kit.execute(check, self._disguised(check, channel), calls)
        except Overtime:  # just when it was done
            result = kit.failed(check, kit.Failure("an answer as the task describes it", "too much of it"))
        end = settled(channel, sandbox)
        if not result.passed and channel.ended:
            status, text = lost(channel, end, sandbox.limits, check.limit)
            result = kit.failed(check, kit.Failure("an answer", text), calls, status)
        return Answer(result, end)

    def _disguised(self, check: kit.Check, channel: RemoteChannel) -> kit.Channel:
        roles = check.function.__globals__.get("DISGUISE")
        return Disguised(channel, roles, self._seed) if roles and self._seed else channel

    def _load(self, op: str, check: kit.Check, channel: RemoteChannel, sandbox: Box) -> Answer | None:
        """Have the file loaded, or only parsed; the answer where it cannot be."""
        status: kit.Status = "unloadable"
        try:
            raised = channel.ask(op, {}).get("raised")
            if raised is None:
                return None
            end, text = sandbox.end(), kit.Raised(raised).sentence()
        except OSError:
            end = settled(channel, sandbox)
            status, text = lost(channel, end, sandbox.limits, LOAD)
        # What happens while the file is loaded happens before the first question of every check.
        return Answer(kit.unloaded(check, text, status), end, text)


def settled(channel: RemoteChannel, sandbox: Box) -> End:
    """The end of the sandbox; where it hung up by itself, a moment is left for the true reason to show."""
    return sandbox.end(patience=SETTLE if channel.ended == "closed" else 0.0)


def lost(channel: RemoteChannel, end: End, limits: Limits, seconds: float) -> tuple[kit.Status, str]:
    """Why a conversation ended before its time; `seconds` is what it may last."""
    if channel.ended == "broken":
        return "crashed", f"what it answered is no answer: {channel.detail}"
    if channel.ended == "hung" or end.reason in ("wall", "cpu"):
        # Which of its clocks ran out first says more about the machine than about the submission.
        return "hung", f"it was still running when its {seconds:g} seconds were over"
    return "crashed", end.sentence(limits)


def verdict_of(exercise: Exercise, result: kit.Result, printed: str, seconds: float) -> CheckVerdict:
    return CheckVerdict(
        exercise=exercise.name,
        name=result.name,
        status=result.status,
        points=result.points,
        maximum=result.maximum,
        hidden=result.hidden,
        why=result.why,
        text=result.text[:LONGEST],
        mistake="" if result.passed else result.mistake,
        printed=printed,
        seconds=round(seconds, 3),
    )


def missing(exercise: Exercise, text: str) -> list[CheckVerdict]:
    """The verdicts where there is nothing to check: the maximum stays what it is."""
    return [
        CheckVerdict(exercise.name, check.name, "missing", 0, check.points, check.hidden, check.why, text)
        for check in exercise.checks()
    ]
