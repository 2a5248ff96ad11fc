"""The hint line leads a newcomer from the first request to a breaker that opens and closes."""

from __future__ import annotations

import pytest

from lab.dashboard.guide import Facts, hint
from lab.dashboard.state import View

from .fakes import FakeGateway

MINE = Facts(can_send=True, owns_stack=True, rate=5)


def after(gateway: FakeGateway, **counted: int) -> View:
    gateway.count(**counted)
    view = View(status="live")
    view.fold(gateway.snapshot())
    return view


def test_the_tour_in_order(gateway: FakeGateway) -> None:
    steady, down = Facts(True, True, steady=True, rate=5), Facts(True, True, True, 5, "stopped")
    said = [
        hint(View(), MINE),
        hint(after(gateway), MINE),
        hint(after(gateway, misses=1), MINE),
        hint(after(gateway, hits=1), MINE),
        hint(after(gateway, limited=1), MINE),
        hint(after(gateway), steady),
        hint(after(gateway), down),
    ]
    view = after(gateway)
    view.fold(gateway.breaker("service-a", "open", "5 failures in a row"))
    view.fold(gateway.tick())
    said.append(hint(view, down))
    view.fold(gateway.breaker("service-a", "half_open", ""))
    view.fold(gateway.tick())
    said.append(hint(view, steady))
    view.fold(gateway.breaker("service-a", "closed", ""))
    view.fold(gateway.tick())
    said.append(hint(view, steady))
    words = [
        "starting",
        "space",
        "MISS",
        "HIT",
        "[b]t[/]",
        "[b]d[/]",
        "Five failures",
        "OPEN",
        "HALF-OPEN",
        "Steady traffic: 5/s",
    ]
    for line, word in zip(said, words, strict=True):
        assert word in line


def test_what_was_done_on_purpose_is_told_and_how_it_is_undone(gateway: FakeGateway) -> None:
    view = after(gateway, hits=1)
    view.fold(gateway.event("note", source="fault", text="latency [b]800 ms", action="started"))
    assert "latency \\[b]800 ms" in hint(view, MINE)
    assert "[b]![/] undoes everything" in hint(view, MINE)
    view.fold(gateway.event("note", source="fault", action="stopped"))
    view.policies = {"auth": {"enabled": True}}
    assert "401" in hint(view, MINE)


@pytest.mark.parametrize("facts", [MINE, Facts(), Facts(can_send=True)])
def test_every_hint_fits_eighty_columns(gateway: FakeGateway, facts: Facts) -> None:
    from textual.content import Content

    views = [View(), View(status="lost", trouble="the gateway is not reachable"), after(gateway)]
    for counted in ({"misses": 1}, {"hits": 1}, {"limited": 1}):
        views.append(after(gateway, **counted))
    for state in ("open", "half_open", "closed"):
        view = after(gateway)
        view.fold(gateway.breaker("service-a", state, ""))
        view.fold(gateway.tick())
        views.append(view)
    for view in views:
        for steady in (False, True):
            for service in ("healthy", "stopped"):
                now = Facts(facts.can_send, facts.owns_stack, steady, 40, service)
                assert Content.from_markup(hint(view, now)).cell_length <= 78


def test_who_may_only_look_is_not_told_to_press_what_is_not_there(gateway: FakeGateway) -> None:
    assert "space" not in hint(after(gateway), Facts())


def test_a_refused_token_says_what_to_do() -> None:
    assert "--token" in hint(View(status="refused", trouble="the token is wrong"), Facts())


def test_a_recording_says_what_its_keys_do_now() -> None:
    def said(paused: bool, trouble: str = "") -> str:
        return hint(View(status="replay", trouble=trouble), Facts(replay=(paused, 4.0)))

    assert "playing at 4×" in said(False)
    assert "[b]space[/] pauses" in said(False)
    assert "[b]space[/] goes on" in said(True)
    assert "at its end" in said(False, "the end")
