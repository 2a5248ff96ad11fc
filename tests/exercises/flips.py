"""Do verdicts change from run to run? `python -m tests.exercises.flips [--rounds 100] [--burners 2] [NN …]`.

Every starter, solution, variant and mistake is checked again and again; each time the whole verdict must be
the one of the first time: which checks passed, what the others say, which mistake was recognised. `--burners`
keeps so many cores busy meanwhile. Exit status 1 where a verdict changed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.exercises.catalog import STARTERS, Exercise, exercises
from lab.exercises.runner import Report, Runner

VARIANTS = Path(__file__).parent / "variants"
BY_CHANCE = re.compile(
    r"127\.0\.0\.1:\d+"  # a free port
    r"|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # a random id
    r"|\b\d{10,}\b|\d\.\d{5,}"  # an object's address, a look at the clock: both are among the mistakes
)
"""What no two runs have in common."""


def files(exercise: Exercise) -> list[Path]:
    variants = sorted((VARIANTS / exercise.name).glob("*.py"))
    return [STARTERS / f"{exercise.name}.txt", exercise.solution, *variants, *exercise.mistakes]


def verdict(report: Report) -> list[str]:
    """A line for each check."""
    told = [f"{r.name} {r.status} {r.points} {r.mistake!r} {r.text!r}" for r in report.results]
    return [BY_CHANCE.sub("…", line) for line in (report.problem, *told)]


@contextmanager
def burners(count: int) -> Iterator[None]:
    """So many processes that do nothing, as fast as they can."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def one_round(exercise: Exercise, first: dict[Path, list[str]]) -> int:
    """How many verdicts are others than those in `first`, which is filled where it has none yet."""
    changed = 0
    with Runner(exercise, reuse=True) as runner:
        for path in files(exercise):
            now = verdict(runner.run(path))
            before = first.setdefault(path, now)
            if now != before:
                changed += 1
                print(f"{exercise.name}/{path.name}", flush=True)
                for was, came in zip(before, now, strict=True):
                    if was != came:
                        print(f"  was   {was}\n  came  {came}", flush=True)
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description="Check everything again and again; do verdicts change?")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--burners", type=int, default=0)
    parser.add_argument("numbers", nargs="*")
    given = parser.parse_args()
    chosen = [e for e in exercises() if not given.numbers or f"{e.number:02}" in given.numbers]
    changed = 0
    with burners(given.burners):
        for exercise in chosen:
            first: dict[Path, list[str]] = {}
            began = time.monotonic()
            here = sum(one_round(exercise, first) for _ in range(given.rounds))
            took = time.monotonic() - began
            told = f"{given.rounds} rounds of {len(first)} files, {here} verdicts changed, {took:.0f} s"
            print(f"{exercise.name}: {told}", flush=True)
            changed += here
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
