"""The traffic keys: what is sent, in whose name, how fast."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from lab.dashboard.traffic import GREEDY, RATES, TRUST, VISITORS, Traffic, steady_path
from lab.settings import load


class Sink:
    """Stands where the gateway would be and notes who asked for what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, str]] = []
        self.enough = asyncio.Event()
        self.want = 1

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.headers.get("x-forwarded-for"), request.url.raw_path.decode()))
        if len(self.seen) >= self.want:
            self.enough.set()
        return httpx.Response(200)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def traffic(sink: Sink) -> Traffic:
    return Traffic("http://gateway", transport=httpx.MockTransport(sink))


async def test_one_request_is_yours_and_always_the_same(traffic: Traffic, sink: Sink) -> None:
    traffic.one()
    traffic.one()
    await traffic.settled()
    assert sink.seen == [(None, "/service-a/items/1")] * 2
    await traffic.aclose()


async def test_a_burst_is_one_greedy_client(traffic: Traffic, sink: Sink) -> None:
    traffic.burst()
    await traffic.settled()
    assert Counter(client for client, _ in sink.seen) == {GREEDY: 20}
    await traffic.aclose()


async def test_steady_traffic_comes_from_many_and_stops(traffic: Traffic, sink: Sink) -> None:
    sink.want = 6
    traffic.rate = 40
    traffic.toggle()
    async with asyncio.timeout(10):
        await sink.enough.wait()
    traffic.toggle()
    await traffic.settled()
    sent = len(sink.seen)
    assert [client for client, _ in sink.seen] == list(VISITORS[:sent])
    assert [path for _, path in sink.seen] == [steady_path(n) for n in range(sent)]
    assert not traffic.steady
    await traffic.aclose()


def test_no_visitor_reaches_the_default_limit_at_any_rate() -> None:
    limit = load({}).rate_limit
    assert max(RATES) / len(VISITORS) * limit.window < limit.limit


def test_half_of_the_steady_traffic_is_new_to_the_cache() -> None:
    paths = [steady_path(n) for n in range(1000)]
    assert len(set(paths[1::2])) == 500
    assert len(set(paths[0::2])) == 5


def test_the_rate_stays_within_its_steps(traffic: Traffic) -> None:
    for _ in range(20):
        traffic.change_rate(1)
    assert traffic.rate == RATES[-1]
    for _ in range(20):
        traffic.change_rate(-1)
    assert traffic.rate == RATES[0]


async def test_a_gateway_that_is_away_is_only_counted() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    traffic = Traffic("http://gateway", transport=httpx.MockTransport(refuse))
    traffic.one()
    await traffic.settled()
    assert (traffic.sent, traffic.unanswered) == (1, 1)
    await traffic.aclose()


async def test_a_hanging_service_does_not_pile_requests_up() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        return await asyncio.Future()

    traffic = Traffic("http://gateway", transport=httpx.MockTransport(hang))
    for _ in range(100):
        traffic.burst()
    assert len(traffic._tasks) == 500
    await traffic.aclose()
    assert not traffic._tasks


def test_what_the_stack_is_told_to_trust_is_a_valid_setting() -> None:
    assert "127.0.0.0/8" in load(TRUST).trusted_proxies
