"""WIRE.md rows 18–27: where messages end, and what their bodies are."""

from __future__ import annotations

import gzip

import pytest

from tests.wire.wire import Gateway, Service, Truncated, request, respond

STORE = b"Cache-Control: max-age=60"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# -- responses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"zstd", b"nonsense"])
def test_row_18_coded_bytes_pass_unchanged(gateway: Gateway, service: Service, coding: bytes) -> None:
    packed = gzip.compress(b"hello " * 100, mtime=0)
    client = gateway.client()
    for cache in (STORE, b"Cache-Control: no-store"):
        client.send(request(f"/{service.name}/{cache.decode().split()[1]}", b"Accept-Encoding: gzip"))
        service.answers(respond(200, b"Content-Encoding: " + coding, cache, body=packed))
        answer = client.answer()
        assert answer.body == packed
        assert answer[b"content-encoding"] == coding
        assert answer[b"content-length"] == b"%d" % len(packed)
    hit = client.get(f"/{service.name}/max-age=60", b"Accept-Encoding: gzip")
    assert hit[b"x-cache"] == b"HIT"
    assert (hit.body, hit[b"content-encoding"]) == (packed, coding)


def test_row_18_a_coded_request_passes_unchanged(gateway: Gateway, service: Service) -> None:
    packed = gzip.compress(b"up", mtime=0)
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Encoding: gzip", method="POST", body=packed))
    asked = service.answers()
    assert asked.body == packed
    assert asked[b"content-encoding"] == b"gzip"
    assert asked[b"content-length"] == b"%d" % len(packed)
    assert client.answer().status == 200


def test_row_19_head_keeps_content_length_and_has_no_body(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method="HEAD"))
    assert service.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").method == b"HEAD"
    answer = client.answer("HEAD")
    assert answer.status == 200
    assert answer[b"content-length"] == b"12345"
    # The next answer stands directly behind the head: there was no body.
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().body == b"ok"


def test_row_19_head_without_a_length_gets_none(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method="HEAD"))
    service.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = client.answer("HEAD")
    assert b"content-length" not in answer
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_row_19_statuses_without_a_body(
    gateway: Gateway, service: Service, status: int, fields: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b'If-None-Match: "a"'))
    service.answers(b"HTTP/1.1 %d X\r\n%bCache-Control: no-store\r\n\r\n" % (status, fields))
    answer = client.answer()
    assert answer.status == status
    assert b"transfer-encoding" not in answer
    if status == 204:
        assert b"content-length" not in answer  # RFC 9110 §8.6
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().body == b"ok"


def test_row_19_errors_of_the_gateway_to_head_have_no_body(gateway: Gateway) -> None:
    client = gateway.client()
    for path in ("/nobody", "/health", "/health/nothing", "/metrics", "/unused/x", "/docs"):
        answer = client.get(path, method="HEAD")
        assert int(answer[b"content-length"]) > 0, path
        assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n%b\r\n\r\nok",
    ],
    ids=["chunks", "length", "close", "HTTP/1.0"],
)
def test_row_20_one_framing_towards_the_client(gateway: Gateway, service: Service, raw: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(raw % b"Cache-Control: no-store")
    peer.close()
    answer = client.answer()  # which checks that there is one framing at most
    assert answer.body == b"ok"
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().body == b"ok"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2, 3",
        b"Content-Length: x",
    ],
)
def test_row_20_an_ambiguous_response_is_502(gateway: Gateway, service: Service, framing: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert client.answer().status == 502


@pytest.mark.parametrize("when", ["with it", "later"])
@pytest.mark.parametrize("more", [respond(body=b"EVIL"), respond(body=b""), b"EVIL"], ids=repr)
@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("GET", respond()),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"),
    ],
    ids=["length", "chunks", "HEAD", "HEAD of chunks", "204", "304"],
)
def test_row_20_what_follows_a_response_is_nobodys_answer(
    gateway: Gateway, service: Service, method: str, raw: bytes, more: bytes, when: str
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method=method))
    peer, _ = service.asked()
    peer.send(raw + more if when == "with it" else raw)
    assert client.answer(method).status == int(raw[9:12])
    if when == "later":
        peer.send(more)
    assert peer.gone()
    client.send(request(f"/{service.name}/next"))
    assert service.answers().target == b"/next"
    assert client.answer().body == b"ok"


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"identity", b"chunked, chunked", b"xchunked"])
def test_row_20_a_transfer_coding_that_nobody_asked_for_is_502(
    gateway: Gateway, service: Service, coding: bytes
) -> None:
    """The field is for one hop: passed on without it, coded bytes would be taken for plain ones."""
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert client.answer().status == 502


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"])
def test_row_21_a_chunked_request_body_survives(gateway: Gateway, service: Service, method: str) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Transfer-Encoding: chunked", method=method))
    client.send(chunks(b"hello ", b"world"))
    asked = service.answers()
    assert asked.method == method.encode()
    assert asked.body == b"hello world"
    assert client.answer().status == 200


def test_row_21_a_chunked_body_survives_any_cut_of_its_packets(gateway: Gateway, service: Service) -> None:
    body = chunks(b"hello ", b"w" * 17, b"orld")
    client = gateway.client()
    for cut in range(1, len(body)):
        client.send(request(f"/{service.name}/", b"Transfer-Encoding: chunked", method="POST") + body[:cut])
        peer = service.peers[-1] if service.peers else service.accept()
        peer.request_head()
        client.send(body[cut:])
        assert peer.chunked() == b"hello " + b"w" * 17 + b"orld"
        peer.send(respond())
        assert client.answer().status == 200


def test_row_21_extensions_and_trailers_do_not_become_body_or_head(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Transfer-Encoding: chunked", b"Trailer: X-T", method="POST"))
    client.send(b'5;a=1;b="c"\r\nhello\r\n0\r\nX-T: 1\r\nContent-Type: evil\r\n\r\n')
    asked = service.answers()
    assert asked.body == b"hello"
    assert b"x-t" not in asked
    assert b"content-type" not in asked
    assert client.answer().status == 200


def test_row_21_an_empty_chunked_body_is_a_body(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n")
    asked = service.answers()
    assert asked.body == b""
    assert b"transfer-encoding" in asked or asked[b"content-length"] == b"0"
    assert client.answer().status == 200


def test_row_21_post_without_a_body_keeps_its_length_of_zero(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: 0", method="POST"))
    assert service.answers()[b"content-length"] == b"0"
    assert client.answer().status == 200


def test_row_22_a_body_on_get_is_forwarded(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", body=b"query"))
    asked = service.answers()
    assert asked.method == b"GET"
    assert asked.body == b"query"
    assert client.answer().status == 200


SHORT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n%b\r\n\r\n12345",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n%b\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n\r\na\r\n12345",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n\r\n5\r\n12345\r\n",
    "last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n\r\n5\r\n12345\r\n0\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n\r\n5\r\n12345\r\nzz\r\n",
}


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("cache", [STORE, b"Cache-Control: no-store"], ids=["stored", "passed"])
def test_row_23_a_truncated_body_never_looks_complete(
    gateway: Gateway, service: Service, kind: str, how: str, cache: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(SHORT[kind] % cache)
    if how == "fin":
        peer.close()
    else:
        assert client.head().status == 200  # which a reset might have overtaken
        peer.reset()
        with pytest.raises(Truncated):
            client.exactly(100)
        return
    with pytest.raises(Truncated):
        client.answer()
    # Nothing of it may be stored either.
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().body == b"ok"


def test_row_23_the_head_goes_out_though_the_body_broke_off_with_it(
    gateway: Gateway, service: Service
) -> None:
    """The client must see a broken answer, not a connection that closed without a word."""
    client = gateway.client()
    client.send(request(f"/{service.name}/", method="POST"))
    service.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk size\r\n")
    assert client.head().status == 200
    with pytest.raises(Truncated):
        client.chunked()


def test_row_23_a_reset_does_not_end_a_body_that_the_connection_ends(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\n12345")
    assert client.head().status == 200
    assert client.until(b"12345\r\n") == b"5\r\n12345\r\n"
    peer.reset()
    with pytest.raises(Truncated):
        client.chunked()


def test_row_23_nor_for_a_client_that_knows_no_chunks(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(f"GET /{service.name}/ HTTP/1.0\r\n\r\n".encode())
    peer, _ = service.asked()
    peer.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n5\r\n12345\r\n"
    )
    assert client.head().status == 200
    assert client.exactly(5) == b"12345"
    peer.close()
    with pytest.raises(ConnectionError):  # a body that the end of the connection ends: only a RST tells
        client.rest()


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
        b"HTTP/1.1 199 Odd\r\nX-A: b\r\n\r\n",
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_row_24_an_interim_response_is_not_the_answer(
    gateway: Gateway, service: Service, interim: bytes, together: bool
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    if together:
        peer.send(interim + respond(201))
    else:
        peer.send(interim)
        peer.send(respond(201))
    answer = client.answer()
    while 100 <= answer.status < 200:
        answer = client.answer()
    assert answer.status == 201
    assert answer.body == b"ok"
    assert b"link" not in answer


def test_row_24_a_client_that_expects_continue_gets_it_and_uploads(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: 5", b"Expect: 100-continue", method="POST"))
    assert client.head().status == 100
    client.send(b"hello")
    asked = service.answers()
    assert asked.body == b"hello"
    assert b"expect" not in asked  # what has been answered already
    assert client.answer().status == 200


def test_row_24_no_continue_for_a_body_that_is_refused(gateway: Gateway, service: Service) -> None:
    for path, length, status in (("/nobody/", 5, 404), (f"/{service.name}/", 2_000_000, 413)):
        lines = (b"Content-Length: %d" % length, b"Expect: 100-continue")
        assert gateway.get(path, *lines, method="POST").status == status
    assert service.unasked()


@pytest.mark.parametrize("fields", [b"Upgrade: x\r\nConnection: upgrade\r\n", b""], ids=["named", "bare"])
def test_row_24_an_unasked_switch_of_protocols_is_502(
    gateway: Gateway, service: Service, fields: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n")
    assert client.answer().status == 502


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 305])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_row_25_redirects_are_passed_on(gateway: Gateway, service: Service, status: int, method: str) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method=method))
    location = b"http://elsewhere.test/%2F?x#y"
    service.answers(respond(status, b"Location: " + location))
    answer = client.answer()
    assert answer.status == status
    assert answer[b"location"] == location
    assert service.unasked()


@pytest.mark.parametrize(
    "method",
    [
        "OPTIONS",
        "PATCH",
        "PUT",
        "DELETE",
        "PROPFIND",
        "REPORT",
        "MKCOL",
        "LOCK",
        "PURGE",
        "SEARCH",
        "M-SEARCH",
        "LINK",
    ],
)
def test_row_26_every_method_that_the_parser_knows_passes(
    gateway: Gateway, service: Service, method: str
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/x", method=method))
    assert service.answers().start == method.encode() + b" /x HTTP/1.1"
    assert client.answer().status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "FOO", "G ET"])
def test_row_26_trace_and_what_is_no_method_are_refused(
    gateway: Gateway, service: Service, method: str
) -> None:
    assert gateway.ask(request(f"/{service.name}/x", method=method)).status in (400, 405, 501)
    assert service.unasked()


def test_row_26_trace_is_405(gateway: Gateway, service: Service) -> None:
    answer = gateway.ask(request(f"/{service.name}/x", method="TRACE"))
    assert answer.status == 405
    assert b"TRACE" not in answer[b"allow"]


def test_row_26_max_forwards_is_counted_down_and_ends_here_at_zero(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Max-Forwards: 3", method="OPTIONS"))
    assert service.answers()[b"max-forwards"] == b"2"
    assert client.answer().status == 200
    client.send(request(f"/{service.name}/", b"Max-Forwards: 0", method="OPTIONS"))
    answer = client.answer()
    assert answer.status in (200, 204)
    assert b"GET" in answer[b"allow"]
    assert service.unasked()
    client.send(
        request(f"/{service.name}/", b"Max-Forwards: 0")
    )  # says something about OPTIONS and TRACE only
    assert service.answers()[b"max-forwards"] == b"0"
    assert client.answer().status == 200


# -- ambiguity -----------------------------------------------------------------------------------------------

POST = b"POST /{name}/ HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
INNER = b"GET /{name}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

AMBIGUOUS = {
    "both": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "both, reversed": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + INNER,
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": POST + b"Content-Length: 0, 44\r\n\r\n" + INNER,
    "length +": POST + b"Content-Length: +2\r\n\r\nok",
    "length -": POST + b"Content-Length: -1\r\n\r\n",
    "length hex": POST + b"Content-Length: 0x2\r\n\r\nok",
    "length of words": POST + b"Content-Length: two\r\n\r\nok",
    "length _": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "length with space": POST + b"Content-Length: 1 0\r\n\r\n0123456789",
    "length empty": POST + b"Content-Length: \r\n\r\n",
    "length huge": POST + b"Content-Length: 18446744073709551617\r\n\r\nx",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then x": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + INNER,
    "x, then chunked": POST + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "coding quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + INNER,
    "coding after a tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + INNER,
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER,
    "coding behind a bare CR": POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "coding behind a bare LF": POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "HTTP/1.0 chunked": b"POST /{name}/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + INNER,
    "bare LF ends lines": b"GET /{name}/ HTTP/1.1\nHost: x\n\n",
    "bare LF ends the head": b"GET /{name}/ HTTP/1.1\r\nHost: x\r\n\n" + INNER,
    "white space first": b"GET /{name}/ HTTP/1.1\r\n Host: x\r\n\r\n",
    "no version": b"GET /{name}/\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET /{name}/ HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET /{name}/ HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/1.1x": b"GET /{name}/ HTTP/1.1x\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/{name}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment": b"GET /{name}/#x HTTP/1.1\r\nHost: x\r\n\r\n",
    "no name": b"GET /{name}/ HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "no colon": b"GET /{name}/ HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
}

BAD_CHUNKS = {
    "0x": b"0x2\r\nok\r\n0\r\n\r\n",
    "sign": b"+2\r\nok\r\n0\r\n\r\n",
    "trailing space": b"2 \r\nok\r\n0\r\n\r\n",
    "bare LF": b"2\nok\n0\n\n",
    "bare LF after the size": b"2\nok\r\n0\r\n\r\n",
    "bare LF in an extension": b"2;a\nok\r\n0\r\n\r\n",
    "bare CR in an extension": b"2;a\rx\r\nok\r\n0\r\n\r\n",
    "too long": b"2\r\nokX\r\n0\r\n\r\n",
    "no size": b"\r\nok\r\n0\r\n\r\n",
    "overflow": b"10000000000000002\r\nok\r\n0\r\n\r\n",
    "negative": b"-2\r\nok\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_row_27_an_ambiguous_request_is_400(gateway: Gateway, service: Service, kind: str) -> None:
    client = gateway.client()
    client.send(AMBIGUOUS[kind].replace(b"{name}", service.name.encode()))
    assert client.answer().status == 400
    assert client.gone()  # and nothing behind it is taken for a request
    assert service.unasked()


@pytest.mark.parametrize("kind", BAD_CHUNKS)
def test_row_27_a_malformed_chunk_is_400_and_never_a_complete_body(
    gateway: Gateway, service: Service, kind: str
) -> None:
    client = gateway.client()
    client.send(CHUNKED.replace(b"{name}", service.name.encode()) + BAD_CHUNKS[kind] + INNER)
    assert client.answer().status == 400
    assert client.gone()
    while not service.unasked():  # the head may have gone on before the chunk came
        peer = service.accept()
        with pytest.raises(Truncated):
            peer.request()


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"Host: a\r\nHost: b\r\n",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: a@b\r\n",
        b"Host: a, b\r\n",
        b"Host: a\\b\r\n",
        b"Host: a?b\r\n",
        b"Host: a#b\r\n",
        b"Host : a\r\n",
        b"Host: a\tb\r\n",
    ],
)
def test_row_27_a_missing_repeated_or_impossible_host_is_400(
    gateway: Gateway, service: Service, hosts: bytes
) -> None:
    for path in (f"/{service.name}/", "/health"):
        assert gateway.ask(b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), hosts)).status == 400
    assert service.unasked()


@pytest.mark.parametrize("host", [b"", b"a.test", b"a.test:80", b"[::1]:8000", b"127.0.0.1", b"xn--a.test"])
def test_row_27_a_proper_host_passes(gateway: Gateway, service: Service, host: bytes) -> None:
    client = gateway.client()
    client.send(b"GET /%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (service.name.encode(), host))
    asked = service.answers()
    assert asked.all(b"x-forwarded-host") == [host], asked.headers
    assert client.answer().status == 200


def test_row_27_http_1_0_may_come_without_a_host(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(f"GET /{service.name}/ HTTP/1.0\r\n\r\n".encode())
    asked = service.answers()
    assert asked.start == b"GET / HTTP/1.1"
    assert asked[b"host"] == service.host.encode()
    answer = client.answer()
    assert answer.body == b"ok"
    assert client.gone()


@pytest.mark.parametrize("status", [b"000", b"099", b"600", b"999", b"20", b"2000", b"-20", b"2x0", b""])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_row_27_a_status_outside_100_to_599_is_502(
    gateway: Gateway, service: Service, status: bytes, method: str
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method=method))
    service.answers(b"HTTP/1.1 " + status + b" Odd\r\nContent-Length: 2\r\n\r\nok")
    assert client.answer(method).status == 502


def test_row_27_pipelined_requests_are_answered_in_order(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(b"".join(request(f"/{service.name}/{i}") for i in range(5)) + request("/health"))
    for i in range(5):
        assert service.answers(respond(body=b"%d" % i)).target == b"/%d" % i
    assert [client.answer().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.answer().json()["status"] == "ok"
