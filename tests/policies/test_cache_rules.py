"""What may be stored and for how long: the edges that the tests of whole requests do not reach."""

from __future__ import annotations

from typing import Any

import pytest

from lab.model import Exchange, Headers, Response
from lab.policies.cache import Entry, HttpCache, rules
from lab.policies.cache.http import locations
from tests.policies.cache_world import START, World, fields, said


def assess(status: int, head: str, ttl: float = 0.0) -> Entry | None:
    return rules.assess(status, fields(head), ttl=ttl, asked=1000.0, now=1000.0, wall=START)


@pytest.mark.parametrize(("status", "stored"), [(199, False), (200, True), (599, True), (600, False)])
def test_only_what_is_a_final_response_is_stored(status: int, stored: bool) -> None:
    assert (assess(status, "Cache-Control: max-age=60") is not None) == stored


@pytest.mark.parametrize("expires", [b"0", b"Thu, 01 Jan 1970 00:00:00 GMT", b"soon"])
def test_an_expiry_that_is_past_or_no_date_is_a_lifetime_of_exactly_nothing(expires: bytes) -> None:
    headers: Headers = [(b"expires", expires)]
    assert rules.lifetime({}, headers, START, START, expires=True) == 0.0


@pytest.mark.parametrize(("ttl", "stored"), [(0.0, False), (0.5, True), (1.0, True)])
def test_a_silent_response_is_stored_for_any_ttl_but_none(ttl: float, stored: bool) -> None:
    entry = assess(200, 'ETag: "1"', ttl)
    assert (entry is not None) == stored
    assert entry is None or entry.lifetime == ttl


@pytest.mark.parametrize(
    ("head", "stored"),
    [
        ("Cache-Control: max-age=0", False),
        ("Cache-Control: no-cache", False),
        ("Cache-Control: max-age=0, stale-if-error=60", True),
        ("Cache-Control: max-age=0, stale-while-revalidate=60", True),
        ("Cache-Control: max-age=0, stale-if-error=60, must-revalidate", False),
        ('Cache-Control: no-cache\nETag: "1"', True),
    ],
)
def test_what_could_never_be_used_is_not_stored(head: str, stored: bool) -> None:
    assert (assess(200, head) is not None) == stored


async def test_an_entry_that_is_always_asked_about_has_no_lifetime() -> None:
    world = World('200\nCache-Control: no-cache\nETag: "1"')
    assert "ttl=0" in (said(await world.get(), "cache-status") or "")


async def test_a_stored_answer_without_content_has_no_length() -> None:
    async def empty(exchange: Any) -> Any:
        return world.response("204\nCache-Control: max-age=60", b"")

    world = World(empty)
    for expected in ("MISS", "HIT"):
        response = await world.get()
        assert (response.status, said(response, "x-cache")) == (204, expected)
        assert said(response, "content-length") is None


def test_an_entry_of_which_nothing_more_is_said_is_anybody_s_and_promises_nothing() -> None:
    entry = Entry(b"/a/x", 200, [], born=0.0, lifetime=1.0)
    assert (entry.silent, entry.no_cache, entry.strict) == (False, False, False)
    assert (entry.stale_if_error, entry.stale_while_revalidate) == (0.0, 0.0)
    assert (entry.date, entry.wall, entry.owner, entry.vary) == (0.0, 0.0, None, ())
    assert not entry.usable_on_error(1.0)


# -- the core ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wants", "left", "hit"),
    [
        ("max-age=100", 0.5, True),
        ("min-fresh=10", 0.5, False),
        ("min-fresh=1", 0.5, False),
        ("min-fresh=0", 0.5, True),
        ("max-age=100", -0.5, False),
        ("", 0.5, True),
    ],
)
async def test_the_last_second_of_freshness_is_a_second_like_others(
    wants: str, left: float, hit: bool
) -> None:
    world = World("200\nCache-Control: max-age=10")
    await world.get()
    world.now += 10 - left
    response = await world.get(head=f"Cache-Control: {wants}" if wants else "")
    assert said(response, "x-cache") == ("HIT" if hit else "MISS")


def exchange(head: str = "", rest: bytes = b"/items/1", method: str = "GET") -> Exchange:
    return Exchange(method, b"/a" + rest, rest=rest, service="a", host=b"gateway:8000", headers=fields(head))


def stored(core: HttpCache, head: str) -> Entry:
    response = Response(200, fields(head), b"x")
    entry = core.admit(exchange(), response, asked=1000.0, now=1000.0, wall=START)
    assert entry is not None
    entry.complete(b"x")
    core.put(entry)
    return entry


def test_a_silent_answer_is_shared_with_nobody_who_shows_a_cookie() -> None:
    core = HttpCache(ttl=30.0)
    silent = stored(core, 'ETag: "1"')
    assert core.fits(silent, exchange())
    assert not core.fits(silent, exchange("Cookie: a=b"))
    assert core.fits(stored(core, "Cache-Control: max-age=60"), exchange("Cookie: a=b"))


def test_a_304_that_withdraws_the_permission_is_good_for_one_answer() -> None:
    core = HttpCache()
    entry = stored(core, 'Cache-Control: max-age=1\nETag: "1"')
    update = Response(304, fields('Cache-Control: no-store\nETag: "1"'))
    once = core.update(entry, update, asked=1005.0, now=1005.0, wall=START + 5)
    assert once is not None
    assert (once.lifetime, once.no_cache, once.strict, once.body) == (0, True, True, b"x")
    assert not once.fresh(1005.0)
    assert core.stored() == []


def test_what_an_unsafe_request_made_untrue_is_named() -> None:
    core = HttpCache()
    stored(core, "Cache-Control: max-age=60")
    assert core.stored() == [b"/a/items/1"]
    keys = core.invalidate(exchange(method="PUT"), Response(204, fields("Location: /items/2")), "")
    assert keys == {b"/a/items/1", b"/a/items/2"}
    assert core.stored() == []


@pytest.mark.parametrize(
    ("location", "keys"),
    [
        ("/items/2", {b"/a/items/2"}),
        ("/api/items/2", {b"/a/items/2", b"/a/api/items/2"}),
        ("http://10.0.0.1:9/api/items/2", {b"/a/items/2"}),
        ("http://10.0.0.1:9/apitems/2", set()),
        ("http://10.0.0.1:9/items/2", set()),
        ("http://gateway:8000/a/items/2", {b"/a/items/2"}),
        ("http://gateway:8000/b/items/2", set()),
        ("http://elsewhere/a/items/2", set()),
    ],
)
def test_a_location_voids_only_what_is_the_service_s_own(location: str, keys: set[bytes]) -> None:
    response = Response(201, fields(f"Location: {location}"))
    assert locations(exchange(method="POST"), response, "http://10.0.0.1:9/api") == keys
