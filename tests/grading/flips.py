"""Does the grader always say the same? `python -m tests.grading.flips [--rounds 100] [--burners 2] [NN …]`.

Every starter, solution, variant, mistake and cheat is graded again and again. Each time the whole verdict
must be the one of the first time, byte for byte: status, points, message, recognised mistake, what was
printed. And it must be right: solutions and variants have all points, mistakes not, starters and cheats none.
`--burners` keeps so many cores busy meanwhile. Exit status 1 where a verdict changed or is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from lab.exercises.catalog import Exercise, exercises, find
from lab.grading import intake
from lab.grading.intake import Submission
from lab.grading.pool import Pool
from lab.grading.verdict import Verdict
from tests.exercises.flips import BY_CHANCE, burners, files

CHEATS = Path(__file__).parent / "cheats"
RACES = (
    "answers_twice",
    "breaks_the_reader",
    "fork_bomb",
    "forging_thread",
    "leaves_zombies",
    "signals_itself",
    "speaks_before_it_is_asked",
    "takes_the_loop",
    "talks_and_grows",
    "traces_the_agent",
)
"""Cheats that run against themselves: which part of them is first is chance. They still have no points."""


def submissions(exercise: Exercise, folder: Path) -> list[Submission]:
    """All that there is for an exercise, under names that say what it is."""
    paths = {f"{path.parent.name}/{path.name}": path for path in files(exercise)}
    if exercise.number == 3:
        others = {one.name for one in exercises()}  # a folder of cheats for another exercise
        paths |= {
            f"cheats/{path.name}": path
            for path in CHEATS.iterdir()
            if path.name[:2] != "__" and path.name not in others
        }
    found = []
    for at, (name, path) in enumerate(sorted(paths.items())):
        one = intake.receive(name, path, folder / str(at))
        intake.assign(one, [exercise], exercise)
        found.append(one)
    return found


def lines(verdict: Verdict) -> list[str]:
    """What is to stay the same: a line for each check."""
    told = []
    for check in verdict.checks:
        data = vars(check) | {"seconds": 0}
        if verdict.name.partition("/")[2].partition(".")[0] in RACES:
            data |= {"printed": "", "text": "", "status": ""}
        told.append(BY_CHANCE.sub("…", json.dumps(data, ensure_ascii=False)))
    return told


def wrong(verdict: Verdict, exercise: Exercise) -> bool:
    kind, _, name = verdict.name.partition("/")
    if name == "solution.py" or kind == exercise.name:
        return verdict.points != verdict.maximum
    if kind == "mistakes":
        return verdict.points == verdict.maximum
    return verdict.points != 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Grade everything again and again; do verdicts change?")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--burners", type=int, default=0)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--isolation", default="auto")
    parser.add_argument("numbers", nargs="*")
    given = parser.parse_args()
    chosen = [find(number) for number in given.numbers] if given.numbers else exercises()
    bad = 0
    with burners(given.burners):
        for exercise in chosen:
            bad += rounds(exercise, given)
    return 1 if bad else 0


def rounds(exercise: Exercise, given: argparse.Namespace) -> int:
    first: dict[str, list[str]] = {}
    bad, began = 0, time.monotonic()

    def done(verdict: Verdict) -> None:
        nonlocal bad
        now = lines(verdict)
        before = first.setdefault(verdict.name, now)
        if now != before:
            bad += 1
            print(f"{exercise.name}: {verdict.name} changed", flush=True)
            for was, came in zip(before, now, strict=True):
                if was != came:
                    print(f"  was   {was}\n  came  {came}", flush=True)
        elif now is before and wrong(verdict, exercise):
            bad += 1
            print(f"{exercise.name}: {verdict.name} has {verdict.points} of {verdict.maximum}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        work = [(one, "") for one in submissions(exercise, Path(folder))]
        for _ in range(given.rounds):
            pool = Pool([exercise], jobs=given.jobs, seed=given.seed, wanted=given.isolation)
            pool.run(work, done)
    took = time.monotonic() - began
    print(
        f"{exercise.name}: {given.rounds} rounds of {len(work)}, {bad} changed or wrong, {took:.0f} s",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())
