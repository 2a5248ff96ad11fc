from __future__ import annotations

import pytest

from lab.load.shapes import SHAPES


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_has_users_until_it_is_over(shape: object) -> None:
    it = SHAPES[getattr(shape, "name", "")]
    counts = [it.users_at(t / 10, 100, 20.0) for t in range(200)]
    assert all(count is not None and 1 <= count <= 100 + it.extra for count in counts)
    assert it.users_at(20.0, 100, 20.0) is None
    assert it.users_at(0.0, 1, 20.0) == 1 + it.extra  # never nobody


def test_steady_ramp_and_spike() -> None:
    def at(name: str, *moments: float) -> list[int | None]:
        return [SHAPES[name].users_at(moment, 100, 10.0) for moment in moments]

    assert at("steady", 0, 5, 9.9) == [100, 100, 100]
    assert at("ramp", 0, 1, 4.5, 9.9) == [10, 20, 50, 100]
    assert at("spike", 0, 3.9, 4, 5.9, 6, 9.9) == [10, 10, 100, 100, 10, 10]
