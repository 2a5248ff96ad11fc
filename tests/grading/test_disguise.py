"""The same questions in other words: nobody who does what the task says notices."""

import re
from pathlib import Path

import pytest

from lab.exercises import kit
from lab.exercises.agent import Agent
from lab.exercises.catalog import exercises, find
from lab.grading.disguise import UNITS, Disguised

CHEATS = Path(__file__).parent / "cheats"
VARIANTS = Path(__file__).parents[1] / "exercises" / "variants"
DISGUISED = [e for e in exercises() if any("DISGUISE" in check.function.__globals__ for check in e.checks())]


def grade(exercise, path, seed, disguised=True):
    """Which checks passed, in this process: the points are the same as in a sandbox."""
    passed = {}
    for check in exercise.checks():
        if all(passed[name] for name in check.after):
            channel = kit.LocalChannel(Agent(path))
            channel.seed = seed
            if disguised:
                channel = Disguised(channel, check.function.__globals__["DISGUISE"], seed)
            passed[check.name] = kit.execute(check, channel).passed
        else:
            passed[check.name] = False
    return passed


def test_there_are_exercises_to_which_this_applies():
    assert {exercise.number for exercise in DISGUISED} >= {3, 4, 5}


@pytest.mark.parametrize("exercise", DISGUISED, ids=lambda exercise: exercise.name)
def test_honest_solutions_do_not_notice(exercise):
    for path in (exercise.solution, *(VARIANTS / exercise.name).glob("*.py")):
        for seed in range(1, 13):
            assert all(grade(exercise, path, seed).values()), (path.name, seed)


def test_a_verdict_may_be_of_any_class_with_its_fields(tmp_path):
    fixed_window = find("3")
    mine = (
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Mine:\n    admitted: bool\n    limit: int\n"
        "    remaining: int\n    reset: float\n    retry_after: float = 0.0\n\n\nVerdict = Mine\n"
    )
    text = fixed_window.solution.read_text("utf-8")
    (tmp_path / "exercise.py").write_text(
        text.replace("from lab.policies.rate_limit.limiter import Verdict\n", mine)
    )
    assert all(grade(fixed_window, tmp_path / "exercise.py", 3).values())


@pytest.mark.parametrize("exercise", DISGUISED, ids=lambda exercise: exercise.name)
def test_mistakes_are_rejected_by_the_same_check(exercise):
    for path in exercise.mistakes:
        declared = re.search(r"rejected by: (\w+)", path.read_text("utf-8")).group(1)
        for seed in (1, 2):
            assert grade(exercise, path, seed)[declared] is False, (path.name, seed)


def test_what_was_learnt_by_heart_is_worth_nothing():
    """Without the disguise it is worth all but the hidden check."""
    fixed_window, cheat = find("3"), CHEATS / "knows_by_heart.py"
    public = [check.name for check in fixed_window.checks() if not check.hidden]
    plain = grade(fixed_window, cheat, 5, disguised=False)
    assert [name for name, passed in plain.items() if passed] == public
    assert not any(grade(fixed_window, cheat, 5).values())


class Echo:
    """A channel whose other end says what it was told to say, and what it was asked."""

    seed = 0

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def ask(self, op, fields):
        self.asked.append((op, fields))
        return self.answer


ROLES = {"take": ("name", "moment"), "Made": {"window": "span"}, "answers": {"reset": "span"}}


def test_names_moments_and_spans_are_others_and_come_back():
    echo = Echo(
        {"value": {"record": ["Verdict", {"dict": [["reset", 8.0], ["remaining", 2], ["admitted", True]]}]}}
    )
    channel = Disguised(echo, ROLES, 7)
    answer = channel.ask("call", {"method": "take", "args": ["ada", 100.0, "more"]})
    (_, asked), unit = echo.asked[0], channel._unit
    assert unit in UNITS
    assert asked["args"][0] not in ("ada", "grace")
    assert asked["args"][1:] == [100.0 * unit + channel._beginning, "more"]
    fields = dict(answer["value"]["record"][1]["dict"])
    assert fields == {"reset": 8.0 / unit, "remaining": 2, "admitted": True}
    channel.ask("new", {"name": "Made", "args": [], "kwargs": {"dict": [["limit", 3], ["window", 10.0]]}})
    assert echo.asked[1][1]["kwargs"]["dict"] == [["limit", 3], ["window", 10.0 * unit]]
    channel.ask("call", {"method": "take", "args": ["ada", 0.0]})
    assert echo.asked[2][1]["args"][0] == asked["args"][0]  # the same for the same


@pytest.mark.parametrize(
    "answer",
    [
        {"value": None},
        {"raised": {}},
        {"value": {"record": ["Verdict", 5]}},
        {"value": {"record": [["Verdict"], {"dict": []}]}},
        {
            "value": {
                "record": [
                    "Verdict",
                    {"dict": [5, ["reset"], ["reset", True], ["reset", "x"], [["reset"], 1]]},
                ]
            }
        },
        {"value": {"record": ["Verdict", {"dict": [["reset", 10**400], ["reset", {"float": "nan"}]]}]}},
    ],
)
def test_what_is_no_answer_comes_back_as_it_is(answer):
    assert Disguised(Echo(answer), ROLES, 7).ask("call", {"method": "take", "args": []}) == answer
