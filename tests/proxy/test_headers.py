from __future__ import annotations

from ipaddress import ip_network

import pytest

from lab.model import Exchange, Headers
from lab.proxy import headers
from lab.proxy.headers import (
    PSEUDONYM,
    VIA,
    Plain,
    client_address,
    looped,
    request_headers,
    response_headers,
    trusted,
)

HOST = b"127.0.0.1:8001"


def exchange(*fields: tuple[bytes, bytes], **changes: object) -> Exchange:
    made = Exchange("GET", b"/service-a/x", headers=list(fields), service="service-a", peer="192.0.2.7")
    made.request_id = "id-1"
    made.host = b"gate.example:8000"
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def sent(*fields: tuple[bytes, bytes], token: bytes | None = None, **changes: object) -> Headers:
    return request_headers(exchange(*fields, **changes), HOST, token)


def values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


@pytest.mark.parametrize(
    "name",
    [
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"x-api-key",
        b"x-gateway-client",
        b"x-real-ip",
        b"expect",
    ],
)
def test_fields_for_this_hop_stop_here(name: bytes) -> None:
    assert values(sent((name, b"secret")), name) == []


def test_what_connection_names_stops_too_both_ways() -> None:
    fields = ((b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-end", b"2"))
    assert values(sent(*fields), b"x-hop") == []
    assert values(sent(*fields), b"x-end") == [b"2"]
    back = response_headers(list(fields))
    assert values(back, b"x-hop") == []
    assert values(back, b"connection") == []
    assert values(back, b"x-end") == [b"2"]


def test_a_connection_field_cannot_remove_what_the_gateway_adds() -> None:
    headers = sent((b"connection", b"x-forwarded-for, x-request-id, host"))
    assert values(headers, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(headers, b"x-request-id") == [b"id-1"]
    assert values(headers, b"host") == [HOST]


def test_repeated_fields_stay_repeated_and_in_order() -> None:
    headers = sent((b"accept", b"a"), (b"x-one", b"1"), (b"accept", b"b"))
    assert [f for f in headers if f[0] in (b"accept", b"x-one")] == [
        (b"accept", b"a"),
        (b"x-one", b"1"),
        (b"accept", b"b"),
    ]


def test_nothing_is_invented() -> None:
    names = {name for name, _ in sent()}
    assert names == {
        b"host",
        b"via",
        b"x-request-id",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"forwarded",
    }


def test_forwarding_fields_of_a_stranger_are_replaced() -> None:
    headers = sent(
        (b"x-forwarded-for", b"10.0.0.1"), (b"forwarded", b"for=10.0.0.1"), (b"x-forwarded-host", b"evil")
    )
    assert values(headers, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(headers, b"x-forwarded-host") == [b"gate.example:8000"]
    assert values(headers, b"forwarded") == [b'for=192.0.2.7;host="gate.example:8000";proto=http']


def test_forwarding_fields_of_a_trusted_proxy_are_continued() -> None:
    headers = sent((b"x-forwarded-for", b"10.0.0.1"), (b"forwarded", b"for=10.0.0.1"), trusted=True)
    assert values(headers, b"x-forwarded-for") == [b"10.0.0.1, 192.0.2.7"]
    assert values(headers, b"forwarded")[0].startswith(b"for=10.0.0.1, for=192.0.2.7;")


def test_an_ipv6_peer_is_quoted_in_forwarded() -> None:
    assert values(sent(peer="2001:db8::1"), b"forwarded")[0].startswith(b'for="[2001:db8::1]";')


def test_via_is_continued() -> None:
    headers = sent((b"via", b"1.0 a"), (b"via", b"1.1 b"))
    assert values(headers, b"via") == [b"1.0 a, 1.1 b, " + VIA]
    assert values(response_headers([(b"via", b"1.1 s")]), b"via") == [b"1.1 s, " + VIA]


def test_a_loop_is_seen_by_our_own_name_only() -> None:
    assert looped([(b"via", b"1.1 a, 1.1 " + PSEUDONYM.encode())])
    assert not looped([(b"via", b"1.1 gateway-lab-elsewhere")])


def test_the_admin_token_never_reaches_a_service_but_other_credentials_do() -> None:
    assert values(sent((b"authorization", b"Bearer t0ken"), token=b"t0ken"), b"authorization") == []
    assert values(sent((b"authorization", b"Bearer mine"), token=b"t0ken"), b"authorization") == [
        b"Bearer mine"
    ]


def test_the_identity_is_told_and_cannot_be_forged() -> None:
    assert values(sent((b"x-gateway-client", b"root")), b"x-gateway-client") == []
    assert values(sent((b"x-gateway-client", b"root"), identity="demo"), b"x-gateway-client") == [b"demo"]


GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_traceparent_goes_on() -> None:
    headers = sent((b"traceparent", GOOD), (b"tracestate", b"a=1"))
    assert values(headers, b"traceparent") == [GOOD]
    assert values(headers, b"tracestate") == [b"a=1"]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        GOOD.upper(),
        GOOD + b"-extra",
        b"junk",
    ],
)
def test_a_malformed_traceparent_is_replaced_and_its_state_dropped(bad: bytes) -> None:
    headers = sent((b"traceparent", bad), (b"tracestate", b"a=1"))
    (new,) = values(headers, b"traceparent")
    assert new != bad
    assert len(new) == 55
    assert values(headers, b"tracestate") == []


def test_a_later_version_of_traceparent_may_have_more_fields() -> None:
    later = b"01" + GOOD[2:] + b"-what-the-future-brings"
    assert values(sent((b"traceparent", later)), b"traceparent") == [later]


def test_two_traceparents_are_none() -> None:
    headers = sent((b"traceparent", GOOD), (b"traceparent", GOOD))
    (new,) = values(headers, b"traceparent")
    assert new != GOOD


def test_websocket_fields_are_made_anew_on_each_hop() -> None:
    headers = sent((b"sec-websocket-key", b"x"), (b"origin", b"o"), kind="websocket")
    assert values(headers, b"sec-websocket-key") == []
    assert values(headers, b"origin") == [b"o"]


NETWORKS = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ([], "10.0.0.1"),
        ([b"192.0.2.1"], "192.0.2.1"),
        ([b"6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ([b"6.6.6.6", b"192.0.2.1, 10.0.0.9"], "192.0.2.1"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"192.0.2.1:4711"], "192.0.2.1"),
        ([b"[2001:db8::1]:80"], "2001:db8::1"),
        ([b"2001:DB8:0::1"], "2001:db8::1"),
        ([b"::ffff:192.0.2.1"], "192.0.2.1"),
        ([b"unknown"], "10.0.0.1"),
        ([b"192.0.2.1, junk"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_first_untrusted_address_from_the_right(hops: list[bytes], client: str) -> None:
    assert client_address("10.0.0.1", hops, NETWORKS) == client


# -- names and dates -----------------------------------------------------------------------------------------


def test_plain_names_are_remembered_and_special_ones_are_not() -> None:
    plain = Plain(frozenset({b"host"}))
    assert plain.check(b"x-a") is None
    assert plain.check(b"X-B") is None  # goes out as it is, and is looked at again the next time
    assert plain.check(b"Host") == b"host"
    assert plain == {b"x-a"}
    for name in (b"", b"x a", b"x:", b"x\r\n", b"\xe4"):
        with pytest.raises(ValueError, match="not a field name"):
            plain.check(name)
    assert plain == {b"x-a"}


def test_only_so_many_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "most", 3)
    plain = Plain(frozenset())
    for number in range(10):
        plain.check(b"x-%d" % number)
    assert len(plain) == 3


def test_the_date_is_now_and_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784_111_777.9
    monkeypatch.setattr(headers.time, "time", lambda: now)
    assert headers.date() == b"Sun, 06 Nov 1994 08:49:37 GMT"
    now = 784_111_778.0
    assert headers.date() == b"Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("fd00::1", True),
        ("fe80::1", False),
        ("", False),
        ("testclient", False),
    ],
)
def test_only_an_address_of_the_networks_is_trusted(address: str, believed: bool) -> None:
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert trusted(address, networks) == believed
