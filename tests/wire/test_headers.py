"""WIRE.md rows 9–17: what passes in the header fields, and what is rebuilt."""

from __future__ import annotations

import re

import pytest

from tests.wire.wire import Answer, Gateway, Request, Service, request, respond

LIST = b"Connection: close-not, X-Named, x-OTHER\r\nX-Named: a\r\nX-Other: b\r\nX-Kept: c"


def exchange(
    gateway: Gateway, service: Service, *lines: bytes, response: bytes = b"", method: str = "GET"
) -> tuple[Request, Answer]:
    """One request with these lines, answered with `response`; what the service and the client saw."""
    client = gateway.client()
    client.send(request(f"/{service.name}/x", *lines, method=method))
    asked = service.answers(response)
    return asked, client.answer(method)


@pytest.mark.parametrize(
    "field",
    [b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X-T", b"Upgrade: h2c", b"Proxy-Connection: close"],
)
def test_row_9_hop_by_hop_fields_of_a_request_stop(gateway: Gateway, service: Service, field: bytes) -> None:
    asked, answer = exchange(gateway, service, field, b"X-Kept: c")
    assert field.split(b":")[0].lower() not in asked
    assert b"connection" not in asked
    assert asked[b"x-kept"] == b"c"
    assert answer.status == 200


def test_row_9_fields_that_connection_names_in_a_request_stop(gateway: Gateway, service: Service) -> None:
    asked, answer = exchange(gateway, service, *LIST.split(b"\r\n"), b"Connection: x-third", b"X-Third: d")
    assert {b"connection", b"x-named", b"x-other", b"x-third"}.isdisjoint(name for name, _ in asked.headers)
    assert asked[b"x-kept"] == b"c"
    assert answer.status == 200


def test_row_9_connection_cannot_strip_what_the_gateway_says(gateway: Gateway, service: Service) -> None:
    asked, answer = exchange(
        gateway, service, b"Connection: X-Forwarded-For, Via, X-Request-ID, Host, Forwarded, X-Gateway-Client"
    )
    assert asked[b"x-forwarded-for"] == b"127.0.0.1"
    for name in (b"via", b"x-request-id", b"host", b"forwarded"):
        assert len(asked.all(name)) == 1
    assert answer.status == 200


@pytest.mark.parametrize(
    "field",
    [b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X-T", b"Upgrade: h2c", b"Proxy-Connection: close"],
)
def test_row_9_hop_by_hop_fields_of_a_response_stop(gateway: Gateway, service: Service, field: bytes) -> None:
    _, answer = exchange(gateway, service, response=respond(200, field, b"X-Kept: c"))
    assert field.split(b":")[0].lower() not in answer
    assert answer[b"x-kept"] == b"c"


def test_row_9_fields_that_connection_names_in_a_response_stop(gateway: Gateway, service: Service) -> None:
    _, answer = exchange(gateway, service, response=respond(200, *LIST.split(b"\r\n")))
    assert {b"x-named", b"x-other"}.isdisjoint(name for name, _ in answer.headers)
    assert answer[b"x-kept"] == b"c"
    assert answer.all(b"connection") in ([], [b"close"])


def test_row_10_credentials_for_a_proxy_stop_here(gateway: Gateway, service: Service) -> None:
    asked, answer = exchange(
        gateway,
        service,
        b"Proxy-Authorization: Basic eDp5",
        response=respond(200, b"Proxy-Authenticate: Basic realm=x"),
    )
    assert b"proxy-authorization" not in asked
    assert b"proxy-authenticate" not in answer


def test_row_11_several_set_cookie_stay_several(gateway: Gateway, service: Service) -> None:
    cookies = [b"a=1; Path=/", b"b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT", b"a=3"]
    _, answer = exchange(gateway, service, response=respond(200, *(b"Set-Cookie: " + c for c in cookies)))
    assert answer.all(b"set-cookie") == cookies


def test_row_12_repeated_request_fields_stay_repeated_in_order(gateway: Gateway, service: Service) -> None:
    asked, _ = exchange(
        gateway, service, b"X-R: 1", b"Cookie: a=1", b"x-r: 2, 3", b"Accept: a/b", b"X-R:", b"Accept: c/d"
    )
    assert asked.all(b"x-r") == [b"1", b"2, 3", b""]
    assert asked.all(b"accept") == [b"a/b", b"c/d"]
    kept = [name for name, _ in asked.headers if name in (b"x-r", b"cookie", b"accept")]
    assert kept == [b"x-r", b"cookie", b"x-r", b"accept", b"x-r", b"accept"]


def test_row_12_repeated_response_fields_stay_repeated_in_order(gateway: Gateway, service: Service) -> None:
    _, answer = exchange(
        gateway, service, response=respond(200, b"X-R: 1", b"Link: <a>", b"X-R: 2", b"Link: <b>")
    )
    assert answer.all(b"x-r") == [b"1", b"2"]
    assert answer.all(b"link") == [b"<a>", b"<b>"]


def test_row_13_nothing_of_one_client_is_sent_for_another(gateway: Gateway, service: Service) -> None:
    _, answer = exchange(
        gateway,
        service,
        b"Authorization: Basic YTpi",
        b"Cookie: c=1",
        response=respond(200, b"Set-Cookie: s=secret"),
    )
    assert answer[b"set-cookie"] == b"s=secret"
    asked, _ = exchange(gateway, service)  # over the same pooled connection
    assert len(service.peers) == 1
    assert b"cookie" not in asked
    assert b"authorization" not in asked


def test_row_14_nothing_is_invented(gateway: Gateway, service: Service) -> None:
    asked, _ = exchange(gateway, service)
    assert sorted(name for name, _ in asked.headers) == [
        b"forwarded",
        b"host",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    ]


def test_row_14_what_the_client_says_of_itself_is_kept(gateway: Gateway, service: Service) -> None:
    lines = (
        b"User-Agent: wire/1",
        b"Accept: a/b;q=0.1",
        b"Accept-Encoding: br",
        b"Referer: http://x/",
        b"Priority: u=1",
    )
    asked, _ = exchange(gateway, service, *lines)
    for line in lines:
        name, value = line.split(b": ", 1)
        assert asked.all(name.lower()) == [value]


def test_row_15_forwarding_fields_are_rebuilt(gateway: Gateway, service: Service) -> None:
    asked, _ = exchange(
        gateway,
        service,
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.test",
        b"Forwarded: for=1.1.1.1;host=evil.test",
        b"X-Real-IP: 1.1.1.1",
        b"X-Forwarded-Port: 1",
        b"X-Forwarded-Server: evil.test",
        b"X-Gateway-Client: root",
        b"x-forwarded-for: 2.2.2.2",
    )
    assert asked.all(b"x-forwarded-for") == [b"127.0.0.1"]
    assert asked.all(b"x-forwarded-proto") == [b"http"]
    assert asked.all(b"x-forwarded-host") == [b"gateway.test"]
    assert asked.all(b"forwarded") == [b"for=127.0.0.1;host=gateway.test;proto=http"]
    assert not any(b"1.1.1.1" in v or b"evil" in v or b"2.2.2.2" in v for _, v in asked.headers)
    assert b"x-gateway-client" not in asked
    assert asked[b"host"] == service.host.encode()


def test_row_15_a_trusted_hop_is_believed(other: Gateway, behind) -> None:
    gateway = other
    service = behind(gateway)
    asked, answer = exchange(
        gateway,
        service,
        b"X-Forwarded-For: 6.6.6.6, 198.51.100.7",
        b"X-Forwarded-For: 10.1.2.3",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.test",
        b"X-Request-ID: row-15-trusted",
    )
    assert asked[b"x-forwarded-for"] == b"6.6.6.6, 198.51.100.7, 10.1.2.3, 127.0.0.1"
    assert asked[b"x-forwarded-proto"] == b"https"
    assert asked[b"x-forwarded-host"] == b"shop.test"
    assert answer.status == 200
    assert gateway.entry("row-15-trusted")["client"] == "198.51.100.7"


def test_row_15_but_not_in_what_is_no_host_and_no_scheme(other: Gateway, behind) -> None:
    gateway = other
    asked, _ = exchange(
        gateway, behind(gateway), b"X-Forwarded-Host: shop.test/, evil", b"X-Forwarded-Proto: javascript"
    )
    assert asked.all(b"x-forwarded-host") == [b"gateway.test"]
    assert asked.all(b"x-forwarded-proto") == [b"http"]


def test_row_16_via_both_ways(gateway: Gateway, service: Service) -> None:
    asked, answer = exchange(
        gateway, service, b"Via: 1.0 fred, 1.1 p.test (x)", response=respond(200, b"Via: 1.1 inner")
    )
    assert re.fullmatch(rb"1\.0 fred, 1\.1 p\.test \(x\), 1\.1 [\w.-]+", asked[b"via"])
    assert re.fullmatch(rb"1\.1 inner, 1\.1 [\w.-]+", answer[b"via"])


def test_row_16_several_via_of_both_sides_are_kept(gateway: Gateway, service: Service) -> None:
    asked, answer = exchange(
        gateway, service, b"Via: 1.0 a", b"Via: 1.1 b", response=respond(200, b"Via: 1.1 c", b"Via: 1.1 d")
    )
    assert re.fullmatch(rb"1\.0 a, 1\.1 b, 1\.1 [\w.-]+", b", ".join(asked.all(b"via")))
    assert re.fullmatch(rb"1\.1 c, 1\.1 d, 1\.1 [\w.-]+", b", ".join(answer.all(b"via")))


def test_row_16_a_loop_is_refused(gateway: Gateway) -> None:
    """A service whose address is the gateway itself."""
    gateway.admin(
        "PUT", "/admin/services/loop", {"url": f"http://127.0.0.1:{gateway.port}/loop", "retries": 0}
    )
    try:
        assert gateway.get("/loop/x").status == 508
    finally:
        gateway.admin("DELETE", "/admin/services/loop")


TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("value", [TRACE, b"cc-" + TRACE[3:], b"cc-" + TRACE[3:] + b"-what-comes"])
def test_row_17_a_valid_traceparent_goes_on(gateway: Gateway, service: Service, value: bytes) -> None:
    asked, _ = exchange(gateway, service, b"traceparent: " + value, b"tracestate: a=1")
    assert asked.all(b"traceparent") == [value]
    assert asked.all(b"tracestate") == [b"a=1"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        TRACE[:-1],
        TRACE + b"-",
        TRACE + b"-x",
        TRACE.upper(),
        b"ff" + TRACE[2:],
        TRACE.replace(b"4", b"g"),
        b"00-" + b"0" * 32 + TRACE[35:],
        TRACE[:36] + b"0" * 16 + b"-01",
        TRACE + b", " + TRACE,
    ],
)
def test_row_17_a_malformed_traceparent_is_replaced(gateway: Gateway, service: Service, value: bytes) -> None:
    asked, _ = exchange(gateway, service, b"traceparent: " + value, b"tracestate: a=1")
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", asked[b"traceparent"])
    assert value != asked[b"traceparent"]
    assert b"tracestate" not in asked


def test_row_17_two_traceparents_are_replaced(gateway: Gateway, service: Service) -> None:
    asked, _ = exchange(gateway, service, b"traceparent: " + TRACE, b"traceparent: " + TRACE)
    assert asked[b"traceparent"] != TRACE
