"""The order in which a worker runs checks: one by one, or, for programs, several side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.exercises import kit
from lab.exercises.worker import TOGETHER, one_by_one, side_by_side


def several(checks: list[kit.Check], perform: Callable) -> Iterator[dict[str, Any]]:
    return side_by_side(checks, perform, lambda: TOGETHER)


BOTH = pytest.mark.parametrize("in_order", [one_by_one, several])


def check(name: str, *after: str) -> kit.Check:
    return kit.Check(name, lambda: None, 1, "", False, after, "", "", 3.0)


def result(check: kit.Check, status: kit.Status = "passed") -> kit.Result:
    return kit.Result(check.name, status, 0, 1)


def steps(in_order: Callable, checks: list[kit.Check], perform: Callable) -> list[str]:
    """`begin a`, `passed a`, … in the order in which they are told."""
    return [
        f"begin {message['begin']}"
        if "begin" in message
        else f"{message['result']['status']} {message['result']['name']}"
        for message in in_order(checks, perform)
    ]


@BOTH
def test_every_check_begins_and_ends_once(in_order: Callable) -> None:
    checks = [check(name) for name in "abcdefghij"]
    told = steps(in_order, checks, result)
    assert sorted(told) == sorted([f"{what} {c.name}" for c in checks for what in ("begin", "passed")])
    assert [line for line in told if "begin" in line] == [f"begin {c.name}" for c in checks]


@BOTH
def test_what_a_check_builds_on_is_decided_before_it_begins(in_order: Callable) -> None:
    told = steps(in_order, [check("a"), check("b", "a"), check("c"), check("d", "b", "c")], result)
    for name, needed in (("b", "a"), ("d", "b"), ("d", "c")):
        assert told.index(f"passed {needed}") < told.index(f"begin {name}")


@BOTH
@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_what_builds_on_one_that_did_not_pass_is_left_out(in_order: Callable, status: kit.Status) -> None:
    checks = [check("a"), check("b", "a"), check("c", "b"), check("d"), check("e", "passed before")]
    told = steps(in_order, checks, lambda it: result(it, status if it.name == "a" else "passed"))
    assert sorted(told) == sorted([f"{status} a", *(f"begin {n}" for n in "ade"), "passed d", "passed e"])


def test_checks_of_a_program_are_under_way_at_the_same_time() -> None:
    all_there = threading.Barrier(TOGETHER)

    def perform(it: kit.Check) -> kit.Result:
        if it.name != "first":
            all_there.wait(30)
        return result(it)

    told = steps(several, [check(name) for name in ("first", *map(str, range(3 * TOGETHER)))], perform)
    assert told[:2] == ["begin first", "passed first"]
    assert most_under_way(told) == TOGETHER


def test_where_there_is_one_port_for_all_they_are_under_way_one_by_one() -> None:
    told = steps(lambda *given: side_by_side(*given, lambda: 1), [check(name) for name in "abc"], result)
    assert most_under_way(told) == 1


def most_under_way(told: list[str]) -> int:
    return max(sum(1 if "begin" in line else -1 for line in told[: n + 1]) for n in range(len(told)))
