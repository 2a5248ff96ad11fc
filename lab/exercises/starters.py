"""`python -m lab.exercises.starters [--check] [NAME…]`: keep the exercises' files, as they are, as starters.

For those who write exercises. `lab reset` gives a student these copies back, byte for byte. `--check` writes
nothing; its exit status is 1 where a folder is not as it is to be handed out. No test of the suite says that:
where somebody works on the exercises, their files are his.
"""

from __future__ import annotations

import sys

from lab.exercises.catalog import STARTERS, Exercise, exercises

PARTS = {"README.md", "exercise.py", "checks.py", "hints.md", "solution.py", "mistakes"}
BESIDE = {"__pycache__"}


def problems(exercise: Exercise) -> list[str]:
    """What is not as it is to be handed out, a line each."""
    name, found = exercise.name, []
    starter = STARTERS / f"{name}.txt"
    if not starter.is_file() or not exercise.file.is_file():
        found.append(f"{name} lacks its exercise.py or the copy of it, {starter}")
    elif starter.read_bytes() != exercise.file.read_bytes():
        found.append(f"{name}/exercise.py is not its starter; to make it that: lab.exercises.starters {name}")
    there = {path.name for path in exercise.folder.iterdir()}
    found += [f"{name}/{stray} does not belong there" for stray in sorted(there - PARTS - BESIDE)]
    inside = {path.name for path in (exercise.folder / "mistakes").iterdir() if path.suffix != ".py"}
    found += [f"{name}/mistakes/{stray} does not belong there" for stray in sorted(inside - BESIDE)]
    return found


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if argument != "--check"]
    chosen = [exercise for exercise in exercises() if not names or exercise.name in names]
    if "--check" in arguments:
        found = [line for exercise in chosen for line in problems(exercise)]
        print("\n".join(found or ["the folders are as they are to be handed out"]))
        return 1 if found else 0
    for exercise in chosen:
        (STARTERS / f"{exercise.name}.txt").write_bytes(exercise.file.read_bytes())
        print(exercise.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
