"""Plain data: everything that is packed is unpacked as it was, and nothing else gets through."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.exercises.plain import Answer, Handle, NotPlain, Record, Ref, Request, pack, unpack

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.builds(Ref, st.integers(), st.text())
    | st.builds(Request, path=st.text(), body=st.binary())
    | st.builds(Answer, status=st.integers(), body=st.binary())
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.builds(Record, st.text(), st.dictionaries(st.text(), inner))
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_packed_comes_out_as_it_was(value: Any) -> None:
    through = unpack(json.loads(json.dumps(pack(value))))
    assert through == value
    assert repr(through) == repr(value)  # tells 1 from True, 0.0 from -0.0


def test_not_a_number_stays_one() -> None:
    assert math.isnan(unpack(pack(math.nan)))


def test_a_tuple_becomes_a_list_and_handles_are_resolved() -> None:
    assert unpack(pack((1, (2,)))) == [1, [2]]
    assert unpack(pack([Handle(3, "clock"), Ref(4, "X")]), lambda it: it.number) == [3, 4]


def test_what_has_no_plain_form_is_refused_or_given_one() -> None:
    with pytest.raises(NotPlain, match="a object cannot be passed"):
        pack(object())
    assert unpack(pack({"x": object()}, lambda thing: "a thing")) == {"x": "a thing"}


def test_depth_and_size_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(NotPlain, match="deep"):
        pack(deep)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotPlain, match="deep"):
        pack(endless)
    with pytest.raises(NotPlain, match="hundred thousand"):
        pack([0] * 1_000_001)


@pytest.mark.parametrize(
    "forged",
    [
        {"nonsense": 1},
        {"int": "xyz"},
        {"bytes": "%%%"},
        {"dict": [[[], 1]]},
        {"ref": []},
        {"request": {"dict": [["color", 1]]}},
        {"a": 1, "b": 2},
        {},
    ],
)
def test_what_pack_never_makes_is_refused(forged: Any) -> None:
    with pytest.raises(NotPlain):
        unpack(forged)
