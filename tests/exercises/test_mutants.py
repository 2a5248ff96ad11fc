"""The mutant maker, and a sample of what it makes; all of it: `python -m tests.exercises.mutants`."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

from lab.exercises.catalog import Exercise, exercises
from lab.exercises.runner import Runner
from tests.exercises.mutants import mutants, rejected, survivors

SAMPLE = 4
"""Mutants of each exercise."""
WIRE = "16_capstone"
"""Checked over sockets, which takes seconds a mutant; left to the script."""


def made(source: str) -> dict[str, str]:
    return {mutant.name: mutant.source for mutant in mutants(source)}


def test_what_is_made_of_a_function() -> None:
    source = '''def f(a: int, b=2):
    """Words."""
    if a < b and not b:
        a += 1
    return a
'''
    found = made(source)
    assert found["f: a < b -> a <= b"] == ast.unparse(ast.parse(source.replace("<", "<=")))
    assert set(found) == {
        "f: 2 -> 3",
        "f: 2 -> 1",
        "f: if a < b and (not b) -> if not (a < b and (not b))",
        "f: a < b and (not b) -> a < b or not b",
        "f: a < b -> a <= b",
        "f: not b -> b",
        "f: a += 1 -> a -= 1",
        "f: a += 1 -> pass",
        "f: 1 -> 2",
        "f: 1 -> 0",
        "f: return a -> return",
    }


def test_equal_changes_have_names_of_their_own() -> None:
    found = made("def f(a):\n    g(1)\n    g(1)\n")
    assert found["f: g(1) -> pass"] != found["f: g(1) -> pass #2"]


@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.name)
def test_a_sample_is_rejected(exercise: Exercise, tmp_path: Path) -> None:
    known = survivors().get(exercise.name, {})
    if exercise.name == WIRE:
        pytest.skip("over sockets: left to the script")
    everything = mutants(exercise.solution.read_text(encoding="utf-8"))
    sample = random.Random(exercise.number).sample(everything, SAMPLE)
    with Runner(exercise, reuse=True) as runner:
        alive = {mutant.name for mutant in sample if not rejected(runner, mutant, tmp_path)}
    assert alive <= set(known)


@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.name)
def test_survivors_are_mutants_and_have_a_reason(exercise: Exercise) -> None:
    names = {mutant.name for mutant in mutants(exercise.solution.read_text(encoding="utf-8"))}
    known = survivors().get(exercise.name, {})
    assert set(known) <= names
    assert all(len(reason) > 8 for reason in known.values())
    assert set(survivors()) <= {each.name for each in exercises()}
