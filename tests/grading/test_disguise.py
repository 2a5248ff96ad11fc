"""The same questions in other words: nobody who does what the task says notices."""

import asyncio
import base64
import re
from pathlib import Path

import pytest

from lab.exercises import kit
from lab.exercises.agent import Agent
from lab.exercises.catalog import exercises, find
from lab.exercises.plain import Request, pack, unpack
from lab.grading.disguise import UNITS, Disguised

from .by_heart import Parrot, learn

CHEATS = Path(__file__).parent / "cheats"
VARIANTS = Path(__file__).parents[1] / "exercises" / "variants"
DISGUISED = [e for e in exercises() if any("DISGUISE" in check.function.__globals__ for check in e.checks())]
HARD_TO_REPEAT = {11, 13}
"""Where a parrot knows only a part, since the answer to the rest is what happens when."""


def grade(exercise, submission, seed, *, disguised=True, until=""):
    """Which checks passed, in this process: the points are the same as in a sandbox.

    `submission` is a path or makes a channel. `until` is the last check that is of interest.
    """
    passed = {}
    for check in exercise.checks():
        if all(passed[name] for name in check.after):
            channel = kit.LocalChannel(Agent(submission)) if isinstance(submission, Path) else submission()
            channel.seed = seed
            if disguised:
                channel = Disguised(channel, check.function.__globals__["DISGUISE"], seed)
            passed[check.name] = kit.execute(check, channel).passed
        else:
            passed[check.name] = False
        if check.name == until:
            break
    return passed


def test_these_are_the_exercises_to_which_it_applies():
    """docs/grade-a-class.md names the others."""
    assert [exercise.number for exercise in DISGUISED] == [1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 15]


@pytest.mark.parametrize("exercise", DISGUISED, ids=lambda exercise: exercise.name)
def test_honest_solutions_do_not_notice(exercise):
    for path in (exercise.solution, *(VARIANTS / exercise.name).glob("*.py")):
        for seed in (1, 2, 3):
            assert all(grade(exercise, path, seed).values()), (path.name, seed)


@pytest.mark.parametrize("exercise", DISGUISED, ids=lambda exercise: exercise.name)
def test_a_starter_gains_nothing(exercise, tmp_path):
    (tmp_path / "exercise.py").write_bytes(exercise.starter)
    assert not any(grade(exercise, tmp_path / "exercise.py", 1).values())


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
        assert grade(exercise, path, 1, until=declared)[declared] is False, path.name


@pytest.mark.parametrize("exercise", DISGUISED, ids=lambda exercise: exercise.name)
def test_a_parrot_gains_nothing(exercise):
    """Where it can know what to say, it has all public points as long as nothing is disguised."""
    known = learn(exercise)
    if exercise.number not in HARD_TO_REPEAT:
        plain = grade(exercise, lambda: Parrot(known), 0, disguised=False)
        public = [check.name for check in exercise.checks() if not check.hidden]
        assert [name for name, passed in plain.items() if passed] == public
    for seed in (1, 2, 3):
        assert not any(grade(exercise, lambda: Parrot(known), seed).values())


def test_what_was_learnt_by_heart_is_worth_nothing():
    """Without the disguise it is worth all but the hidden check."""
    fixed_window, cheat = find("3"), CHEATS / "knows_by_heart.py"
    public = [check.name for check in fixed_window.checks() if not check.hidden]
    plain = grade(fixed_window, cheat, 5, disguised=False)
    assert [name for name, passed in plain.items() if passed] == public
    assert not any(grade(fixed_window, cheat, 5).values())


class Echo:
    """A channel whose other end says what it was told to say, and what it was asked.

    Without an answer it is what it was asked last, in a list.
    """

    seed = 0

    def __init__(self, answer=None):
        self.answer, self.asked = answer, []

    def ask(self, op, fields):
        self.asked.append((op, fields))
        return self.answer or {"value": fields["args"]}

    def callback(self, function):
        self.function = function
        return 0


NONE = {"dict": []}
ROLES = {"take": ("name", "moment"), "Made": {"window": "span"}, "answers": {"reset": "span"}}


def test_names_moments_and_spans_are_others_and_come_back():
    echo = Echo(
        {"value": {"record": ["Verdict", {"dict": [["reset", 8.0], ["remaining", 2], ["admitted", True]]}]}}
    )
    channel = Disguised(echo, ROLES, 7)
    answer = channel.ask("call", {"method": "take", "args": ["ada", 100.0, "more"], "kwargs": NONE})
    (_, asked), unit = echo.asked[0], channel._unit
    assert unit in UNITS
    assert asked["args"][0] not in ("ada", "grace")
    assert asked["args"][1:] == [100.0 * unit + channel._beginning, "more"]
    fields = dict(answer["value"]["record"][1]["dict"])
    assert fields == {"reset": 8.0 / unit, "remaining": 2, "admitted": True}
    channel.ask("new", {"name": "Made", "args": [], "kwargs": {"dict": [["limit", 3], ["window", 10.0]]}})
    assert echo.asked[1][1]["kwargs"]["dict"] == [["limit", 3], ["window", 10.0 * unit]]
    channel.ask("call", {"method": "take", "args": ["ada", 0.0], "kwargs": NONE})
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
    assert (
        Disguised(Echo(answer), ROLES, 7).ask("call", {"method": "take", "args": [], "kwargs": NONE})
        == answer
    )


def say(channel, method, *args):
    """What comes back, where what is asked goes into an `Echo`."""
    return unpack(channel.ask("call", {"method": method, "args": pack(list(args)), "kwargs": NONE})["value"])


def heard(echo):
    """The last question's arguments."""
    return unpack(echo.asked[-1][1]["args"])


def test_words_are_others_wherever_they_stand_and_come_back():
    echo = Echo()
    channel = Disguised(echo, {"words": ("service", "SERVICE", "items")}, 7)
    nested = [{"service-a": ["/SERVICE-a/items"]}, Request(path="/service-b/%2F", body=b"\xffitems"), 5, None]
    assert say(channel, "ask", *nested) == nested
    table, request, *rest = heard(echo)
    ((name, (path,)),) = table.items()
    other = name.removesuffix("-a")
    assert re.fullmatch("[a-z]{7}", other)
    assert not set(enumerate(other)) & set(enumerate("service"))
    assert re.fullmatch(rf"/{other.upper()}-a/[a-z]{{5}}", path)
    assert "items" not in path
    assert request.path == f"/{other}-b/%2F"
    assert request.body == b"\xff" + path[-5:].encode()
    assert rest == [5, None]
    assert say(channel, "ask", "myservice", "services", "service_a") == ["myservice", "services", "service_a"]
    assert heard(echo) == ["myservice", "services", "service_a"]


def test_words_are_others_in_callbacks_too():
    async def call_next(packed):
        told.append(packed)
        return {"value": "the service answers"}

    told, echo = [], Echo()
    channel = Disguised(echo, {"words": ("service",)}, 7)
    channel.callback(call_next)
    say(channel, "ask", "service")
    (other,) = heard(echo)
    answer = asyncio.run(echo.function([[f"/{other}/1"], NONE]))
    assert told == [[["/service/1"], NONE]]
    assert answer == {"value": f"the {other} answers"}


def test_text_has_other_letters_and_the_same_escapes():
    echo = Echo()
    channel = Disguised(echo, {"matches": ("text", "text"), "returns": {"matches": "text"}}, 7)
    assert say(channel, "matches", "/Ab/a%2F%zz*", b"/b") == ["/Ab/a%2F%zz*", b"/b"]
    glob, path = heard(echo)
    assert re.fullmatch(r"/[A-Z][a-z]/[a-z]%2F%[a-z]{2}\*", glob)
    assert glob[1].lower() == glob[4] != "a"
    assert path == b"/" + glob[2].encode() != b"/b"
    say(channel, "matches", "a", "b", "c")
    assert heard(echo)[2] == "c"


def test_where_the_second_is_given_it_stays_one():
    roles = {"Made": {"window": "span", "other": "span"}, "pause": ("span",), "returns": {"pause": "span"}}
    made = {"name": "Made", "args": [], "kwargs": {"dict": [["window", 10.0]]}}
    for before in (("clock", {"start": 5.0}), ("new", made)):
        echo = Echo({"value": 3.0})
        channel = Disguised(echo, roles, 7)
        assert say(channel, "pause", 3.0) == 3.0 / channel._unit
        assert heard(echo) == [3.0 * channel._unit] != [3.0]
        channel.ask(*before)
        assert say(channel, "pause", 3.0) == 3.0
        assert heard(echo) == [3.0]


def test_data_that_is_none_comes_back_as_it_is():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {"bytes": 5}, {"bytes": "service"}, {"bytes": base64.b64encode(b"x").decode()[:-1]}):
        answer = Disguised(Echo({"value": value}), {"words": ("service",)}, 7).ask("settle", {})
        assert answer["value"] is value
