"""The textbook cache by itself, and a student's table lifted into a cache of responses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.model import Exchange, Response
from lab.policies.cache import Entry, TtlCache, lift
from lab.policies.cache.fields import http_date
from tests.fakes import eventually
from tests.policies.cache_world import World, said


def test_entry_is_good_for_ttl_seconds() -> None:
    cache = TtlCache(ttl=10, max_entries=2)
    cache.put(b"k", "v", 100.0)
    assert cache.get(b"k", 109.9) == "v"
    assert cache.get(b"k", 110.0) is None
    assert len(cache) == 0
    assert cache.get(b"k", 105.0) is None


def test_put_replaces_and_counts_anew() -> None:
    cache = TtlCache(ttl=10)
    cache.put(b"k", "old", 0)
    cache.put(b"k", "new", 5)
    assert cache.get(b"k", 14) == "new"


def test_least_recently_used_goes_first() -> None:
    cache = TtlCache(ttl=10, max_entries=2)
    cache.put(b"a", 1, 0)
    cache.put(b"b", 2, 0)
    cache.get(b"a", 1)
    cache.put(b"c", 3, 1)
    assert [cache.get(k, 2) for k in (b"a", b"b", b"c")] == [1, None, 3]


def test_delete_and_clear() -> None:
    cache = TtlCache()
    cache.put(b"a", 1, 0)
    cache.put(b"b", 2, 0)
    cache.delete(b"a")
    cache.delete(b"a")
    assert (cache.get(b"a", 0), cache.get(b"b", 0)) == (None, 2)
    cache.clear()
    assert cache.get(b"b", 0) is None


def test_ttl_0_keeps_nothing() -> None:
    cache = TtlCache(ttl=0)
    cache.put(b"a", 1, 0)
    assert len(cache) == 0


def test_adopted_entries_keep_their_age() -> None:
    old, new = TtlCache(ttl=10), TtlCache(ttl=5)
    old.put(b"a", 1, 0)
    new.adopt(old)
    assert (new.get(b"a", 4.9), new.get(b"a", 5)) == (1, None)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 5)), max_size=60),
    st.integers(1, 4),
    st.floats(0.1, 10),
)
def test_never_older_than_ttl_and_never_more_than_max_entries(
    puts: list[tuple[str, float]], most: int, ttl: float
) -> None:
    cache = TtlCache(ttl, most)
    now = 0.0
    for key, pause in puts:
        now += pause
        found = cache.get(key.encode(), now)
        assert found is None or now - found < ttl
        cache.put(key.encode(), now, now)
        assert len(cache) <= most


# -- lifted --------------------------------------------------------------------------------------------------


class Student:
    """The smallest class that can be plugged in; it knows no bound and no end."""

    def __init__(self) -> None:
        self.table: dict[bytes, Any] = {}

    def get(self, key: bytes, now: float) -> Any:
        return self.table.get(key)

    def put(self, key: bytes, entry: Any, now: float) -> None:
        self.table[key] = entry

    def delete(self, key: bytes) -> None:
        self.table.pop(key, None)

    def clear(self) -> None:
        self.table.clear()


WORDS = {"HIT": "+", "MISS": "-", "BYPASS": "o"}


async def outcome(world: World, *requests: dict[str, Any]) -> str:
    return "".join([WORDS[said(await world.get(**request), "x-cache") or ""] for request in requests])


GET: dict[str, Any] = {}


@pytest.mark.parametrize("head", ["", "Cache-Control: max-age=1", "Cache-Control: public", "ETag: x"])
async def test_ttl_stores_200_whatever_it_says_about_freshness(head: str) -> None:
    world = World(f"200\n{head}", use="ttl", ttl=30)
    assert await outcome(world, GET, GET) == "-+"
    world.now += 29.9
    response = await world.get()
    assert (said(response, "age"), said(response, "cache-status")) == ("29", "gateway-lab; hit; ttl=0")
    world.now += 0.1
    assert await outcome(world, GET) == "-"


@pytest.mark.parametrize(
    "answer",
    ["404", "500", "204", "200\nCache-Control: private", "200\nCache-Control: No-Store",
     "200\nSet-Cookie: a=b",
     '200\nCache-Control: no-cache="x"', "200\nVary: Accept", "200\nCache-Control: max-age=9, private=x"],
)  # fmt: skip
async def test_ttl_does_not_store_what_must_not_be_shared(answer: str) -> None:
    assert await outcome(World(answer, use="ttl", ttl=30), GET, GET) == "--"


@pytest.mark.parametrize(
    "request_",
    [{"head": "Authorization: x"}, {"head": "X-API-Key: k"}, {"head": "Cookie: a=b"}, {"identity": "alice"},
     {"head": 'If-Match: "x"'}],
)  # fmt: skip
async def test_ttl_stays_out_of_requests_with_credentials(request_: dict[str, Any]) -> None:
    assert await outcome(World("200", use="ttl", ttl=30), request_, GET, request_, GET) == "o-o+"


async def test_ttl_0_stores_nothing() -> None:
    assert await outcome(World("200", use="ttl", ttl=0), GET, GET) == "--"


async def test_ttl_answers_head_conditions_and_ranges() -> None:
    world = World('200\nETag: "x"', use="ttl", ttl=30)
    head = {"method": "HEAD"}
    assert await outcome(world, head, head, GET, head) == "---+"
    assert (await world.get(head='If-None-Match: "x"')).status == 304
    assert (await world.get(head="Range: bytes=0-0")).status == 206
    assert said(await world.get(), "date") == world.date()


async def test_ttl_keeps_a_date() -> None:
    world = World("200\nDate: @-5", use="ttl", ttl=30)
    date = world.date(-5)
    await world.get()
    assert said(await world.get(), "date") == date


async def test_ttl_is_invalidated_by_unsafe_methods() -> None:
    world = World("200", use="ttl", ttl=30)
    await world.get()
    await world.get(method="PUT")
    assert (await world.get()).content == b"3"


async def test_ttl_shares_one_call() -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return world.response("200", b"one")

    world = World(slow, use="ttl", ttl=30)
    tasks = [asyncio.ensure_future(world.get()) for _ in range(5)]
    await eventually(lambda: world.calls)
    gate.set()
    assert [(await task).content for task in tasks] == [b"one"] * 5
    assert world.calls == 1


async def test_students_table_is_enough() -> None:
    world = World("200\nDate: @0", core=Student, ttl=30, max_entries=2)
    assert await outcome(world, GET, GET) == "-+"
    for number in range(10):
        await world.get(f"/{number}")
    assert world.cache.snapshot()["entries"] == 4  # twice max_entries, where the class forgets its own bound
    assert world.cache.snapshot()["max_entries"] == 2
    old = world.cache
    world.cache = World("200", core=Student, ttl=30).cache
    world.cache.adopt(old)
    assert world.cache.snapshot()["entries"] == 0
    assert world.cache.clear() == 0


async def test_students_table_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lift, "MAX_BYTES", 2000)
    world = World("200", core=Student, ttl=30)
    for number in range(10):
        await world.get(f"/{number}")
    snapshot = world.cache.snapshot()
    assert snapshot["entries"] == 3
    assert snapshot["bytes"] <= 2000


async def test_expired_entry_is_not_counted() -> None:
    world = World("200", use="ttl", ttl=30)
    await world.get()
    size = world.cache.snapshot()["bytes"]
    assert size > 0
    world.now += 31
    await world.get(head="Cache-Control: foo")
    assert world.cache.snapshot()["bytes"] == size
    assert world.cache.snapshot()["entries"] == 1


def test_lifted_core_drops() -> None:
    core = lift.Lifted(TtlCache(), 30)
    entry = Entry(b"k", 200, [(b"date", http_date(0))], b"x", born=0, lifetime=30)
    core.put(entry)
    core.drop(entry)
    assert core.snapshot(0)["entries"] == 0
    assert core.update(entry, None, asked=0, now=0, wall=0) is entry  # type: ignore[arg-type]
