"""The View, without a screen: rates, history, ribbons and bands from feed messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.dashboard.state import HISTORY, Band, History, View, by_outcome

from .fakes import START, TOTALS, FakeGateway, request


def test_a_snapshot_alone_gives_everything_a_value(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    assert (view.pid, view.version, view.in_flight) == (4711, "0.1.0", 2)
    assert view.rate("requests") == 0.0
    assert view.hit_ratio() is None
    assert view.breaker_at("service-a", START) == "closed"


def test_a_rate_is_the_difference_of_totals_over_two_seconds(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    for _ in range(20):
        gateway.count(requests=2, hits=1)
        view.fold(gateway.tick(0.2))
    assert view.rate("requests") == pytest.approx(10.0)
    assert view.rate("hits", "service-a") == pytest.approx(5.0)
    assert view.rate("hits", "service-b") == 0.0


def test_what_was_more_than_two_seconds_ago_is_no_rate_of_now(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    gateway.count(requests=100)
    view.fold(gateway.tick(0.2))
    assert view.rate("requests") == pytest.approx(100)
    for _ in range(12):
        view.fold(gateway.tick(0.2))
    assert view.rate("requests") == 0


def test_a_lost_tick_loses_no_request(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    for _ in range(10):
        gateway.count(requests=5)
        gateway.tick(0.2)  # never arrives
    view.fold(gateway.tick(0.2))
    assert sum(rate or 0 for rate in view.history.series["requests"]) * 2.2 == pytest.approx(50)


def test_silence_lets_the_rate_fall_and_time_pass(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    gateway.count(requests=8)
    view.fold(gateway.tick(1.0))
    assert view.rate("requests") == pytest.approx(8.0)
    view.advance(gateway.time + 7.0)
    assert view.rate("requests") == pytest.approx(1.0)
    assert view.history.end == START + 8


def test_a_restarted_gateway_starts_from_nothing_without_negative_rates(gateway: FakeGateway) -> None:
    view = View()
    gateway.count(requests=1000)
    view.fold(gateway.snapshot())
    again = FakeGateway()
    again.time = gateway.time + 5
    view.fold(again.snapshot(pid=4712, uptime=1.0))
    again.count(requests=3)
    view.fold(again.tick(1.0))
    assert view.rate("requests") == pytest.approx(3.0)
    assert all(rate is None or rate >= 0 for rate in view.history.series["requests"])


def test_events_that_a_second_snapshot_repeats_are_kept_once(gateway: FakeGateway) -> None:
    view = View()
    event = gateway.breaker("service-a", "open", "5 failures in a row")
    view.fold(gateway.snapshot(events=[event]))
    view.fold(gateway.snapshot(events=[event]))
    assert len(view.events) == 1


def test_the_ribbon_follows_every_transition(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    gateway.time += 10
    view.fold(gateway.breaker("service-a", "open", "5 failures in a row"))
    gateway.time += 0.02
    view.fold(gateway.breaker("service-a", "half-open", "forced"))
    assert view.breaker_at("service-a", START + 9) == "closed"
    assert view.breaker_at("service-a", START + 10.01) == "open"
    assert view.breaker_at("service-a", START + 11) == "half_open"
    assert view.breaker_at("service-b", START + 11) == "closed"


def test_the_ribbon_knows_what_was_before_the_first_event(gateway: FakeGateway) -> None:
    view = View()
    gateway.time += 50
    event = gateway.breaker("service-a", "open", "5 failures in a row")
    view.fold(gateway.snapshot(events=[event]))
    assert view.breaker_at("service-a", START + 1) == "closed"


def test_notes_open_and_close_bands(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    view.fold(gateway.event("note", source="fault", text="slow", action="started"))
    view.fold(gateway.event("note", source="load", text="steps", action="started"))
    gateway.time += 5
    view.fold(gateway.event("note", source="fault", text="slow", action="stopped"))
    assert list(view.bands) == [
        Band("fault", "slow", START, START + 5),
        Band("load", "steps", START),
    ]
    assert view.bands[0].covers(START + 4, START + 5)
    assert not view.bands[0].covers(START + 5, START + 6)


def test_what_has_no_traffic_is_a_gap_not_a_zero(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot())
    view.fold(gateway.tick(1.0))
    assert view.history.last("p95", 1) == [None]
    assert view.history.last("hit_ratio", 1) == [None]
    assert view.history.last("requests", 1) == [0.0]


def test_unknown_messages_and_fields_are_ignored(gateway: FakeGateway) -> None:
    view = View()
    view.fold({"type": "tomorrow"})
    view.fold(gateway.snapshot(tomorrow=1))
    view.fold(gateway.event("tomorrow", what="ever"))
    assert view.events[-1]["kind"] == "tomorrow"


def test_requests_of_ticks_are_kept_and_bounded(gateway: FakeGateway) -> None:
    view = View()
    view.fold(gateway.snapshot(requests=[request(200, "MISS")]))
    for _ in range(100):
        view.fold(gateway.tick(0.2, requests=[request(200, "HIT")] * 20, skipped=3))
    assert len(view.requests) == 500
    assert view.skipped == 300


def test_the_outcomes_add_up() -> None:
    totals = TOTALS | {"requests": 20, "2xx": 9, "3xx": 1, "4xx": 7, "limited": 4, "5xx": 3}
    outcome = by_outcome(totals)
    assert outcome["ok"] == 10
    assert outcome["client_error"] == 3
    assert outcome["ok"] + outcome["client_error"] + outcome["limited"] + outcome["server_error"] == 20


def test_history_pads_on_the_left_and_leaves_gaps() -> None:
    history = History()
    history.add(100, {"requests": 1.0})
    history.add(103, {"requests": 2.0})
    assert history.last("requests", 6) == [None, None, 1.0, None, None, 2.0]
    history.add(101, {"requests": 9.0})  # the past is not rewritten
    assert history.last("requests", 1) == [2.0]


@given(st.lists(st.tuples(st.floats(0.05, 3.0), st.integers(0, 50)), min_size=1, max_size=60))
def test_no_request_is_counted_twice_or_lost(ticks: list[tuple[float, int]]) -> None:
    gateway, view = FakeGateway(), View()
    view.fold(gateway.snapshot())
    closings = [START]
    counted = []
    for after, requests in ticks:
        gateway.count(requests=requests)
        before = view.history.end
        view.fold(gateway.tick(after))
        if view.history.end != before:
            closings.append(view.time)
            counted.append(gateway.totals["requests"])
    rates = [rate for rate in view.history.series["requests"] if rate is not None]
    total = sum(rate * (b - a) for rate, (a, b) in zip(rates, pairwise(closings), strict=True))
    assert total == pytest.approx(counted[-1] if counted else 0)
    assert len(view.history.series["requests"]) <= HISTORY


@given(st.lists(st.floats(-100, 100), max_size=30))
def test_a_clock_that_jumps_breaks_nothing(jumps: list[float]) -> None:
    gateway, view = FakeGateway(), View()
    view.fold(gateway.snapshot())
    for jump in jumps:
        gateway.count(requests=1)
        view.fold(gateway.tick(jump))
        assert view.rate("requests") >= 0
        assert view.time == gateway.time
