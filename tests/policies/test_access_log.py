from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from lab.model import Exchange, Response
from lab.policies import Context
from lab.policies.access_log import AccessLog, Histogram, LineWriter, Recent, Tally, Top, quantiles

KEYS = [
    "ts",
    "level",
    "event",
    "request_id",
    "client",
    "method",
    "path",
    "service",
    "status",
    "duration_ms",
    "cache",
    "limited",
    "breaker",
    "attempts",
    "bytes_out",
]


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        context = Context(clock=lambda: self.now, wall=lambda: 1_790_000_000.25)
        self.stage = AccessLog(None, context, write=self.lines.append)

    def exchange(self, **changes: Any) -> Exchange:
        made = Exchange("GET", b"/service-a/x", service="service-a", peer="192.0.2.1", started=self.now)
        made.request_id = "id"
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    @property
    def entry(self) -> dict[str, Any]:
        return dict(json.loads(self.lines[-1]))


async def ok(exchange: Exchange) -> Response:
    return Response(200)


async def test_the_line_is_written_when_the_last_byte_is_out_and_not_before() -> None:
    world = World()
    exchange = world.exchange()
    response = await world.stage(exchange, ok)
    assert world.lines == []
    assert world.stage.tally.in_flight == 1
    world.now += 0.25
    exchange.bytes_out = 7
    exchange.cache, exchange.limited, exchange.breaker, exchange.attempts = "MISS", False, "closed", 2
    response.end()
    assert list(world.entry) == KEYS
    assert world.entry == {
        "ts": 1_790_000_000.25,
        "level": "info",
        "event": "request",
        "request_id": "id",
        "client": "192.0.2.1",
        "method": "GET",
        "path": "/service-a/x",
        "service": "service-a",
        "status": 200,
        "duration_ms": 250.0,
        "cache": "MISS",
        "limited": False,
        "breaker": "closed",
        "attempts": 2,
        "bytes_out": 7,
    }
    assert world.stage.tally.in_flight == 0


@pytest.mark.parametrize("raw", [b'/service-a/"\\', b"/service-a/\xff\xe9", b"/service-a/\x7f"])
async def test_whatever_the_path_the_line_is_json(raw: bytes) -> None:
    world = World()
    response = await world.stage(world.exchange(raw_path=raw, request_id='"\\'), ok)
    response.end()
    assert world.entry["path"] == raw.decode("latin-1")
    assert world.entry["request_id"] == '"\\'


async def test_the_key_s_name_stands_for_the_client_and_the_query_nowhere() -> None:
    world = World()
    exchange = world.exchange(identity="demo", query=b"token=secret")
    (await world.stage(exchange, ok)).end()
    assert world.entry["client"] == "demo"
    assert "secret" not in world.lines[-1]


async def test_a_client_that_goes_away_before_the_head_is_status_0() -> None:
    world = World()

    async def gone(exchange: Exchange) -> Response:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.stage(world.exchange(), gone)
    assert world.entry["status"] == 0
    assert world.stage.tally.totals["aborted"] == 1
    assert world.stage.tally.in_flight == 0


async def test_a_stage_that_raises_is_logged_as_500() -> None:
    world = World()

    async def broken(exchange: Exchange) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.stage(world.exchange(), broken)
    assert (world.entry["status"], world.entry["level"]) == (500, "error")


def test_the_tally_counts_by_what_the_stages_noted() -> None:
    tally = Tally()
    exchange = Exchange("GET", b"/a/x", service="a")
    exchange.cache, exchange.limited, exchange.attempts = "MISS", False, 3
    tally.add(exchange, 200, 0.1, 1.0, 5)
    exchange.cache, exchange.attempts = "HIT", 0
    tally.add(exchange, 200, 0.1, 1.0, 5)
    exchange.limited, exchange.cache = True, None
    tally.add(exchange, 429, 0.1, 1.0, 0)
    exchange.limited = False
    tally.add(exchange, 503, 0.1, 1.0, 0)
    exchange.attempts = 1
    tally.add(exchange, 502, 0.1, 1.0, 0)
    assert dict(tally.totals) == {
        "requests": 5,
        "2xx": 2,
        "4xx": 1,
        "5xx": 2,
        "bytes_out": 10,
        "admitted": 4,
        "limited": 1,
        "misses": 1,
        "hits": 1,
        "upstream_calls": 4,
        "retries": 2,
        "rejected": 1,
        "failures": 1,
    }
    assert tally.services["a"]["requests"] == 5
    tally.forget("a")
    assert tally.services == {}


def test_the_gateway_s_own_paths_are_in_the_metrics_but_not_in_the_totals() -> None:
    tally = Tally()
    tally.add(Exchange("GET", b"/health"), 200, 0.1, 1.0, 5)
    assert tally.requests["GET", "", 200] == 1
    assert tally.totals["requests"] == 0


def test_an_invented_method_makes_no_new_label() -> None:
    tally = Tally()
    for i in range(100):
        tally.add(Exchange(f"M{i}", b"/a", service="a"), 200, 0.1, 1.0, 0)
    assert set(tally.requests) == {("OTHER", "a", 200)}


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.0011, 99.0):
        histogram.observe(seconds)
    assert histogram.counts[0] == 1
    assert histogram.counts[1] == 1
    assert histogram.counts[-1] == 1


def test_quantiles_are_of_the_last_ten_seconds() -> None:
    recent = Recent()
    assert quantiles([recent], 0.0) == {"p50": None, "p95": None, "p99": None}
    for _ in range(99):
        recent.observe(0.010, 100.5)
    recent.observe(1.0, 100.6)
    result = quantiles([recent], 101.0)
    assert result["p50"] == pytest.approx(0.010, rel=0.16)
    assert result["p99"] == pytest.approx(0.010, rel=0.16)
    for _ in range(5):
        recent.observe(1.0, 101.0)
    assert quantiles([recent], 101.0)["p99"] == pytest.approx(1.0, rel=0.16)
    assert quantiles([recent], 112.0)["p50"] is None


def test_the_busiest_paths_stay_when_a_million_others_come() -> None:
    top = Top(size=100)
    for i in range(20_000):
        top.add(f"/once/{i}")
        top.add("/often")
    assert top.most(1)[0][0] == "/often"
    assert len(top.counts) <= 100


def test_lines_reach_the_descriptor_in_order_and_whole() -> None:
    out, into = os.pipe()
    writer = LineWriter(into)
    for i in range(100):
        writer.write(f"line {i}")
    writer.close()
    os.close(into)
    with os.fdopen(out) as reader:
        assert reader.read().splitlines() == [f"line {i}" for i in range(100)]


async def test_a_reader_that_does_not_read_never_stalls_the_writer() -> None:
    out, into = os.pipe()
    writer = LineWriter(into, bound=100_000)
    for i in range(10_000):
        writer.write(f"{i:0>100}")
        writer.flush()
    assert writer._dropped > 0
    os.set_blocking(out, False)
    received = b""
    while b"log_dropped" not in received:  # the pipe drains; what was dropped is told
        try:
            received += os.read(out, 1 << 16)
        except BlockingIOError:
            await asyncio.sleep(0)
            if writer._dropped and writer._pending <= 100_000:
                writer.write("after")
                writer.flush()
    os.close(out)
    writer.close()
    os.close(into)


def test_a_reader_that_is_gone_is_no_error() -> None:
    out, into = os.pipe()
    os.close(out)
    writer = LineWriter(into)
    writer.write("x")
    writer.close()
    os.close(into)


async def test_a_successor_goes_on_with_the_counts_and_the_lines() -> None:
    old, new = World(), World()
    (await old.stage(old.exchange(), ok)).end()
    new.stage.adopt(old.stage)
    (await new.stage(new.exchange(), ok)).end()
    assert new.stage.tally.totals["requests"] == 2
    assert len(new.stage.recent) == 2
    assert old.stage.snapshot() == {"lines": 1}
    new.stage.close()  # what somebody else writes is not the stage's to close
    assert len(new.lines) == 1


async def test_answers_shared_and_answers_past_their_time_are_counted() -> None:
    world = World()
    for status in (b"fwd=uri-miss; collapsed", b"hit; detail=stale-while-revalidate", b"hit; ttl=3"):
        exchange = world.exchange(cache="HIT", cache_status=b"gateway-lab; " + status)
        (await world.stage(exchange, ok)).end()
    totals = world.stage.tally.totals
    assert (totals["hits"], totals["coalesced"], totals["stale"]) == (3, 1, 1)


async def test_the_paths_are_listed_busiest_first() -> None:
    world = World()
    for path in (b"/service-a/x", b"/service-a/y", b"/service-a/y"):
        exchange = world.exchange(path=path.decode())
        (await world.stage(exchange, ok)).end()
    assert world.stage.tally.paths.most(1) == [("/service-a/y", 2)]


def test_a_writer_that_wrote_nothing_is_closed_without_a_thread() -> None:
    writer = LineWriter(-1)
    writer.close()
    assert writer._thread is None


def test_a_quantile_is_the_first_bound_that_holds_its_share() -> None:
    recent = Recent()
    for _ in range(95):
        recent.observe(0.001, now=5.0)
    for _ in range(5):
        recent.observe(1.0, now=5.0)
    found = quantiles([recent], 5.0)
    assert found["p50"] == found["p95"]
    assert found["p50"] == pytest.approx(0.001, rel=0.15)
    assert found["p99"] == pytest.approx(1.0, rel=0.15)


def test_without_a_place_of_its_own_the_log_writes_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stage = AccessLog()
    stage.record(Exchange("GET", b"/health"), 200)
    stage.close()
    assert json.loads(capfd.readouterr().err)["path"] == "/health"


def test_a_log_that_somebody_else_writes_needs_no_closing() -> None:
    world = World()
    world.stage.record(world.exchange(), 200)
    world.stage.close()
    assert len(world.lines) == 1


async def test_a_successor_goes_on_with_the_counts_and_the_last_lines() -> None:
    old, new = World(), World()
    (await old.stage(old.exchange(), ok)).end()
    new.stage.adopt(old.stage)
    (await new.stage(new.exchange(), ok)).end()
    assert new.stage.tally.totals["requests"] == 2
    assert list(new.stage.recent) == old.lines + new.lines
    assert new.stage.snapshot() == {"lines": 1}
