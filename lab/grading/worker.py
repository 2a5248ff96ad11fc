"""A process that grades: `python -m lab.grading.worker SLOT SEED ISOLATION EXERCISE…`.

Submissions come on standard input and verdicts go to standard output, one JSON line each. First the process
moves, with all that it will start, into a network of its own that has nothing but a loopback interface. So
submissions reach the services that their checks start, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.exercises import kit
from lab.exercises.catalog import Exercise, find
from lab.grading import intake
from lab.grading.grade import Grader, missing
from lab.grading.inside import jail, zygote
from lab.grading.plain import PlainSandboxes
from lab.grading.sandbox import LACKING, GraderProblem, Sandboxes
from lab.grading.verdict import CheckVerdict, Verdict

MEMORY = 4 << 30
"""Bytes of address space that this process may have."""


def main(slot: int, seed: int, isolation: str, names: list[str]) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that is printed gets among the answers
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what a failed check leaves unread
    exercises = [find(name) for name in names]
    bound_memory()
    network = isolation != "none" and own_network()
    with contextlib.suppress(OSError):
        jail.prctl(jail.PR_SET_DUMPABLE, 0)  # what runs as the same user must not look into us
    if sys.platform == "win32":  # the conversations' sockets are waited for as Windows' own loop cannot
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    with make(isolation, slot, sources_of(exercises)) as sandboxes:
        found = sandboxes.isolation | ({"network"} if network else set())
        lacking = [text for kind, text in LACKING.items() if kind not in found]
        tell(answers, {"lacking": lacking})
        grader = Grader(sandboxes, seed=seed)

        def alive(check: kit.Check) -> None:
            tell(answers, {"check": check.name})

        for line in sys.stdin:
            try:
                verdict = grade(grader, exercises, json.loads(line), alive)
                tell(answers, verdict.data() | {"lacking": lacking})
            except GraderProblem as problem:
                tell(answers, {"grader_problem": str(problem)})


def make(isolation: str, slot: int, sources: list[str]) -> Sandboxes | PlainSandboxes:
    """What submissions are run in: with `none`, and where there is no Linux, processes like any others."""
    if isolation == "none" or sys.platform != "linux":
        return PlainSandboxes(sources=sources)
    return Sandboxes(slot=slot, sources=sources)


def tell(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def sources_of(exercises: list[Exercise]) -> list[str]:
    """What starters and solutions import is what submissions may import of the lab."""
    texts = [text for e in exercises for text in (e.starter.decode("utf-8"), e.solution.read_text("utf-8"))]
    if any("import httpx" in text or "import fastapi" in text for text in texts):
        texts.append("import lab.exercises.program, lab.exercises.warm")
    return texts


def grade(
    grader: Grader, exercises: list[Exercise], job: dict[str, Any], each: Callable[[kit.Check], None]
) -> Verdict:
    """The verdict on `job`: {"name", "problem", "files": {exercise: path}, "key"}.

    `each` hears of every check before it is run.
    """
    began = time.monotonic()
    checks: list[CheckVerdict] = []
    cpu = 0.0
    for exercise in exercises:
        path = job["files"].get(exercise.name)
        if path is None:
            checks += missing(exercise, job["problem"] or f"nothing was handed in for {exercise.name}")
            continue
        with tempfile.TemporaryDirectory(prefix="lab-work-") as folder:
            os.chmod(folder, 0o755)
            work = Path(folder) / "work"
            file = intake.work_folder(Path(path), work)
            found, used = grader.grade(exercise, work, file, each)
            shutil.rmtree(work, ignore_errors=True)
        checks += found
        cpu += used
    return Verdict(
        name=job["name"],
        checks=tuple(checks),
        problem=job["problem"],
        cpu=round(cpu, 3),
        seconds=round(time.monotonic() - began, 3),
        key=job["key"],
    )


def bound_memory() -> None:
    """Where what comes from a submission grows without bound all the same, it ends one check and not us."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == -1 else min(MEMORY, hard), hard))


def own_network() -> bool:
    """Move into a network namespace with a loopback interface; False where the system does not allow that."""
    if sys.platform != "linux":
        return False
    if not zygote.works(enter_network):  # half of it would be worse than nothing
        return False
    enter_network()
    return True


def enter_network() -> None:
    if os.geteuid() == 0:
        jail.unshare(jail.CLONE_NEWNET)
    else:
        jail.become_root_of_own_namespace(jail.CLONE_NEWNET)
    jail.loopback_up()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
