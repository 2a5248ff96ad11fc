from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.policies.matching import matcher


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("/a", ["/a"], ["/", "/a/", "/ab", "/A", "/x/a", "a"]),
        ("/a/*", ["/a/b", "/a/", "/a/b.c"], ["/a", "/a/b/c", "/a/b/"]),
        ("/a/*/c", ["/a/b/c", "/a//c"], ["/a/c", "/a/b/b/c"]),
        ("/a/v*", ["/a/v", "/a/v1"], ["/a/w", "/a/v1/x"]),
        ("/a*b*c", ["/abc", "/axbxbxc", "/abcc"], ["/ab", "/abcd", "/a/bc", "/acb"]),
        ("/a/**", ["/a", "/a/", "/a/b", "/a//b/c"], ["/ab", "/", "/b/a"]),
        ("/**", ["/", "/a", "/a/b"], []),
        ("/**/c", ["/c", "/a/c", "/a/b/c", "//c"], ["/ac", "/c/", "/c/d"]),
        ("/a/**/c", ["/a/c", "/a/b/c", "/a/c/c"], ["/ac", "/a/bc", "/a/c/d"]),
        ("/**/b/**/d", ["/b/d", "/a/b/b/c/d/d", "/bx/b/d"], ["/d/b", "/ab/d", "/b/cd"]),
        ("/**/b/**", ["/b", "/a/b", "/b/c", "/a/b/c"], ["/bc", "/a/bc"]),
        ("/a/**/**", ["/a", "/a/b/c"], ["/ab"]),
        ("/**/v*/x*", ["/v1/x", "/v/v2/x3"], ["/v1/y/x"]),
        ("/a**", ["/a", "/ab", "/a/b", "/abc/d"], ["/b", "/"]),
        ("/a**b", ["/ab", "/axb"], ["/a/b"]),
        ("/a.b(c)[d]?", ["/a.b(c)[d]?"], ["/axb(c)[d]?", "/a.b(c)d"]),
        ("/a%2Fb", ["/a%2Fb"], ["/a/b"]),
    ],
)
def test_a_glob_matches_what_it_says(glob: str, matching: list[str], others: list[str]) -> None:
    matches = matcher(glob)
    assert [path for path in matching if not matches(path)] == []
    assert [path for path in others if matches(path)] == []


def by_definition(glob: list[str], path: list[str]) -> bool:
    """The definition, tried out: exponential, and so obviously right."""
    if not glob:
        return not path
    if glob[0] == "**":
        return any(by_definition(glob[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and segment(glob[0], path[0]) and by_definition(glob[1:], path[1:])


def segment(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return any(segment(glob[1:], text[i:]) for i in range(len(text) + 1))
    return text[:1] == glob[0] and segment(glob[1:], text[1:])


globs = st.lists(
    st.one_of(st.just("**"), st.text("ab*", max_size=4).filter(lambda s: "**" not in s)), min_size=1
)
paths = st.lists(st.text("ab", max_size=4), min_size=1, max_size=6)


@settings(deadline=None)
@given(globs.map(lambda g: g[:5]), paths)
def test_settling_stars_at_the_nearest_place_loses_no_match(glob: list[str], path: list[str]) -> None:
    matched = bool(matcher("/" + "/".join(glob))("/" + "/".join(path)))
    assert matched == by_definition(glob, path)


@pytest.mark.parametrize(
    ("glob", "unit"),
    [
        ("/*a*a*a*a*a*b", "a"),
        ("/*a*a*a*a*a*b/**", "a"),
        ("/**/a/**/a/**/a/**/a/**/b", "/a"),
        ("/**/**/**/**/b", "/a"),
        ("/**/*a/**/*a*a/**/*a/*a/**/b", "/aa"),
        ("/**/a*a*b**", "/aa"),
    ],
)
def test_a_hostile_path_takes_time_in_proportion_to_its_length(glob: str, unit: str) -> None:
    matches = matcher(glob)
    # 100,000 units: linear work is a few milliseconds, quadratic work already half a minute.
    path = "/" + unit * 100_000
    begun = time.process_time()
    assert not matches(path)
    assert time.process_time() - begun < 2
