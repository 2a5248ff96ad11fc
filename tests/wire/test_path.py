"""WIRE.md rows 1–8: the path and the target."""

from __future__ import annotations

import pytest

from tests.wire.wire import Gateway, Service, request


@pytest.mark.parametrize(
    "rest",
    [
        b"/a%2Fb",
        b"/a%2fb%3Fc%25d%20e",
        b"/%e2%82%ac",
        b"/%69tems",
        b"/a;b=1,2/@x:y!$&'()*+~",
        b"/",
        b"/..a/b..",
    ],
)
def test_row_1_escapes_reach_the_service_byte_for_byte(
    gateway: Gateway, service: Service, rest: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}".encode() + rest))
    assert service.answers().start == b"GET " + rest + b" HTTP/1.1"
    assert client.answer().status == 200


def test_row_1_no_rest_means_the_service_root(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}?x=1"))
    assert service.answers().target == b"/?x=1"
    assert client.answer().status == 200


def test_row_2_two_slashes_name_no_host(gateway: Gateway, service: Service, behind) -> None:
    elsewhere = Service("elsewhere")
    try:
        host = elsewhere.host
        client = gateway.client()
        client.send(request(f"/{service.name}//{host}/x"))
        asked = service.answers()
        assert asked.target == f"//{host}/x".encode()
        assert asked[b"host"] == service.host.encode()
        assert client.answer().status == 200
        assert gateway.get(f"//{host}/x").status == 404
        assert gateway.get(f"//{service.name}/x").status == 404
        assert elsewhere.unasked()
        assert service.unasked()
    finally:
        elsewhere.close()


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_row_3_an_absolute_form_does_not_choose_the_upstream(
    gateway: Gateway, service: Service, scheme: str
) -> None:
    elsewhere = Service("elsewhere")
    try:
        client = gateway.client()
        client.send(request(f"{scheme}://{elsewhere.host}/{service.name}/x?y=1"))
        assert service.answers().target == b"/x?y=1"
        assert client.answer().status == 200
        assert gateway.get(f"{scheme}://{elsewhere.host}/x").status == 404
        assert elsewhere.unasked()
    finally:
        elsewhere.close()


@pytest.mark.parametrize(
    "target",
    [
        "@host/x",
        "@{name}/x",
        "host/x",
        "{name}/x",
        "http:/{name}/x",
        "http://a@b/{name}/x",
        "?/{name}/x",
        "/{name}/x#fragment",
        "http://a/{name}/x#fragment",
        "*",
    ],
)
def test_row_4_a_target_that_is_no_path_is_400(gateway: Gateway, service: Service, target: str) -> None:
    assert gateway.get(target.format(name=service.name)).status == 400
    assert service.unasked()


@pytest.mark.parametrize("escape", ["%0d%0aX-Evil:%201", "%0D", "%0a", "%00", "%0d%0a%0d%0aGET%20/x"])
def test_row_5_decoded_control_characters_never_reach_the_service(
    gateway: Gateway, service: Service, escape: str
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/a{escape}b?q={escape}"))
    asked = service.answers()
    assert asked.start == f"GET /a{escape}b?q={escape} HTTP/1.1".encode()
    assert b"x-evil" not in asked
    assert client.answer().status == 200
    assert service.unasked()


@pytest.mark.parametrize(
    "control", [b"\x00", b"\x01", b"\x0b", b"\r", b"\n", b"\x7f", b"\t", b"\x80", b"\xff"]
)
@pytest.mark.parametrize("place", ["path", "query", "value", "name", "host"])
def test_row_5_a_raw_control_character_is_400(
    gateway: Gateway, service: Service, control: bytes, place: str
) -> None:
    name = service.name.encode()
    raw = {
        "path": b"GET /%b/a%bb HTTP/1.1\r\nHost: x\r\n\r\n" % (name, control),
        "query": b"GET /%b/?a%bb HTTP/1.1\r\nHost: x\r\n\r\n" % (name, control),
        "value": b"GET /%b/ HTTP/1.1\r\nHost: x\r\nX-A: a%bb\r\n\r\n" % (name, control),
        "name": b"GET /%b/ HTTP/1.1\r\nHost: x\r\nX-%bA: a\r\n\r\n" % (name, control),
        "host": b"GET /%b/ HTTP/1.1\r\nHost: x%by\r\n\r\n" % (name, control),
    }[place]
    client = gateway.client()
    client.send(raw)
    if place == "value" and control in (b"\t", b"\x80", b"\xff"):
        # A tab is white space, and bytes past ASCII are obs-text: allowed, and opaque (RFC 9110 §5.5).
        assert service.answers()[b"x-a"] == b"a" + control + b"b"
        assert client.answer().status == 200
    else:
        assert client.answer().status == 400
        assert service.unasked()


@pytest.mark.parametrize(
    "rest",
    [
        "/../x",
        "/..",
        "/a/../b",
        "/./a",
        "/a/.",
        "/%2e%2e/x",
        "/%2E./x",
        "/.%2e",
        "/a/%2e/b",
        "/..%2fx",
        "/a%2f..%2fb",
        "/..%5cx",
        "/..\\x",
        "/..;/x",
        "/%2e%2e;x=1/y",
    ],
)
def test_row_6_dot_segments_are_400(gateway: Gateway, service: Service, rest: str) -> None:
    assert gateway.get(f"/{service.name}{rest}").status == 400
    assert service.unasked()


def test_row_6_dot_segments_do_not_lead_to_another_service(
    gateway: Gateway, service: Service, behind
) -> None:
    other = behind(gateway)
    assert gateway.get(f"/{other.name}/../{service.name}/x").status == 400
    assert gateway.get(f"/{other.name}/%2e%2e/{service.name}/x").status == 400
    assert gateway.get(f"/health/../{service.name}/x").status == 400
    assert gateway.get(f"/{service.name}/../admin/snapshot").status == 400
    assert service.unasked()
    assert other.unasked()


def test_row_6_what_was_matched_is_what_is_forwarded(keyed: Gateway, behind) -> None:
    """A rule for /public holds for every spelling that a service reads as /public, and for no other."""
    service = behind(keyed)
    client = keyed.client()
    client.send(request(f"/{service.name}/%70ublic/x"))
    assert service.answers().target == b"/%70ublic/x"
    assert client.answer().status == 200
    for rest in ("/public%2fx", "/PUBLIC/x", "/public%00/x", "//public/x", "/shut/x"):
        assert keyed.get(f"/{service.name}{rest}").status == 401, rest
    for rest in ("/public/../shut", "/public/%2e%2e/shut", "/public/..%2fshut"):
        assert keyed.get(f"/{service.name}{rest}").status == 400, rest
    assert service.unasked()


@pytest.mark.parametrize("rest", [b"//a", b"//", b"/a//b", b"/a///b//"])
def test_row_7_double_slashes_are_kept(gateway: Gateway, service: Service, rest: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}".encode() + rest))
    assert service.answers().target == rest
    assert client.answer().status == 200


@pytest.mark.parametrize(
    "query",
    [b"?a=1&a=2&b&d=&%2f&;", b"?a=b?c=d", b"?+%20%zz%", b"?&&==", b"?/../x", b"?a=%0d%0a", b'?[]{}|^`"<>'],
)
def test_row_8_query_bytes_are_identical(gateway: Gateway, service: Service, query: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/x".encode() + query))
    assert service.answers().target == b"/x" + query
    assert client.answer().status == 200


def test_row_8_no_question_mark_appears(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/x"))
    assert service.answers().target == b"/x"
    assert client.answer().status == 200
    client.send(request(f"/{service.name}/x?"))
    assert service.answers().target in (b"/x", b"/x?")
    assert client.answer().status == 200
