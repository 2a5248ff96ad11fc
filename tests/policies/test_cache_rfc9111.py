"""The rules of a shared cache, case by case: two or three requests with time between, and who answered.

How each request was answered: `-` by the service, `+` from the cache without asking, `~` from the cache after
the service was asked (304, or an error that a stale answer stands in for).
"""

from __future__ import annotations

import json

import pytest

from tests.policies.cache_world import World, said, with_body

FRESH = "200\nCache-Control: max-age=100\nDate: @0"


async def play(world: World, *requests: str) -> str:
    """Send the requests; a request is `METHOD target` with header lines, `+5` lets five seconds pass."""
    outcome = ""
    for request in requests:
        if request.startswith("+"):
            world.now += float(request)
            continue
        line, _, head = request.partition("\n")
        method, _, target = line.partition(" ")
        before = world.calls
        response = await world.get(target or "/items/1", head, method=method or "GET")
        asked = world.calls > before
        response.end()
        hit = said(response, "x-cache") == "HIT"
        outcome += "~" if hit and asked else "+" if hit else "-"
    return outcome


STORED = {
    "max-age": "Cache-Control: max-age=60",
    "mixed case": "Cache-Control: MaX-aGe=60",
    "quoted argument": 'Cache-Control: max-age="60"',
    "leading zeros": "Cache-Control: max-age=0060",
    "2^31": "Cache-Control: max-age=2147483648",
    "far beyond": "Cache-Control: max-age=" + "9" * 5000,
    "unknown directives": 'Cache-Control: foo, bar="max-age=1,no-store", max-age=60',
    "s-maxage": "Cache-Control: s-maxage=60",
    "s-maxage over a shorter max-age": "Cache-Control: max-age=1, s-maxage=60",
    "the first of two max-age": "Cache-Control: max-age=60\nCache-Control: max-age=1",
    "max-age over a past Expires": "Cache-Control: max-age=60\nExpires: @-10",
    "max-age over an invalid Expires": "Cache-Control: max-age=60\nExpires: 0",
    "Expires": "Expires: @60\nDate: @0",
    "Expires without Date": "Expires: @60",
    "Expires in 2286": "Expires: Sun, 21 Nov 2286 04:46:39 GMT",
    "Expires, RFC 850": "Expires: Thursday, 18-Aug-50 02:01:18 GMT",
    "Expires, asctime": "Expires: Thu Aug  8 02:01:18 2050",
    "Expires, odd case": "Expires: THU, 18 AUG 2050 02:01:18 gmt",
    "must-revalidate while fresh": "Cache-Control: max-age=60, must-revalidate",
    "an invalid Age": "Cache-Control: max-age=60\nAge: old",
    "a negative Age": "Cache-Control: max-age=60\nAge: -7200",
    "the first of two Ages": "Cache-Control: max-age=60\nAge: 0\nAge: 7200",
    "Set-Cookie that says so": "Cache-Control: max-age=60\nSet-Cookie: a=b",
    "no-store, must-understand": "Cache-Control: max-age=60, no-store, must-understand",
    "qualified private": 'Cache-Control: max-age=60, private="x"',
    "qualified no-cache": 'Cache-Control: max-age=60, no-cache="x"',
    "Pragma beside Cache-Control": "Cache-Control: max-age=60\nPragma: no-cache",
    "targeted": "CDN-Cache-Control: max-age=60",
    "targeted over no-store": "Cache-Control: no-store\nCDN-Cache-Control: max-age=60",
    "targeted, malformed": "Cache-Control: max-age=60\nCDN-Cache-Control: no-store, &&",
    "targeted, with an unknown directive": "CDN-Cache-Control: foobar, max-age=60",
}

NOT_REUSED = {
    "nothing said": "X: y",
    "max-age=0": "Cache-Control: max-age=0",
    "negative": "Cache-Control: max-age=-60",
    "decimal": "Cache-Control: max-age=60.0",
    "letters": "Cache-Control: max-age=a60",
    "single quotes": "Cache-Control: max-age='60'",
    "space before =": "Cache-Control: max-age =60",
    "space after =": "Cache-Control: max-age= 60",
    "without argument": "Cache-Control: max-age",
    "max-age in a quoted string": 'Cache-Control: ext="max-age=60", max-age=1',
    "max-age in a quoted string after": 'Cache-Control: max-age=1, ext="max-age=60"',
    "s-maxage over a longer max-age": "Cache-Control: max-age=60\nCache-Control: s-maxage=1",
    "an Age beyond": "Cache-Control: max-age=60\nAge: 60",
    "an Age beyond, listed first": "Cache-Control: max-age=60\nAge: 7200, 0",
    "an old Date": "Cache-Control: max-age=60\nDate: @-60",
    "max-age=0 over a future Expires": "Cache-Control: max-age=0\nExpires: @60",
    "Expires past": "Expires: @-10",
    "Expires as old as Date": "Expires: @0\nDate: @0",
    "Expires: 0": "Expires: 0",
    "Expires in UTC": "Expires: Thu, 18 Aug 2050 02:01:18 UTC",
    "Expires, two-digit year": "Expires: Thu, 18 Aug 50 02:01:18 GMT",
    "Expires without comma": "Expires: Thu 18 Aug 2050 02:01:18 GMT",
    "Expires with wide gaps": "Expires: Thu, 18  Aug  2050 02:01:18 GMT",
    "Expires with dashes": "Expires: Thu, 18-Aug-2050 02:01:18 GMT",
    "Expires with periods": "Expires: Thu, 18 Aug 2050 02.01.18 GMT",
    "Expires, one-digit hour": "Expires: Thu, 18 Aug 2050 2:01:18 GMT",
    "Expires, 32nd of August": "Expires: Thu, 32 Aug 2050 02:01:18 GMT",
    "two different Expires": "Expires: @60\nExpires: @61",
    "private": "Cache-Control: private, max-age=60",
    "private, qualified and not": 'Cache-Control: private="x", private, max-age=60',
    "no-store": "Cache-Control: max-age=60, No-StOrE",
    "no-store and Expires": "Cache-Control: no-store\nExpires: @60",
    "no-cache": "Cache-Control: max-age=60, no-cache",
    "no-cache, qualified and not": 'Cache-Control: no-cache, no-cache="x", max-age=60',
    "Vary: *": "Cache-Control: max-age=60\nVary: *",
    "Vary: * among others": "Cache-Control: max-age=60\nVary: , accept\nVary: foo, *",
    "Set-Cookie": "Set-Cookie: a=b",
    "targeted private": "CDN-Cache-Control: private\nCache-Control: max-age=60",
    "targeted no-store": "CDN-Cache-Control: no-store\nCache-Control: max-age=60\nExpires: @60",
    "targeted no-cache": "CDN-Cache-Control: no-cache\nCache-Control: max-age=60",
    "targeted and shorter": "CDN-Cache-Control: max-age=1\nCache-Control: max-age=60\nExpires: @60",
    "targeted, wrong type": 'CDN-Cache-Control: max-age="60"\nCache-Control: no-store',
    "targeted, no Expires": "CDN-Cache-Control: public\nExpires: @60",
}


@pytest.mark.parametrize("head", STORED.values(), ids=STORED.keys())
async def test_is_stored_and_reused(head: str) -> None:
    assert await play(World(f"200\n{head}"), "GET", "+3", "GET") == "-+"


@pytest.mark.parametrize("head", NOT_REUSED.values(), ids=NOT_REUSED.keys())
async def test_is_not_reused(head: str) -> None:
    assert await play(World(f"200\n{head}"), "GET", "+3", "GET") == "--"


@pytest.mark.parametrize("ttl", [0, 60])
@pytest.mark.parametrize(
    "status", [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 500, 502, 503, 599]
)
async def test_any_final_status_is_stored_with_explicit_freshness_and_no_longer(
    status: int, ttl: int
) -> None:
    world = World(f"{status}\nCache-Control: max-age=10\nDate: @0", ttl=ttl)
    assert await play(world, "GET", "+9", "GET", "+1", "GET") == "-+-"


@pytest.mark.parametrize("status", [206, 304])
async def test_no_part_and_no_304_is_stored(status: int) -> None:
    assert await play(World(f"{status}\nCache-Control: max-age=10"), "GET", "GET") == "--"


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
async def test_ttl_is_for_responses_that_say_nothing(status: int) -> None:
    assert await play(World(f"{status}", ttl=30), "GET", "+29", "GET", "+1", "GET") == "-+-"
    assert await play(World(f"{status}", ttl=0), "GET", "GET") == "--"


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 401, 403, 500, 502, 503, 504, 599])
async def test_ttl_is_not_for_other_statuses(status: int) -> None:
    assert await play(World(f"{status}", ttl=30), "GET", "GET") == "--"
    assert await play(World(f"{status}\nCache-Control: public", ttl=30), "GET", "GET") == "-+"


@pytest.mark.parametrize(
    "head",
    [
        "Cache-Control: no-cache",
        "Pragma: no-cache",
        "Set-Cookie: a=b",
        "Cache-Control: private",
        "Expires: never",
        "Content-Type: text/event-stream",
    ],
)
async def test_ttl_is_not_for_responses_that_say_something(head: str) -> None:
    assert await play(World(f"200\n{head}", ttl=30), "GET", "GET") == "--"


async def test_unknown_status_with_must_understand_is_not_stored() -> None:
    assert await play(World("599\nCache-Control: max-age=60, must-understand"), "GET", "GET") == "--"


# -- the key -------------------------------------------------------------------------------------------------


async def test_key_is_service_raw_path_and_exact_query() -> None:
    world = World(FRESH)
    targets = ["/x", "/x?", "/x?a=1", "/x?a=1&b=2", "/x?b=2&a=1", "/X", "/x/", "/%78", "/x?a=%31"]
    assert await play(world, *[f"GET {t}" for t in targets]) == "-+" + "-" * 7  # a lone ? is no query
    assert await play(world, *[f"GET {t}" for t in targets]) == "+" * 9
    assert (await world.get("/x", service="b")).content == b"9"


async def test_request_with_a_body_is_not_the_caches_business() -> None:
    world = World(FRESH)
    await world.get()
    response = await world.get(body=with_body(b"?"))
    assert said(response, "x-cache") == "BYPASS"
    assert said(response, "cache-status") == "gateway-lab; fwd=bypass; fwd-status=200"
    assert response.content == b"2"


# -- Vary ----------------------------------------------------------------------------------------------------

VARY = "200\nCache-Control: max-age=60\nVary: "

VARIES = {
    "same": ("Foo", "Foo: 1", "Foo: 1", "+"),
    "other": ("Foo", "Foo: 1", "Foo: 2", "-"),
    "was absent": ("Foo", "", "Foo: 1", "-"),
    "is absent": ("Foo", "Foo: 1", "", "-"),
    "empty is not absent": ("Foo", "Foo:", "", "-"),
    "both absent": ("Foo", "", "", "+"),
    "other field": ("Foo", "Foo: 1\nBar: 1", "Foo: 1\nBar: 2", "+"),
    "two, one other": ("Foo, Bar", "Foo: 1\nBar: 1", "Foo: 1\nBar: 2", "-"),
    "two, any order": ("Foo, Bar", "Foo: 1\nBar: 2", "Bar: 2\nFoo: 1", "+"),
    "two lines of Vary": ("Foo\nVary: Bar", "Foo: 1\nBar: 1", "Foo: 1\nBar: 2", "-"),
    "combined lines": ("Foo", "Foo: 1, 2", "Foo: 1\nFoo: 2", "+"),
    "white space": ("Foo", "Foo: 1,2", "Foo:  1 ,  2 ", "+"),
    "white space in a quoted string": ("Foo", 'Foo: "1,2"', 'Foo: "1, 2"', "-"),
    "case of a value": ("Foo", "Foo: a", "Foo: A", "-"),
    "case of a name": ("FOO", "foo: a", "Foo: a", "+"),
    "languages, any order": ("Accept-Language", "Accept-Language: en, de", "Accept-Language: DE ,en", "+"),
    "codings": ("Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: br", "-"),
    "cookie": ("Cookie", "Cookie: a", "Cookie: b", "-"),
    "credentials": ("Authorization", "", "Authorization: x", "-"),
}


@pytest.mark.parametrize(("vary", "first", "second", "outcome"), VARIES.values(), ids=VARIES.keys())
async def test_vary(vary: str, first: str, second: str, outcome: str) -> None:
    assert await play(World(VARY + vary), f"GET\n{first}", f"GET\n{second}") == "-" + outcome


async def test_variants_live_side_by_side() -> None:
    world = World(VARY + "Foo")
    assert await play(world, "GET\nFoo: 1", "GET\nFoo: 2", "GET\nFoo: 1", "GET\nFoo: 2") == "--++"
    assert (await world.get(head="Foo: 1")).content == b"1"
    await world.get(head="Foo: 3")
    assert world.exchange is not None
    assert world.exchange.cache_status == b"gateway-lab; fwd=vary-miss; fwd-status=200; stored; ttl=60"


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "Forwarded", "X-Gateway-Client", "Host", "X-Forwarded-Host"]
)
async def test_vary_by_what_the_gateway_writes_itself(name: str) -> None:
    world = World(VARY + name)
    one = {"client": "10.0.0.1", "identity": "alice", "host": b"one"}
    two = {"client": "10.0.0.2", "identity": "bob", "host": b"two"}
    outcomes = [(await world.get(**who)).content for who in (one, two, one, two)]  # type: ignore[arg-type]
    assert outcomes == [b"1", b"2", b"1", b"2"]


async def test_vary_by_scheme() -> None:
    world = World(VARY + "X-Forwarded-Proto")
    assert [(await world.get(scheme=s)).content for s in ("http", "https", "http")] == [b"1", b"2", b"1"]


# -- credentials ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", ["Authorization: Basic x", "X-API-Key: k"])
@pytest.mark.parametrize(
    ("directives", "outcome"),
    [("max-age=60", "---"), ("max-age=60, proxy-revalidate", "---"), ("max-age=60, public", "-++"),
     ("max-age=60, must-revalidate", "-++"), ("s-maxage=60", "-++")],
)  # fmt: skip
async def test_answer_to_a_request_with_credentials(credentials: str, directives: str, outcome: str) -> None:
    world = World(f"200\nCache-Control: {directives}")
    assert await play(world, f"GET\n{credentials}", f"GET\n{credentials}", "GET") == outcome


@pytest.mark.parametrize("credentials", ["Authorization: Basic x", "X-API-Key: k"])
async def test_answer_stored_without_credentials_serves_anyone(credentials: str) -> None:
    assert await play(World(FRESH), "GET", f"GET\n{credentials}") == "-+"


async def test_identity_is_answered_from_its_own_only() -> None:
    world = World("200\nCache-Control: max-age=60")
    who = ["alice", "bob", "alice", "bob", None, "alice"]
    contents = [(await world.get(identity=name, head="X-API-Key: k")).content for name in who[:4]]
    assert contents == [b"1", b"2", b"1", b"2"]
    assert (await world.get()).content == b"3"
    world = World("200\nCache-Control: max-age=60, public")
    assert [(await world.get(identity=name)).content for name in who] == [b"1"] * 6


async def test_identity_does_not_make_authorization_storable() -> None:
    world = World("200\nCache-Control: max-age=60")
    head = "Authorization: Basic x"
    contents = [(await world.get(identity="alice", head=head)).content for _ in range(2)]
    assert contents == [b"1", b"2"]


async def test_cookies_matter_only_where_the_response_says_nothing() -> None:
    assert await play(World("200", ttl=30), "GET\nCookie: a=b", "GET") == "--"
    assert await play(World("200", ttl=30), "GET", "GET\nCookie: a=b", "GET") == "--+"
    assert await play(World(FRESH), "GET\nCookie: a=b", "GET\nCookie: c=d", "GET") == "-++"


# -- what the request wants ----------------------------------------------------------------------------------

WANTS = {
    "no-cache": ("Cache-Control: no-cache", "-"),
    "Pragma": ("Pragma: no-cache", "-"),
    "Pragma beside Cache-Control": ("Cache-Control: foo\nPragma: no-cache", "+"),
    "another Pragma": ("Pragma: foo", "+"),
    "no-store": ("Cache-Control: no-store", "-"),
    "max-age=0": ("Cache-Control: max-age=0", "-"),
    "max-age younger": ("Cache-Control: max-age=10", "-"),
    "max-age older": ("Cache-Control: max-age=11", "+"),
    "min-fresh more": ("Cache-Control: min-fresh=90", "-"),
    "min-fresh less": ("Cache-Control: min-fresh=89", "+"),
    "only-if-cached": ("Cache-Control: only-if-cached", "+"),
    "two lines": ("Cache-Control: foo\nCache-Control: no-cache", "-"),
}


@pytest.mark.parametrize(("head", "outcome"), WANTS.values(), ids=WANTS.keys())
async def test_request_directives(head: str, outcome: str) -> None:
    assert await play(World(FRESH), "GET", "+10", f"GET\n{head}") == "-" + outcome


@pytest.mark.parametrize(
    ("stored", "wanted", "outcome"),
    [("", "max-stale", "+"), ("", "max-stale=10", "+"), ("", "max-stale=9", "-"), ("", "max-stale=x", "-"),
     (", must-revalidate", "max-stale", "-"), (", proxy-revalidate", "max-stale=10", "-"),
     ("", "min-fresh=1", "-")],
)  # fmt: skip
async def test_max_stale(stored: str, wanted: str, outcome: str) -> None:
    world = World(f"200\nCache-Control: max-age=10{stored}")
    assert await play(world, "GET", "+20", f"GET\nCache-Control: {wanted}") == "-" + outcome


async def test_only_if_cached_is_504_without_asking() -> None:
    world = World(FRESH)
    response = await world.get(head="Cache-Control: only-if-cached")
    assert (response.status, world.calls, said(response, "x-cache")) == (504, 0, "MISS")
    assert said(response, "cache-status") == "gateway-lab; fwd=uri-miss; detail=only-if-cached"
    assert json.loads(response.content)["service"] == "a"


async def test_no_store_of_the_request_keeps_nothing() -> None:
    assert await play(World(FRESH), "GET\nCache-Control: no-store", "GET", "GET") == "--+"


@pytest.mark.parametrize("condition", ['If-Match: "x"', "If-Unmodified-Since: Thu, 18 Aug 2050 02:01:18 GMT"])
async def test_preconditions_are_for_the_service(condition: str) -> None:
    assert await play(World(FRESH), "GET", f"GET\n{condition}", "GET") == "--+"


# -- asking whether it is still current ----------------------------------------------------------------------

DATE = "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"
OLD = f'200\nCache-Control: max-age=10\nDate: @0\nETag: "v1"\n{DATE}\nFoo: A'
SAME = "304\nCache-Control: max-age=10\nDate: @0"


async def test_stale_is_validated_and_freshened() -> None:
    world = World(OLD, SAME + "\nFoo: B\nContent-Length: 99\nContent-Encoding: br\nContent-Type: text/x")
    assert await play(world, "GET", "+20", "GET", "+9", "GET") == "-~+"
    response = await world.get()
    assert response.content == b"1"
    assert said(response, "foo") == "B"
    assert said(response, "content-type") == "text/x"
    assert said(response, "content-length") == "1"
    assert said(response, "content-encoding") is None
    assert said(response, "age") == "9"
    assert (b"if-none-match", b'"v1"') in world.seen[1]
    assert (b"if-modified-since", b"Wed, 01 Jan 2020 00:00:00 GMT") in world.seen[1]
    assert len(world.dropped) == 2  # the 304 was closed, too


async def test_freshened_from_a_304_that_says_little() -> None:
    world = World(OLD, "304", "500")
    assert await play(world, "GET", "+20", "GET", "+9", "GET", "+1", "GET") == "-~+-"


async def test_cache_status_of_a_validation() -> None:
    world = World(OLD, SAME)
    await world.get()
    world.now += 20
    response = await world.get()
    assert said(response, "x-cache") == "HIT"
    assert said(response, "cache-status") == "gateway-lab; fwd=stale; fwd-status=304; ttl=10"
    assert said(response, "age") == "0"


@pytest.mark.parametrize("directives", ["no-cache", "max-age=60, no-cache", "max-age=0"])
async def test_no_cache_is_stored_and_validated_every_time(directives: str) -> None:
    world = World(f'200\nCache-Control: {directives}\nETag: "v1"', "304")
    assert await play(world, "GET", "GET", "GET") == "-~~"


async def test_304_of_another_version_makes_the_cache_ask_for_the_whole() -> None:
    world = World(OLD, '304\nETag: "v2"', '200\nETag: "v2"\nCache-Control: max-age=10')
    assert await play(world, "GET", "+20", "GET", "GET") == "--+"
    assert not any(name == b"if-none-match" for name, _ in world.seen[2])


async def test_304_can_withdraw_the_permission_to_store() -> None:
    world = World(OLD, "304\nCache-Control: no-store", "200")
    assert await play(world, "GET", "+20", "GET", "GET") == "-~-"


async def test_no_cache_of_the_request_validates() -> None:
    assert await play(World(OLD, SAME), "GET", "GET\nCache-Control: no-cache", "GET") == "-~+"


async def test_clients_condition_gives_way_to_the_caches_own() -> None:
    world = World(OLD, SAME)
    await world.get()
    world.now += 20
    response = await world.get(head='If-None-Match: "v1", "v0"')
    assert response.status == 304
    assert [v for n, v in world.seen[1] if n == b"if-none-match"] == [b'"v1"']
    assert world.exchange is not None
    assert world.exchange.headers == [(b"if-none-match", b'"v1", "v0"')]
    world.answers = [OLD.replace("v1", "v2")]
    world.now += 20
    assert (await world.get(head='If-None-Match: "v1"')).status == 200


async def test_clients_condition_is_passed_on_where_nothing_is_stored() -> None:
    world = World("304")
    response = await world.get(head='If-None-Match: "x"')
    assert (response.status, said(response, "x-cache")) == (304, "MISS")
    assert world.seen[0] == [(b"if-none-match", b'"x"')]
    world = World("200\nCache-Control: max-age=10", "304")
    assert await play(world, "GET", "+20", 'GET\nIf-None-Match: "x"') == "--"  # nothing to validate with


async def test_what_may_not_be_stored_replaces_what_was() -> None:
    world = World(OLD, "200\nCache-Control: no-store", OLD)
    assert await play(world, "GET", "+20", "GET", "GET") == "---"
    assert world.seen[2] == []


async def test_only_what_may_be_sent_unvalidated_is_kept() -> None:
    head = 'Cache-Control: max-age=60, no-cache="a, B", private="c"\nA: 1\nB: 2\nC: 3\nD: 4'
    world = World(f"200\n{head}\nConnection: e\nE: 5\nProxy-Authenticate: x\nX-Cache: HIT from afar")
    first = await world.get()
    assert said(first, "a") == "1"
    second = await world.get()
    assert [said(second, name) for name in "abcde"] == [None, None, None, "4", None]
    assert said(second, "proxy-authenticate") is None
    assert said(first, "x-cache") == "MISS"
    assert said(second, "x-cache") == "HIT"


# -- errors and staleness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_stale_if_error(status: int) -> None:
    world = World("200\nCache-Control: max-age=10, stale-if-error=20\nDate: @0", f"{status}")
    assert await play(world, "GET", "+29", "GET", "+1", "GET") == "-~-"


async def test_stale_if_error_says_so() -> None:
    world = World("200\nCache-Control: max-age=10, stale-if-error=20", "503")
    await world.get()
    world.now += 20
    response = await world.get()
    assert response.status == 200
    assert said(response, "cache-status") == (
        "gateway-lab; fwd=stale; fwd-status=503; detail=stale-if-error; ttl=-10"
    )
    assert len(world.dropped) == 1


@pytest.mark.parametrize("status", [404, 501])
async def test_other_errors_are_passed_on(status: int) -> None:
    world = World("200\nCache-Control: max-age=10, stale-if-error=20", f"{status}")
    assert await play(world, "GET", "+11", "GET") == "--"


async def test_stale_if_error_of_the_request() -> None:
    world = World("200\nCache-Control: max-age=10\nETag: x", "500")
    assert await play(world, "GET", "+11", "GET", "GET\nCache-Control: stale-if-error=5") == "--~"


@pytest.mark.parametrize("strict", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=10"])
@pytest.mark.parametrize("window", ["stale-if-error=60", "stale-while-revalidate=60"])
async def test_strict_answers_are_never_stale(strict: str, window: str) -> None:
    world = World(f'200\nCache-Control: max-age=10, {strict}, {window}\nETag: "x"', "500")
    assert await play(world, "GET", "+20", "GET") == "--"


async def test_failure_of_the_gateway_is_not_stored_but_counts_as_error() -> None:
    async def refused(exchange: object) -> object:
        response = world.response("502\nCache-Control: max-age=60")
        response.failure = "connection_refused"
        return response

    world = World(refused)  # type: ignore[arg-type]
    assert await play(world, "GET", "GET") == "--"
    world = World("200\nCache-Control: max-age=10, stale-if-error=60", refused)  # type: ignore[arg-type]
    assert await play(world, "GET", "+20", "GET") == "-~"


# -- HEAD, conditions, ranges --------------------------------------------------------------------------------


async def test_head_is_answered_from_a_stored_get_and_not_stored_itself() -> None:
    assert await play(World(FRESH), "HEAD", "HEAD", "GET", "HEAD") == "---+"
    world = World(FRESH)
    await world.get()
    response = await world.get(method="HEAD")
    assert (response.content, said(response, "content-length")) == (b"", "1")


HEADS = {
    "same": ('ETag: "v1"\nContent-Length: 1', "+"),
    "weakly the same": ('ETag: W/"v1"', "+"),
    "other tag": ('ETag: "v2"', "-"),
    "other weak tag": ('ETag: W/"v2"', "-"),
    "other length": ("Content-Length: 2", "-"),
    "other date": ("Last-Modified: Thu, 02 Jan 2020 00:00:00 GMT", "-"),
}


@pytest.mark.parametrize(("head", "outcome"), HEADS.values(), ids=HEADS.keys())
async def test_head_freshens_or_invalidates_the_stored_get(head: str, outcome: str) -> None:
    world = World(OLD, f"200\nCache-Control: max-age=10\nDate: @0\nFoo: B\n{head}", "500")
    assert await play(world, "GET", "+20", "HEAD", "GET") == "--" + outcome
    if outcome == "+":
        assert said(await world.get(), "foo") == "B"


async def test_head_of_another_status_changes_nothing() -> None:
    world = World("200\nCache-Control: max-age=10, stale-if-error=99", "410", "500")
    assert await play(world, "GET", "+20", "HEAD", "GET") == "--~"


DATED = "200\nCache-Control: max-age=100\nDate: @0\nETag: {tag}\n" + DATE

CONDITIONS = {
    "same tag": ('"a"', 'If-None-Match: "a"', 304),
    "weak compares with strong": ('W/"a"', 'If-None-Match: "a"', 304),
    "in a list": ('"a"', 'If-None-Match: "x", W/"a","y"', 304),
    "on two lines": ('"a"', 'If-None-Match: "x"\nIf-None-Match: "a"', 304),
    "any": ('"a"', "If-None-Match: *", 304),
    "other tag": ('"a"', 'If-None-Match: "b"', 200),
    "tag goes before date": (
        '"a"',
        'If-None-Match: "b"\nIf-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT',
        200,
    ),
    "same date": ('"a"', "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT", 304),
    "later date": ('"a"', "If-Modified-Since: Thursday, 02-Jan-20 00:00:00 GMT", 304),
    "earlier date": ('"a"', "If-Modified-Since: Tue, 31 Dec 2019 23:59:59 GMT", 200),
    "no date": ('"a"', "If-Modified-Since: yesterday", 200),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("tag", "head", "status"), CONDITIONS.values(), ids=CONDITIONS.keys())
async def test_conditions_are_answered_from_the_cache(tag: str, head: str, status: int, method: str) -> None:
    world = World(DATED.format(tag=tag))
    await world.get()
    response = await world.get(head=head, method=method)
    assert (response.status, world.calls) == (status, 1)
    assert said(response, "etag") == tag
    assert (said(response, "content-length") is None) == (status == 304)


async def test_conditions_without_validators() -> None:
    world = World(FRESH)
    await world.get()
    assert (await world.get(head='If-None-Match: "a"')).status == 200
    assert (await world.get(head=f"If-Modified-Since: {world.date(-1)}")).status == 200
    assert (await world.get(head=f"If-Modified-Since: {world.date()}")).status == 304  # by Date
    world = World("404\nCache-Control: max-age=10")
    await world.get()
    assert (await world.get(head="If-None-Match: *")).status == 404


RANGES = {
    "first bytes": ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
    "one byte": ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
    "to the end": ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    "beyond the end": ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
    "last bytes": ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    "more last bytes than there are": ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
    "behind the end": ("bytes=10-", 416, b"", "bytes */10"),
    "no last bytes": ("bytes=-0", 416, b"", "bytes */10"),
    "several": ("bytes=0-1,3-4", 200, b"0123456789", None),
    "backwards": ("bytes=3-2", 200, b"0123456789", None),
    "other unit": ("lines=0-1", 200, b"0123456789", None),
    "garbage": ("bytes=a-b", 200, b"0123456789", None),
    "endless number": ("bytes=" + "9" * 30 + "-", 200, b"0123456789", None),
}


@pytest.mark.parametrize(("wanted", "status", "body", "content_range"), RANGES.values(), ids=RANGES.keys())
async def test_range_of_a_stored_response(wanted: str, status: int, body: bytes, content_range: str) -> None:
    async def ten(exchange: object) -> object:
        return world.response("200\nCache-Control: max-age=60\nETag: x", b"0123456789")

    world = World(ten)  # type: ignore[arg-type]
    await world.get()
    response = await world.get(head=f"Range: {wanted}")
    assert (response.status, response.content, said(response, "content-range")) == (
        status,
        body,
        content_range,
    )
    assert said(response, "content-length") == str(len(body))
    assert world.calls == 1


IF_RANGES = {
    "strong tag": ('"a"', 'If-Range: "a"', 206),
    "other tag": ('"a"', 'If-Range: "b"', 200),
    "weak tag": ('W/"a"', 'If-Range: W/"a"', 200),
    "date": ('"a"', "If-Range: Wed, 01 Jan 2020 00:00:00 GMT", 206),
    "other date": ('"a"', "If-Range: Thu, 02 Jan 2020 00:00:00 GMT", 200),
}


@pytest.mark.parametrize(("tag", "head", "status"), IF_RANGES.values(), ids=IF_RANGES.keys())
async def test_if_range(tag: str, head: str, status: int) -> None:
    world = World(DATED.format(tag=tag))
    await world.get()
    assert (await world.get(head=f"Range: bytes=0-0\n{head}")).status == status


async def test_if_range_without_validator() -> None:
    world = World(FRESH)
    await world.get()
    assert (await world.get(head='Range: bytes=0-0\nIf-Range: "a"')).status == 200
    assert (await world.get(head="Range: bytes=0-0\nIf-Range: Thu, 02 Jan 2020 00:00:00 GMT")).status == 200


async def test_range_is_passed_on_where_nothing_is_stored() -> None:
    world = World("206\nCache-Control: max-age=60\nContent-Range: bytes 0-0/9", FRESH)
    assert await play(world, "GET\nRange: bytes=0-0", "GET\nRange: bytes=0-0", "GET") == "--+"
    assert world.seen[0] == [(b"range", b"bytes=0-0")]


async def test_range_of_a_stored_error_is_the_whole() -> None:
    world = World("404\nCache-Control: max-age=10")
    await world.get()
    assert (await world.get(head="Range: bytes=0-0")).status == 404


async def test_range_of_a_stale_response_that_changed() -> None:
    world = World(OLD, "206\nContent-Range: bytes 0-0/9", "500")
    assert await play(world, "GET", "+20", "GET\nRange: bytes=0-0", "GET") == "---"
    world = World(OLD, SAME)
    await world.get()
    world.now += 20
    assert (await world.get(head="Range: bytes=0-0")).status == 206


# -- invalidation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
@pytest.mark.parametrize(("status", "outcome"), [(200, "-"), (201, "-"), (303, "-"), (400, "+"), (500, "+")])
async def test_unsafe_method_invalidates_where_it_succeeds(method: str, status: int, outcome: str) -> None:
    world = World(FRESH, f"{status}", FRESH)
    assert await play(world, "GET", method, "GET") == "--" + outcome


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_safe_method_invalidates_nothing(method: str) -> None:
    assert await play(World(FRESH, "200", FRESH), "GET", method, "GET") == "--+"


LOCATIONS = {
    "path": ("/items/7", "-"),
    "relative": ("items/7", "-"),
    "the gateway's path": ("/a/items/7", "-"),
    "the gateway's address": ("http://gateway:8000/a/items/7", "-"),
    "the service's address": ("http://127.0.0.1:1/items/7", "-"),
    "another port of the service's host": ("http://127.0.0.1:2/items/7", "+"),
    "another host": ("http://elsewhere/items/7", "+"),
    "another host in short": ("//elsewhere/items/7", "+"),
    "another service": ("http://gateway:8000/b/items/7", "+"),
    "another path": ("/items/8", "+"),
    "another query": ("/items/7?x", "+"),
    "no URL at all": ("http://[", "+"),
}


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(("location", "outcome"), LOCATIONS.values(), ids=LOCATIONS.keys())
async def test_locations_are_invalidated_too(location: str, name: str, outcome: str) -> None:
    world = World(FRESH, f"201\n{name}: {location}", FRESH)
    assert await play(world, "GET /items/7", "POST /items", "GET /items/7") == "--" + outcome


async def test_location_with_a_query() -> None:
    world = World(FRESH, "201\nLocation: /items/7?x=1", FRESH)
    assert await play(world, "GET /items/7?x=1", "POST /items", "GET /items/7?x=1") == "---"


# -- Age and Date --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "age"),
    [
        ("Date: @0", 5),
        ("Date: @0\nAge: 30", 35),
        ("Date: @-10", 15),
        ("Age: 30", 35),
        ("Date: @-1", 5),
        ("Date: @-2", 7),
        ("Date: @60", 5),
        ("Date: @-10\nAge: 3", 15),
    ],
)
async def test_age(head: str, age: int) -> None:
    world = World(f"200\nCache-Control: max-age=100\n{head}")
    await world.get()
    world.now += 5
    response = await world.get()
    assert said(response, "age") == str(age)
    assert said(response, "cache-status") == f"gateway-lab; hit; ttl={100 - age}"


async def test_age_counts_the_way_to_the_service() -> None:
    async def slow(exchange: object) -> object:
        world.now += 4
        return world.response("200\nCache-Control: max-age=100\nAge: 30")

    world = World(slow)  # type: ignore[arg-type]
    await world.get()
    assert said(await world.get(), "age") == "34"


async def test_date_stays_and_is_supplied_where_missing() -> None:
    world = World(
        "200\nCache-Control: max-age=100\nDate: @-7", "200\nCache-Control: max-age=100\nDate: never"
    )
    for offset in (-7, 0):
        date = world.date(offset)
        await world.get(f"/{offset}")
        world.now += 5
        assert said(await world.get(f"/{offset}"), "date") == date
