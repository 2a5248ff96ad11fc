"""What a recording makes of the feed."""

import asyncio

from lab.load.direct import Outcome, Request
from lab.scenarios.recording import Recording, summary


def state(seq, kind="tick", **totals):
    return {"type": kind, "seq": seq, "totals": totals, "services": {"a": {"totals": totals}}}


def event(seq, **data):
    return {"type": "event", "seq": seq, **data}


def outcome(tag, status=None, failure=None):
    return Outcome(Request("/", tag=tag), status=status, failure=failure)


def recording():
    it = Recording()
    it.begin(state(5, "snapshot", hits=10))
    return it


def test_counts_begin_at_the_snapshot():
    it = recording()
    assert it.total("hits") == 0
    it.hear(state(6, hits=13))
    assert it.total("hits") == it.total("hits", "a") == 3
    assert it.total("hits", "unknown") == it.total("misses") == 0


def test_a_tick_from_before_a_newer_snapshot_takes_nothing_back():
    it = recording()
    it.hear(state(9, "snapshot", hits=20))
    it.hear(state(8, hits=15))
    assert it.total("hits") == 10


def test_events_from_before_are_none_of_the_play():
    it = recording()
    it.hear(event(4, kind="breaker", service="a", to="open", **{"from": "closed"}))
    assert it.states("a") == []


def test_the_order_of_transitions():
    it = recording()
    it.hear(event(6, kind="breaker", service="a", to="open", **{"from": "closed"}))
    it.hear(event(7, kind="note", action="says"))
    it.hear(event(8, kind="retry_budget", service="a", action="exhausted"))
    it.hear(event(9, kind="breaker", service="b", to="open", **{"from": "closed"}))
    assert it.states("a") == ["open"]
    assert it.order == [
        "breaker a: closed → open",
        "retry budget a: exhausted",
        "breaker b: closed → open",
    ]
    assert len(it.seen("breaker", from_="closed")) == 2


def test_outcomes_by_tag_status_and_failure():
    it = recording()
    for each in (outcome("x", 200), outcome("x", 503), outcome("x", failure="timeout"), outcome("y", 200)):
        it.add(each)
    assert it.count("x") == 3
    assert it.count("x", 503, "timeout") == 2
    assert it.good("x") == 1
    assert summary(it.tagged("x")) == "1 × 200, 1 × 503, 1 × timeout"


async def test_waiting_ends_with_the_news():
    it = recording()
    waiting = asyncio.ensure_future(it.until(lambda: it.count("x") == 2))
    await asyncio.sleep(0)
    it.add(outcome("x", 200))
    await asyncio.sleep(0)
    assert not waiting.done()
    it.add(outcome("x", 200))
    await asyncio.wait_for(waiting, 10)
