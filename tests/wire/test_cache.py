"""WIRE.md rows 36–45: the cache, as two clients and a service see it."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.wire.wire import Answer, Client, Gateway, Service, Truncated, request, respond

FRESH = b"Cache-Control: max-age=60"


def fetch(
    client: Client, service: Service, path: str, *lines: bytes, response: bytes = b"", method: str = "GET"
) -> Answer:
    """A request that must reach the service."""
    client.send(request(f"/{service.name}{path}", *lines, method=method))
    service.answers(response or respond(200, FRESH))
    return client.answer(method)


def is_hit(client: Client, service: Service, path: str, *lines: bytes, method: str = "GET") -> Answer:
    """A request that must be answered without the service."""
    answer = client.get(f"/{service.name}{path}", *lines, method=method)
    assert service.unasked()
    assert answer[b"x-cache"] == b"HIT"
    assert b"; hit" in answer[b"cache-status"]
    return answer


def is_miss(client: Client, service: Service, path: str, *lines: bytes, method: str = "GET") -> Answer:
    answer = fetch(client, service, path, *lines, response=respond(200, FRESH, body=b""), method=method)
    assert answer[b"x-cache"] in (b"MISS", b"BYPASS")
    return answer


@pytest.fixture
def client(gateway: Gateway) -> Client:
    return gateway.client()


A, B = b"Authorization: Basic YTpi", b"Authorization: Basic Yzpk"


def test_row_36_authorization_is_not_answered_from_anothers_answer(client: Client, service: Service) -> None:
    fetch(client, service, "/", A, response=respond(200, FRESH, body=b"of A"))
    assert is_miss(client, service, "/", B).body != b"of A"
    assert is_miss(client, service, "/").body != b"of A"


@pytest.mark.parametrize("allowed", [b"public, max-age=60", b"s-maxage=60", b"max-age=60, must-revalidate"])
def test_row_36_unless_the_response_allows_it(client: Client, service: Service, allowed: bytes) -> None:
    fetch(client, service, "/", A, response=respond(200, b"Cache-Control: " + allowed, body=b"for all"))
    assert is_hit(client, service, "/", B).body == b"for all"
    assert is_hit(client, service, "/").body == b"for all"


def test_row_36_keys_are_identities_too(keyed: Gateway, behind) -> None:
    service = behind(keyed)
    client = keyed.client()
    anna, bert = b"X-API-Key: anna-key", b"X-API-Key: bert-key"
    fetch(client, service, "/", anna, response=respond(200, FRESH, body=b"of anna"))
    assert fetch(client, service, "/", bert, response=respond(200, FRESH, body=b"of bert")).body == b"of bert"
    answer = client.get(f"/{service.name}/", b"X-API-Key: nobodys")
    assert answer.status == 401
    fetch(
        client, service, "/p", anna, response=respond(200, b"Cache-Control: public, max-age=60", body=b"all")
    )
    assert is_hit(client, service, "/p", bert).body == b"all"


@pytest.mark.parametrize(
    "directive", [b"no-store", b"private", b"private, max-age=60", b"NO-STORE, max-age=60"]
)
def test_row_37_no_store_and_private_are_not_stored(
    client: Client, service: Service, directive: bytes
) -> None:
    fetch(client, service, "/", response=respond(200, b"Cache-Control: " + directive))
    is_miss(client, service, "/")


@pytest.mark.parametrize(
    "directive", [b"no-cache", b"max-age=60, no-cache", b"max-age=0", b"s-maxage=0, max-age=60"]
)
def test_row_37_no_cache_asks_the_service_each_time(
    client: Client, service: Service, directive: bytes
) -> None:
    fetch(
        client, service, "/", response=respond(200, b"Cache-Control: " + directive, b'ETag: "a"', body=b"one")
    )
    client.send(request(f"/{service.name}/"))
    asked = service.answers(
        b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: ' + directive + b"\r\n\r\n"
    )
    assert asked[b"if-none-match"] == b'"a"'
    answer = client.answer()
    assert (answer.status, answer.body) == (200, b"one")


def test_row_37_a_request_may_say_no_store_and_no_cache(client: Client, service: Service) -> None:
    fetch(client, service, "/", b"Cache-Control: no-store")
    is_miss(client, service, "/")
    is_hit(client, service, "/")
    is_miss(client, service, "/", b"Cache-Control: no-cache")


def test_row_38_vary_is_matched(client: Client, service: Service) -> None:
    for value in (b"de", b"fr"):
        response = respond(200, FRESH, b"Vary: Accept-Language", body=value)
        fetch(client, service, "/", b"Accept-Language: " + value, response=response)
    is_miss(client, service, "/x")
    fetch(
        client,
        service,
        "/",
        b"Accept-Language: it",
        response=respond(200, FRESH, b"Vary: Accept-Language", body=b"it"),
    )
    fetch(client, service, "/", response=respond(200, FRESH, b"Vary: Accept-Language", body=b"none"))
    for value in (b"de", b"fr", b"it"):
        assert is_hit(client, service, "/", b"Accept-Language: " + value).body == value
    assert is_hit(client, service, "/").body == b"none"


def test_row_38_vary_star_is_never_reused(client: Client, service: Service) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b"Vary: *"))
    is_miss(client, service, "/")


def test_row_39_a_response_with_set_cookie_is_not_stored_unless_it_says_so(
    client: Client, service: Service
) -> None:
    fetch(client, service, "/", response=respond(200, b"Set-Cookie: s=1", b"Cache-Control: x"))
    is_miss(client, service, "/")
    fetch(
        client,
        service,
        "/says",
        response=respond(200, b"Set-Cookie: s=1", b"Cache-Control: public, max-age=60"),
    )
    assert is_hit(client, service, "/says").all(b"set-cookie") in ([], [b"s=1"])


def test_row_40_the_key_is_service_raw_path_and_exact_query(
    gateway: Gateway, client: Client, service, behind
) -> None:
    other = behind(gateway)
    fetch(client, service, "/a%2Fb?x=1&y=2", response=respond(200, FRESH, body=b"this"))
    for path in (
        "/a/b?x=1&y=2",
        "/a%2fb?x=1&y=2",
        "/a%2Fb?y=2&x=1",
        "/a%2Fb?x=1&y=2&",
        "/a%2Fb",
        "//a%2Fb?x=1&y=2",
    ):
        is_miss(client, service, path)
    is_miss(client, other, "/a%2Fb?x=1&y=2")
    assert is_hit(client, service, "/a%2Fb?x=1&y=2").body == b"this"


def test_row_40_another_host_field_does_not_poison(client: Client, service: Service) -> None:
    client.send(b"GET /%b/ HTTP/1.1\r\nHost: evil.test\r\n\r\n" % service.name.encode())
    assert service.answers(respond(200, FRESH))[b"host"] == service.host.encode()
    assert client.answer().status == 200


def test_row_41_head_is_answered_from_a_stored_get(client: Client, service: Service) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b'ETag: "a"', body=b"12345"))
    answer = is_hit(client, service, "/", method="HEAD")
    assert answer[b"content-length"] == b"5"
    assert answer[b"etag"] == b'"a"'
    assert is_hit(client, service, "/").body == b"12345"


def test_row_41_a_head_does_not_store_an_empty_get(client: Client, service: Service) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, body=b""), method="HEAD")
    assert fetch(client, service, "/", response=respond(200, FRESH, body=b"whole")).body == b"whole"


def test_row_41_a_304_updates_the_stored_fields(client: Client, service: Service) -> None:
    fetch(
        client,
        service,
        "/",
        response=respond(
            200, b"Cache-Control: max-age=0", b'ETag: "a"', b"X-V: 1", b"X-Kept: k", body=b"body"
        ),
    )
    client.send(request(f"/{service.name}/"))
    asked = service.answers(
        b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nX-V: 2\r\nCache-Control: max-age=60\r\n\r\n'
    )
    assert asked.all(b"if-none-match") == [b'"a"']
    for answer in (client.answer(), is_hit(client, service, "/")):
        assert answer.status == 200
        assert answer.body == b"body"
        assert answer.all(b"x-v") == [b"2"]
        assert answer[b"x-kept"] == b"k"
        assert answer[b"content-length"] == b"4"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "LOCK"])
def test_row_42_a_successful_unsafe_method_invalidates(client: Client, service: Service, method: str) -> None:
    fetch(client, service, "/a")
    fetch(client, service, "/b")
    fetch(client, service, "/c")
    response = respond(201, b"Location: /b", b"Content-Location: /%b/c" % service.name.encode())
    fetch(client, service, "/a", response=response, method=method)
    for path in ("/a", "/b", "/c"):
        is_miss(client, service, path)


def test_row_42_a_location_may_name_the_address_that_the_service_knows_itself_by(
    client: Client, service: Service
) -> None:
    fetch(client, service, "/b")
    location = f"Location: {service.url}/b".encode()
    fetch(client, service, "/a", response=respond(201, location), method="POST")
    is_miss(client, service, "/b")


def test_row_42_a_failed_or_a_safe_one_does_not(client: Client, service: Service) -> None:
    fetch(client, service, "/a")
    fetch(client, service, "/a", response=respond(404), method="POST")
    fetch(client, service, "/a", response=respond(200), method="OPTIONS")
    is_hit(client, service, "/a")


def test_row_42_another_services_entries_are_not_its_to_void(
    gateway: Gateway, client: Client, service, behind
) -> None:
    other = behind(gateway)
    fetch(client, other, "/x")
    location = b"Location: http://gateway.test/%b/x" % other.name.encode()
    fetch(client, service, "/a", response=respond(201, location), method="POST")
    is_hit(client, other, "/x")


def test_row_43_age_is_right(client: Client, service: Service) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b"Age: 30"))
    assert 30 <= int(is_hit(client, service, "/")[b"age"]) <= 40
    fetch(client, service, "/old", response=respond(200, FRESH, b"Age: 61"))
    is_miss(client, service, "/old")
    fetch(client, service, "/no")
    assert int(is_hit(client, service, "/no")[b"age"]) <= 10


def test_row_43_stale_if_error(client: Client, service: Service) -> None:
    stale = respond(200, b"Cache-Control: max-age=10, stale-if-error=600", b"Age: 10", body=b"stale")
    fetch(client, service, "/", response=stale)
    for failure in (respond(500), respond(503)):
        answer = fetch(client, service, "/", response=failure)
        assert (answer.status, answer.body) == (200, b"stale")
    client.send(request(f"/{service.name}/"))
    service.asked()[0].close()  # a pooled connection: the request comes again on a fresh one
    service.asked()[0].close()
    assert client.answer().body == b"stale"
    assert fetch(client, service, "/", response=respond(404, body=b"gone")).body == b"gone"


@pytest.mark.parametrize("strict", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=10"])
def test_row_43_must_revalidate_forbids_stale(client: Client, service: Service, strict: bytes) -> None:
    control = b"Cache-Control: max-age=10, stale-if-error=600, stale-while-revalidate=600, " + strict
    fetch(client, service, "/", response=respond(200, control, b'ETag: "a"', b"Age: 10", body=b"stale"))
    answer = fetch(client, service, "/", response=respond(503, body=b"error"))
    assert (answer.status, answer.body) == (503, b"error")


def test_row_43_stale_while_revalidate(client: Client, service: Service) -> None:
    control = b"Cache-Control: max-age=10, stale-while-revalidate=600"
    fetch(client, service, "/", response=respond(200, control, b"Age: 10", body=b"old"))
    answer = client.get(f"/{service.name}/")  # before the service has said anything
    assert (answer.body, answer[b"x-cache"]) == (b"old", b"HIT")
    service.answers(respond(200, FRESH, body=b"new"))
    while (answer := client.get(f"/{service.name}/")).body == b"old":
        pass
    assert answer.body == b"new"
    assert service.unasked()


def test_row_44_one_miss_for_many_equal_requests(gateway: Gateway, service: Service) -> None:
    clients = [gateway.client() for _ in range(50)]
    for client in clients:
        client.send(request(f"/{service.name}/"))
    service.answers(respond(200, FRESH, body=b"one"))
    answers = [client.answer() for client in clients]
    assert [answer.body for answer in answers] == [b"one"] * 50
    assert service.unasked()
    assert sorted({answer[b"x-cache"] for answer in answers}) in ([b"HIT", b"MISS"], [b"MISS"])


def test_row_44_a_leader_that_goes_away_does_not_fail_the_others(gateway: Gateway, service: Service) -> None:
    leader = gateway.client()
    leader.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    followers = [gateway.client() for _ in range(5)]
    for follower in followers:
        follower.send(request(f"/{service.name}/"))
    gateway.get("/health")  # they have been read by now
    leader.close()
    assert peer.gone()
    service.answers(respond(200, FRESH, body=b"second"))
    assert [follower.answer().body for follower in followers] == [b"second"] * 5
    assert service.unasked()


def test_row_44_a_leader_that_goes_away_in_the_body_does_not_cut_the_others(
    gateway: Gateway, service: Service
) -> None:
    leader, follower = gateway.client(), gateway.client()
    leader.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + FRESH + b"\r\n\r\n12345")
    leader.until(b"12345")
    follower.send(request(f"/{service.name}/"))
    assert follower.head().status == 200
    leader.close()
    gateway.get("/health")
    peer.send(b"67890")
    assert follower.exactly(10) == b"1234567890"
    assert service.unasked()


def test_row_44_a_leader_that_fails_does_not_fail_the_others(gateway: Gateway, service: Service) -> None:
    leader, follower = gateway.client(), gateway.client()
    leader.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    follower.send(request(f"/{service.name}/"))
    gateway.get("/health")
    peer.send(respond(500, body=b"mine"))
    assert leader.answer().status == 500
    service.answers(respond(200, FRESH, body=b"its own"))
    assert follower.answer().body == b"its own"


def test_row_44_private_answers_are_not_shared(gateway: Gateway, service: Service) -> None:
    clients = [gateway.client() for _ in range(5)]
    for client in clients:
        client.send(request(f"/{service.name}/"))
    for i in range(5):
        service.answers(respond(200, b"Cache-Control: private", body=b"%d" % i))
    assert sorted(client.answer().body for client in clients) == [b"0", b"1", b"2", b"3", b"4"]


def test_row_44_different_identities_do_not_wait_for_each_other(gateway: Gateway, service: Service) -> None:
    first, second = gateway.client(), gateway.client()
    first.send(request(f"/{service.name}/", A))
    one, asked = service.asked()
    second.send(request(f"/{service.name}/", B))
    two, also = service.asked()
    assert {asked[b"authorization"], also[b"authorization"]} == {A.split(b": ")[1], B.split(b": ")[1]}
    two.send(respond(200, FRESH, body=b"B"))
    assert second.answer().body == b"B"
    one.send(respond(200, FRESH, body=b"A"))
    assert first.answer().body == b"A"


def test_row_44_a_truncated_leader_cuts_its_followers(gateway: Gateway, service: Service) -> None:
    leader, follower = gateway.client(), gateway.client()
    leader.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + FRESH + b"\r\n\r\n12345")
    leader.until(b"12345")
    follower.send(request(f"/{service.name}/"))
    follower.until(b"12345")
    peer.close()
    for client in (leader, follower):
        with pytest.raises(Truncated):
            client.exactly(5)
    leader = gateway.client()
    leader.send(request(f"/{service.name}/"))
    service.answers()
    assert leader.answer().body == b"ok"


BODY = b"0123456789"
MODIFIED = b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("value", "status", "body", "field"),
    [
        (b"bytes=0-3", 206, b"0123", b"bytes 0-3/10"),
        (b"bytes=4-", 206, b"456789", b"bytes 4-9/10"),
        (b"bytes=-3", 206, b"789", b"bytes 7-9/10"),
        (b"bytes=8-99", 206, b"89", b"bytes 8-9/10"),
        (b"bytes=99-", 416, b"", b"bytes */10"),
        (b"lines=1-2", 200, BODY, None),
        (b"bytes=3-1", 200, BODY, None),
    ],
)
def test_row_45_ranges_from_the_cache(
    client: Client, service: Service, value: bytes, status: int, body: bytes, field: bytes | None
) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b'ETag: "a"', body=BODY))
    answer = is_hit(client, service, "/", b"Range: " + value)
    assert (answer.status, answer.body) == (status, body)
    assert answer.all(b"content-range") == ([] if field is None else [field])
    assert answer[b"content-length"] == b"%d" % len(body)


def test_row_45_if_range(client: Client, service: Service) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b'ETag: "a"', body=BODY))
    assert is_hit(client, service, "/", b"Range: bytes=0-3", b'If-Range: "a"').body == b"0123"
    assert is_hit(client, service, "/", b"Range: bytes=0-3", b'If-Range: "b"').body == BODY


def test_row_45_a_range_that_is_not_stored_is_passed_on(client: Client, service: Service) -> None:
    client.send(request(f"/{service.name}/", b"Range: bytes=0-3"))
    response = respond(206, FRESH, b"Content-Range: bytes 0-3/10", body=b"0123")
    assert service.answers(response)[b"range"] == b"bytes=0-3"
    answer = client.answer()
    assert (answer.status, answer.body, answer[b"content-range"]) == (206, b"0123", b"bytes 0-3/10")
    assert (
        fetch(client, service, "/", response=respond(200, FRESH, body=BODY)).body == BODY
    )  # no part for a whole


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (b'If-None-Match: "a"', 304),
        (b'If-None-Match: W/"a"', 304),
        (b'If-None-Match: "x", "a"', 304),
        (b"If-None-Match: *", 304),
        (b'If-None-Match: "b"', 200),
        (b"If-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT", 304),
        (b"If-Modified-Since: Wed, 21 Oct 2015 07:27:59 GMT", 200),
        (b"If-Modified-Since: nonsense", 200),
    ],
)
def test_row_45_conditional_requests_from_the_cache(
    client: Client, service: Service, condition: bytes, status: int
) -> None:
    fetch(client, service, "/", response=respond(200, FRESH, b'ETag: "a"', MODIFIED, body=BODY))
    answer = is_hit(client, service, "/", condition)
    assert answer.status == status
    assert answer[b"etag"] == b'"a"'
    assert answer.body == (BODY if status == 200 else b"")
    assert is_hit(client, service, "/", condition, method="HEAD").status == status


@pytest.mark.parametrize(
    "condition", [b'If-None-Match: "a"', b'If-Match: "a"', b"If-Unmodified-Since: " + MODIFIED[15:]]
)
def test_row_45_conditions_are_passed_on_where_nothing_is_stored(
    client: Client, service: Service, condition: bytes
) -> None:
    name, value = condition.split(b": ", 1)
    client.send(request(f"/{service.name}/", condition))
    asked = service.answers(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
    assert asked.all(name.lower()) == [value]
    assert client.answer().status == 304


def test_row_45_the_clients_own_304_is_not_anothers(client: Client, service: Service) -> None:
    client.send(request(f"/{service.name}/", b'If-None-Match: "a"'))
    service.answers(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n' + FRESH + b"\r\n\r\n")
    assert client.answer().status == 304
    assert fetch(client, service, "/", response=respond(200, FRESH, body=b"whole")).body == b"whole"


def test_row_45_expired_by_date(client: Client, service: Service) -> None:
    past = formatdate(usegmt=True).encode()
    fetch(
        client,
        service,
        "/",
        response=respond(200, b"Cache-Control: x", b"Expires: " + past, b"Date: " + past),
    )
    is_miss(client, service, "/")
