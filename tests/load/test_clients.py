"""Who the simulated clients are, and that a gateway which trusts nobody tells them apart."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from lab.launcher import ports
from lab.launcher.stack import Stack
from lab.load.clients import MOST, PER_PROCESS, numbers, own_addresses, visitor
from lab.load.runner import LoadRun
from tests.load.runs import stopped_after


def test_each_has_an_address_and_a_name_of_its_own() -> None:
    here = [visitor(n, own_address=True) for n in (0, 1, 255, 256, 65_535, 65_536, MOST - 1)]
    assert [each.source for each in here] == [
        "127.1.0.0", "127.1.0.1", "127.1.0.255", "127.1.1.0", "127.1.255.255", "127.2.0.0", "127.254.255.255",
    ]  # fmt: skip
    assert here[5].headers == {"X-Forwarded-For": "10.1.0.0"}
    assert visitor(MOST + 1, own_address=True) == here[1]
    assert visitor(7, own_address=False).source is None


def test_keys_are_shown_in_turn() -> None:
    shown = [visitor(n, own_address=True, keys=("a", "b")).headers["X-API-Key"] for n in range(4)]
    assert shown == ["a", "b", "a", "b"]


def test_a_run_begins_with_those_who_have_not_been_here() -> None:
    first = list(itertools.islice(numbers(since=100.0), 29_000))
    again = list(itertools.islice(numbers(since=130.0), 29_000))
    other = list(itertools.islice(numbers(1, since=100.0), 29_000))
    assert len({*first, *again, *other}) == 3 * 29_000
    assert next(numbers(1, since=100.0)) - next(numbers(0, since=100.0)) == PER_PROCESS


@pytest.mark.parametrize(
    "host",
    [
        "http://192.0.2.1:8000",
        "https://gateway.example",
        "https://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://",
    ],
)
def test_elsewhere_and_over_tls_all_come_from_one_address(host: str) -> None:
    assert not own_addresses(host)


async def test_a_gateway_that_trusts_nobody_limits_each_by_itself(tmp_path: Path) -> None:
    if not own_addresses("http://127.0.0.1:8000"):
        pytest.skip("this system has one loopback address")
    (tmp_path / "gateway.json").write_text(json.dumps({"rate_limit": {"limit": 3}}))
    stack = Stack(ports=ports.free(), config=tmp_path / "gateway.json", home=tmp_path, announce=False)
    assert stack.settings.trusted_proxies == []
    await stack.start()
    try:
        assert await stack.wait_healthy(60)
        async with LoadRun(stack.gateway_url, users=2, seconds=600, rate=30, visit=3) as run:
            modest = await stopped_after(10, run)
        async with LoadRun(stack.gateway_url, users=2, seconds=600, rate=30, visit=5) as run:
            greedy = await stopped_after(20, run)
        async with LoadRun(stack.gateway_url, shape="fanout", users=4, seconds=600) as run:
            listening = await stopped_after(5, run)
    finally:
        await stack.stop()
    assert (modest.limited, modest.failures) == (0, 0)
    assert greedy.limited > 0
    assert greedy.requests - greedy.limited > 6  # of two clients there would be six
    assert (listening.limited, listening.failures) == (0, 0)
