"""The arithmetic of freshness, the readers of header fields, and the shelf, each by itself."""

from __future__ import annotations

import calendar
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.model import Exchange, Response
from lab.policies.cache import Entry, HttpCache, fields, rules, shelf
from lab.policies.cache.core import Verdict
from lab.policies.cache.shelf import Shelf

WALL = 1_790_000_000.0


def get(target: bytes = b"/1", **more: object) -> Exchange:
    return Exchange("GET", b"/a" + target, rest=target, service="a", **more)  # type: ignore[arg-type]


def stored(
    core: HttpCache, head: bytes, now: float, *, asked: float | None = None, age: bytes = b"", date: float = 0
) -> Entry | None:
    headers = [(b"cache-control", head), (b"date", fields.http_date(WALL - date))]
    if age:
        headers.append((b"age", age))
    response = Response(200, headers, b"x")
    entry = core.admit(get(), response, asked=now if asked is None else asked, now=now, wall=WALL)
    if entry is not None:
        entry.complete(b"x")
        core.put(entry)
    return entry


seconds = st.integers(0, 10_000)


@settings(deadline=None)
@given(lifetime=seconds, age=seconds, date=seconds, delay=seconds, resident=seconds)
def test_a_response_is_used_exactly_while_its_age_is_below_its_lifetime(
    lifetime: int, age: int, date: int, delay: int, resident: int
) -> None:
    core = HttpCache(ttl=0)
    received = 50_000.0
    entry = stored(
        core, b"max-age=%d" % lifetime, received, asked=received - delay, age=b"%d" % age, date=date
    )
    initial = max(date if date >= rules.DATE_IS_COARSE else 0, age + delay)
    assert (entry is None) == (initial >= lifetime)  # without validator a stale response is of no use
    decision = core.lookup(get(), received + resident)
    assert (decision.verdict is Verdict.HIT) == (entry is not None and initial + resident < lifetime)


@settings(deadline=None)
@given(lifetime=st.integers(1, 1000), resident=seconds, most=seconds, margin=seconds, window=seconds)
def test_requests_can_only_ask_for_fresher(
    lifetime: int, resident: int, most: int, margin: int, window: int
) -> None:
    core = HttpCache(ttl=0)
    stored(core, b"max-age=%d" % lifetime, 0.0)
    wants = b"max-age=%d, min-fresh=%d, max-stale=%d" % (most, margin, window)
    verdict = core.lookup(get(headers=[(b"cache-control", wants)]), float(resident)).verdict
    left = lifetime - resident
    fresh = left > margin or (left > 0 and margin == 0)
    allowed = resident < most and (fresh or (left <= 0 and -left <= window))
    assert (verdict is Verdict.HIT) == allowed


@settings(deadline=None)
@given(lifetime=st.integers(1, 100), window=st.integers(0, 100), resident=st.integers(0, 300))
def test_windows_of_staleness(lifetime: int, window: int, resident: int) -> None:
    core = HttpCache(ttl=0)
    entry = stored(
        core, b"max-age=%d, stale-while-revalidate=%d, stale-if-error=%d" % (lifetime, window, window), 0.0
    )
    assert entry is not None
    verdict = core.lookup(get(), float(resident)).verdict
    inside = resident < lifetime + window
    expected = Verdict.HIT if resident < lifetime else Verdict.STALE if inside else Verdict.FORWARD
    assert verdict is expected
    assert entry.usable_on_error(float(resident)) is inside


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_dates_are_written_and_read(at: int) -> None:
    text = fields.http_date(at)
    assert text.decode() == formatdate(at, usegmt=True)
    assert fields.date(text, WALL) == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        (b"Sun Nov  6 08:49:37 1994", (1994, 11, 6, 8, 49, 37)),
        (b"Sunday, 06-Nov-76 08:49:37 GMT", (2076, 11, 6, 8, 49, 37)),
        (b"Sunday, 06-Nov-77 08:49:37 GMT", (1977, 11, 6, 8, 49, 37)),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", (2016, 12, 31, 23, 59, 59)),
        (b"Sun, 30 Feb 2020 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        (b"06 Nov 1994 08:49:37 GMT", None),
        (b" Sun, 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 GMT\xff", None),
        (b"", None),
    ],
)
def test_date_formats(text: bytes, at: tuple[int, ...] | None) -> None:
    assert fields.date(text, WALL) == (None if at is None else calendar.timegm(at))


@settings(deadline=None)
@given(st.binary())
def test_nothing_that_is_sent_makes_the_readers_fail(value: bytes) -> None:
    found = fields.directives(value)
    for name in found:
        seconds = fields.seconds(found, name)
        assert seconds is not None
        assert 0 <= seconds <= fields.FOREVER
    fields.targeted(value)
    fields.date(value, WALL)
    fields.matches(value, b'"x"')
    fields.vary([(b"vary", value)])
    fields.age([(b"age", value)])
    part = fields.byte_range(value, 10)
    assert part is None or part[1] < 10


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", {}),
        (b" , ,", {}),
        (b'A, b=1 ,C="x, y"', {"a": None, "b": b"1", "c": b"x, y"}),
        (b'a="x\\"y", b', {"a": b'x"y', "b": None}),
        (b'a="open, b', {"a": b'"open, b'}),
        (b"a=1, a=2, a", {"a": b"1"}),
        (b'no-cache="a", no-cache="b"', {"no-cache": b"a,b"}),
        (b'no-cache, no-cache="b"', {"no-cache": None}),
        (b'private="a", private', {"private": None}),
        (b"a = 1", {"a": b""}),
    ],
)
def test_directives(value: bytes, found: fields.Directives) -> None:
    assert fields.directives(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"max-age=60, public", {"max-age": b"60", "public": None}),
        (b'a="x", b=tok/en, c=-1', {"a": b"x", "b": b"tok/en", "c": b"-1"}),
        (b"", None),
        (b"max-age=60,", None),
        (b"Max-Age=60", None),
        (b"max-age=60.0", None),
        (b"max-age", None),
        (b"max-age=-1", None),
        (b"&&", None),
    ],
)
def test_targeted(value: bytes, found: fields.Directives | None) -> None:
    assert fields.targeted(value) == found


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_ranges_are_pythons_slices(first: int, last: int, length: int) -> None:
    content = bytes(range(length))
    for text, expected in (
        (b"bytes=%d-%d" % (first, last), content[first : last + 1] if last >= first else None),
        (b"bytes=%d-" % first, content[first:]),
        (b"bytes=-%d" % last, content[-last:] if last else b""),
    ):
        part = fields.byte_range(text, length)
        got = None if part is None else content[part[0] : part[1] + 1] if part[0] <= part[1] else b""
        assert got == expected


def test_freshening_changes_no_field_that_describes_the_body() -> None:
    before = [(b"a", b"1"), (b"a", b"2"), (b"content-length", b"3"), (b"b", b"4")]
    after = rules.merged(
        before, [(b"a", b"5"), (b"content-length", b"9"), (b"c", b"6"), (b"connection", b"c")]
    )
    assert after == [(b"content-length", b"3"), (b"b", b"4"), (b"a", b"5")]


# -- the shelf -----------------------------------------------------------------------------------------------


def entry(
    key: bytes, body: bytes = b"", selected: tuple[bytes | None, ...] = (), owner: str | None = None
) -> Entry:
    vary = (b"foo",) if selected else ()
    return Entry(key, 200, [], body, born=0, lifetime=1, vary=vary, selected=selected, owner=owner)


def test_least_recently_used_key_is_evicted() -> None:
    shelf = Shelf(2)
    shelf.put(entry(b"a"))
    shelf.put(entry(b"b"))
    shelf.get(b"a")
    shelf.put(entry(b"c"))
    assert [bool(shelf.get(key)) for key in (b"a", b"b", b"c")] == [True, False, True]


def test_bytes_are_bounded() -> None:
    shelf = Shelf(100, max_bytes=10_000)
    for number in range(20):
        shelf.put(entry(b"%d" % number, b"x" * 1000))
    assert shelf.count == 6
    shelf.put(entry(b"too big", b"x" * 10_000))
    assert (shelf.count, shelf.bytes) == (0, 0)


def test_variants_are_bounded_and_replaced() -> None:
    shelf_ = Shelf(100)
    for number in range(20):
        shelf_.put(entry(b"a", selected=(b"%d" % number,)))
    assert shelf_.count == shelf.MAX_VARIANTS == 16
    newest = entry(b"a", b"new", selected=(b"19",))
    shelf_.put(newest)
    assert shelf_.count == shelf.MAX_VARIANTS
    assert (shelf_.get(b"a") or [])[0] is newest
    shelf_.put(entry(b"a", selected=(b"19",), owner="alice"))
    assert newest in (shelf_.get(b"a") or [])


def test_a_viewer_sees_the_entries_with_the_most_hits_and_the_bounds() -> None:
    shelf_ = Shelf(100)
    for number in range(60):
        made = entry(b"/%d" % number, b"body")
        made.hits = number
        shelf_.put(made)
    seen = shelf_.snapshot(now=0.25)
    assert (seen["entries"], seen["max_entries"], seen["max_bytes"]) == (60, 100, 64 * 2**20)
    assert seen["bytes"] == sum(e.size for e in shelf_)
    assert [top["hits"] for top in seen["top"]] == list(range(59, 9, -1))
    first = seen["top"][0]
    assert (first["key"], first["status"], first["age"], first["ttl"]) == ("/59", 200, 0.25, 0.75)


def test_a_newer_answer_takes_the_place_of_the_older_one_and_the_oldest_variant_goes_first() -> None:
    shelf_ = Shelf(100)
    for body in (b"old", b"new"):
        shelf_.put(entry(b"a", body, selected=(b"0",)))
    assert [e.body for e in shelf_] == [b"new"]
    for number in range(1, 17):
        shelf_.put(entry(b"a", selected=(b"%d" % number,)))
    assert {e.selected for e in shelf_} == {(b"%d" % number,) for number in range(1, 17)}


def test_a_shelf_may_be_full_to_the_last_byte() -> None:
    size = entry(b"a", b"body").size
    shelf = Shelf(100, max_bytes=2 * size)
    for key in (b"a", b"b", b"c"):
        shelf.put(entry(key, b"body"))
    assert (shelf.count, shelf.bytes) == (2, 2 * size)


def test_dropping_what_is_not_there() -> None:
    shelf = Shelf(2)
    kept = entry(b"a")
    shelf.put(kept)
    shelf.drop(entry(b"a"))
    shelf.drop(entry(b"b"))
    assert shelf.count == 1
    assert shelf.purge(b"b") == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "drop", "purge", "clear"]), st.integers(0, 5), st.integers(0, 3)
        ),
        max_size=60,
    )
)
def test_count_and_bytes_are_those_of_the_entries(steps: list[tuple[str, int, int]]) -> None:
    shelf = Shelf(4, max_bytes=4000)
    for step, key, number in steps:
        name = b"%d" % key
        if step == "put":
            shelf.put(entry(name, b"x" * number * 400, selected=(b"%d" % number,)))
        elif step == "get":
            shelf.get(name)
        elif step == "drop":
            shelf.drop((shelf.get(name) or [entry(name)])[0])
        elif step == "purge":
            shelf.purge(name)
        else:
            shelf.clear()
        assert shelf.count == len(list(shelf)) <= 4
        assert shelf.bytes == sum(e.size for e in shelf) <= 4000
