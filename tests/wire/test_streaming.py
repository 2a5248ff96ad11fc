"""WIRE.md rows 28–35: streaming, time, and what becomes of errors."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable

import pytest

from tests.wire.wire import (
    PATIENCE,
    Answer,
    Gateway,
    Request,
    Service,
    Truncated,
    refusing_port,
    request,
    respond,
)

MIB = 1 << 20
NO_STORE = b"Cache-Control: no-store\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


def best(tries: int, attempt: Callable[[], float]) -> float:
    """The shortest of so many times: a busy machine only ever adds to it."""
    shortest = attempt()
    while shortest >= 0.1 and (tries := tries - 1):
        shortest = min(shortest, attempt())
    return shortest


@pytest.mark.parametrize("cache", [NO_STORE, b"Cache-Control: max-age=60\r\n"], ids=["passed", "stored"])
def test_row_28_each_piece_of_a_response_is_relayed_at_once(
    gateway: Gateway, service: Service, cache: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(CHUNKED + cache + b"\r\n")
    assert client.head().status == 200  # and not a byte of the body is there yet
    for piece in (b"first", b"second"):
        peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert client.until(piece).endswith(piece)
    peer.send(b"0\r\n\r\n")
    assert client.until(b"0\r\n\r\n")


def test_row_28_server_sent_events_come_one_by_one(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Accept: text/event-stream"))
    peer, _ = service.asked()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")  # until the connection's end
    assert client.head()[b"content-type"] == b"text/event-stream"
    for i in range(3):
        peer.send(b"data: %d\n\n" % i)
        assert client.until(b"data: %d\n\n" % i)
    peer.close()
    assert client.until(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 10"])
def test_row_29_an_upload_streams(gateway: Gateway, service: Service, framing: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", framing, method="POST"))
    first, last = b"first", b"2last"
    chunked = b"chunked" in framing
    client.send(b"5\r\nfirst\r\n" if chunked else first)
    peer, head = service.accept(), None
    head = peer.request_head()
    assert head.method == b"POST"
    assert peer.until(first)
    client.send(b"5\r\n2last\r\n0\r\n\r\n" if chunked else last)
    assert peer.until(last)
    peer.send(respond())
    assert client.answer().status == 200


def test_row_29_an_answer_may_come_before_the_end_of_the_upload(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: 1000000", method="POST") + b"first")
    peer = service.accept()
    peer.request_head()
    peer.send(respond(401, b"WWW-Authenticate: Basic"))
    assert client.answer().status == 401


def test_row_29_a_large_upload_arrives_whole(other: Gateway, behind) -> None:
    gateway = other
    service = behind(gateway)
    before = gateway.rss()
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: %d" % (24 * MIB), method="POST"))
    peer = service.accept()
    peer.request_head()
    piece = bytes(range(256)) * (MIB // 256)
    for _ in range(24):
        client.send(piece)
        assert peer.exactly(MIB) == piece
    peer.send(respond())
    assert client.answer().status == 200
    assert gateway.rss() - before < 16 * MIB


def flood(send: Callable[[bytes], int], stop: Callable[[float], bool], most: int) -> int:
    """Send until it stalls for half a second, or `most` bytes are out; gives the bytes that went."""
    block = b"x" * 65_536
    total = 0
    while total < most and stop(0.5):
        total += send(block)
    return total


def test_row_30_a_slow_reader_stalls_the_service(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    before = gateway.rss()
    size = 64 * MIB
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n" % (size, NO_STORE))
    peer.sock.setblocking(False)
    sent = flood(peer.sock.send, lambda s: bool(select.select([], [peer.sock], [], s)[1]), 48 * MIB)
    assert sent < 32 * MIB  # the rest are the system's own buffers on two connections
    assert gateway.rss() - before < 4 * MIB
    assert client.head().status == 200
    received = len(client.pending)
    client.pending = b""
    while received < size:  # and when it reads, all of it comes
        if sent < size and select.select([], [peer.sock], [], 0)[1]:
            sent += peer.sock.send(b"x" * min(65_536, size - sent))
        if select.select([client.sock], [], [], 0.01)[0]:
            received += len(client.sock.recv(MIB))
    assert received == size


def test_row_30_a_slow_service_stalls_the_upload(other: Gateway, behind) -> None:
    gateway = other
    service = behind(gateway)
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: %d" % (64 * MIB), method="POST"))
    peer = service.accept()
    peer.request_head()
    before = gateway.rss()
    client.sock.setblocking(False)
    sent = flood(client.sock.send, lambda s: bool(select.select([], [client.sock], [], s)[1]), 48 * MIB)
    assert sent < 32 * MIB
    assert gateway.rss() - before < 4 * MIB


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["before the head", "after the head", "in the upload", "pipelined"])
def test_row_31_a_client_that_goes_away_cancels_the_request_within_100_ms(
    gateway: Gateway, service: Service, when: str, how: str
) -> None:
    def attempt() -> float:
        client = gateway.client()
        if when == "in the upload":
            client.send(request(f"/{service.name}/", b"Content-Length: 10", method="POST") + b"12345")
        else:
            client.send(request(f"/{service.name}/") * (2 if when == "pipelined" else 1))
        peer = service.accept()
        peer.request_head()
        if when == "in the upload":
            assert peer.exactly(5) == b"12345"
        if when == "after the head":
            peer.send(CHUNKED + NO_STORE + b"\r\n5\r\nfirst\r\n")
            client.until(b"first")
        (client.close if how == "close" else client.reset)()
        return peer.left_within()

    assert best(20, attempt) < 0.1


def test_row_31_the_log_says_that_it_was_aborted_and_the_breaker_counts_nothing(
    gateway: Gateway, service: Service
) -> None:
    for i in range(6):  # one more than opens the breaker
        client = gateway.client()
        client.send(request(f"/{service.name}/", b"X-Request-ID: row-31-%d" % i))
        peer = service.accept()
        peer.request_head()
        client.close()
        assert peer.gone()
        assert gateway.entry(f"row-31-{i}")["status"] == 0
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers()
    assert client.answer().status == 200


# -- errors --------------------------------------------------------------------------------------------------


def check_problem(answer: Answer, status: int, service: str, *addresses: str) -> None:
    """An error that the gateway made on a service's behalf (rows 32 and 33, RFC 9457, RFC 9209)."""
    assert answer.status == status
    assert answer[b"content-type"] == b"application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["service"] == service
    assert {"type", "title", "detail"} <= set(document)
    assert re.fullmatch(rb"[\w.-]+; ?error=[a-z_]+(;.*)?", answer[b"proxy-status"])
    assert answer[b"x-gateway-service"] == service.encode()
    assert re.fullmatch(rb"[0-9a-f]{32}", answer[b"x-request-id"])
    if status == 503:
        assert int(answer[b"retry-after"]) >= 1
        assert document["retry_after"] == int(answer[b"retry-after"])
    whole = answer.start + b"".join(value for _, value in answer.headers) + answer.body
    for leak in (b"127.0", b"Traceback", b"httpx", b"asyncio", b"Errno", b".py"):
        assert leak not in whole
    for address in addresses:
        assert address.encode() not in whole


def test_row_32_refused_is_502(gateway: Gateway) -> None:
    with refusing_port() as sock:
        host, port = sock.getsockname()
        gateway.admin("PUT", "/admin/services/refusing", {"url": f"http://{host}:{port}", "retries": 0})
        try:
            answer = gateway.get("/refusing/x")
        finally:
            gateway.admin("DELETE", "/admin/services/refusing")
        check_problem(answer, 502, "refusing", host, str(port))
        assert b"connection_refused" in answer[b"proxy-status"]


def test_row_32_a_name_that_is_no_host_is_502(gateway: Gateway) -> None:
    gateway.admin("PUT", "/admin/services/nowhere", {"url": "http://no-such-host.invalid:1", "retries": 0})
    try:
        check_problem(gateway.get("/nowhere/x"), 502, "nowhere", "invalid")
    finally:
        gateway.admin("DELETE", "/admin/services/nowhere")


@pytest.mark.parametrize("how", ["close", "reset", "half a head"])
def test_row_32_a_closed_connection_is_502(gateway: Gateway, service: Service, how: str) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    if how == "half a head":
        peer.send(b"HTTP/1.1 200 OK\r\nContent-")
    (peer.reset if how == "reset" else peer.close)()
    answer = client.answer()
    check_problem(answer, 502, service.name, service.host)
    assert b"connection_terminated" in answer[b"proxy-status"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x01\x02\x03",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"hello\n",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    ],
)
def test_row_32_garbage_is_502(gateway: Gateway, service: Service, garbage: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(garbage)
    check_problem(client.answer(), 502, service.name, service.host)
    assert peer.gone()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_row_32_too_slow_is_504(gateway: Gateway, behind, sent: bytes) -> None:
    service = behind(gateway, timeout=0.3)
    client = gateway.client()
    started = time.monotonic()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    if sent:
        peer.send(sent)
    check_problem(client.answer(), 504, service.name, service.host)
    assert time.monotonic() - started >= 0.3
    assert peer.gone()


def test_row_32_a_service_that_does_not_take_the_body_is_504(other: Gateway, behind) -> None:
    gateway = other
    service = behind(gateway, timeout=0.3)
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"Content-Length: %d" % (48 * MIB), method="POST"))
    peer = service.accept()
    peer.request_head()
    client.sock.setblocking(False)
    flood(client.sock.send, lambda s: bool(select.select([], [client.sock], [], s)[1]), 48 * MIB)
    client.sock.settimeout(PATIENCE)
    check_problem(client.answer(), 504, service.name, service.host)


def test_row_32_no_free_connection_in_time_is_503(gateway: Gateway, behind) -> None:
    service = behind(gateway, timeout=1, pool=1)
    first, second = gateway.client(), gateway.client()
    first.send(request(f"/{service.name}/1"))
    peer, _ = service.asked()
    peer.send(CHUNKED + NO_STORE + b"\r\n")  # in time, and without an end
    assert first.head().status == 200
    second.send(request(f"/{service.name}/2"))
    check_problem(second.answer(), 503, service.name, service.host)
    assert service.unasked()
    peer.send(b"0\r\n\r\n")
    second.send(request(f"/{service.name}/3"))
    assert service.answers().target == b"/3"
    assert second.answer().status == 200


def test_row_32_an_open_breaker_is_503(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    for _ in range(5):
        client.send(request(f"/{service.name}/"))
        service.answers(respond(500))
        assert client.answer().status == 500
    answer = client.get(f"/{service.name}/")
    check_problem(answer, 503, service.name, service.host)
    assert 1 <= int(answer[b"retry-after"]) <= 10
    assert service.unasked()


def test_row_32_a_service_that_is_marked_down_is_503(own) -> None:
    """Its health check has failed for long enough: nothing is dialled any more until one succeeds."""
    with refusing_port() as sock:
        host, port = sock.getsockname()
        gateway = own(
            app="tests.wire.hurried:app",
            env={"WIRE_HURRY": "checks"},
            services={"down": {"url": f"http://{host}:{port}", "health": "/health", "retries": 0}},
        )
        client = gateway.client()
        deadline = time.monotonic() + PATIENCE
        while (answer := client.get("/down/x")).status == 502 and time.monotonic() < deadline:
            gateway.admin("PUT", "/admin/breakers/down", {"state": "closed"})
        check_problem(answer, 503, "down", host, str(port))


def test_row_33_errors_are_problem_documents_without_an_address(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/secret/path"))
    service.asked()[0].reset()
    answer = client.answer()
    check_problem(answer, 502, service.name, service.host, str(service.port), "secret/path")
    assert answer.json()["type"].startswith("tag:")


def test_row_33_nor_does_a_refused_connection_tell_one(own) -> None:
    """The error that the system gives for it names the address and the port."""
    with refusing_port() as sock:
        host, port = sock.getsockname()
        gateway = own(services={"down": {"url": f"http://{host}:{port}", "health": None, "retries": 0}})
        check_problem(gateway.client().get("/down/x"), 502, "down", host, str(port))


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>500 from http://127.0.0.1:9/</html>"])
@pytest.mark.parametrize("status", [400, 404, 418, 429, 500, 502, 503, 504, 599])
def test_row_33_an_error_that_the_service_made_passes_untouched(
    gateway: Gateway, service: Service, status: int, body: bytes
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(respond(status, b"Content-Type: text/x-own", b"Retry-After: 7", b"X-Own: 1", body=body))
    answer = client.answer()
    assert answer.status == status
    assert answer.body == body
    assert answer[b"content-type"] == b"text/x-own"
    assert answer[b"retry-after"] == b"7"
    assert b"proxy-status" not in answer


# -- retries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["close", "503"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_row_34_an_idempotent_request_is_retried(gateway: Gateway, behind, method: str, failure: str) -> None:
    service = behind(gateway, retries=1)
    client = gateway.client()
    client.send(request(f"/{service.name}/", method=method, body=b"again" if method == "PUT" else b""))
    peer, first = service.asked()
    if failure == "close":
        peer.close()
    else:
        peer.send(respond(503, body=b"" if method == "HEAD" else b"no"))
    second = service.answers(respond(200, body=b"" if method == "HEAD" else b"ok"))
    assert second.start == first.start
    assert second.body == first.body == (b"again" if method == "PUT" else b"")
    assert client.answer(method).status == 200


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
def test_row_34_others_are_not(gateway: Gateway, behind, method: str) -> None:
    service = behind(gateway, retries=3)
    client = gateway.client()
    client.send(request(f"/{service.name}/", method=method, body=b"once"))
    peer, _ = service.asked()
    peer.close()
    assert client.answer().status == 502
    assert service.unasked()


def test_row_34_a_body_too_long_to_keep_is_not_replayed(gateway: Gateway, behind) -> None:
    service = behind(gateway, retries=3)
    client = gateway.client()
    client.send(request(f"/{service.name}/", method="PUT", body=bytes(200_000)))
    peer, asked = service.asked()
    assert len(asked.body) == 200_000
    peer.close()
    assert client.answer().status == 502
    assert service.unasked()


def test_row_34_never_after_the_first_byte(gateway: Gateway, behind) -> None:
    service = behind(gateway, retries=3)
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(CHUNKED + NO_STORE + b"\r\n5\r\nfirst\r\n")
    peer.close()
    with pytest.raises(Truncated):
        client.answer()
    assert service.unasked()


def test_row_34_one_deadline_for_all_attempts(gateway: Gateway, behind) -> None:
    service = behind(gateway, retries=10, timeout=3)
    client, later = gateway.client(), gateway.client()
    client.send(request(f"/{service.name}/"))
    first, _ = service.asked()
    assert client.quiet(1)
    later.send(request(f"/{service.name}/later"))  # its deadline is a second after the first one's …
    service.asked()
    first.close()
    peer, _ = service.asked()  # … and before what a second attempt would have with three seconds of its own
    assert later.answer().status == 504
    assert not client.quiet()
    assert client.answer().status == 504
    assert peer.gone()
    assert service.unasked()


def test_row_34_a_retry_that_would_not_fit_is_not_waited_for(gateway: Gateway, behind) -> None:
    service = behind(gateway, retries=1)
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(respond(503, b"Retry-After: 3600", body=b"own"))
    answer = client.answer()
    assert (answer.status, answer.body) == (503, b"own")
    assert service.unasked()


def test_row_34_retries_have_a_bound(gateway: Gateway, behind) -> None:
    service = behind(gateway, retries=2)
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"X-Request-ID: row-34-bound"))
    for _ in range(3):
        service.answers(respond(502, body=b"own"))
    answer = client.answer()
    assert (answer.status, answer.body) == (502, b"own")
    assert service.unasked()
    assert gateway.entry("row-34-bound")["attempts"] == 3


def reuse(
    gateway: Gateway, service: Service, method: str, body: bytes = b""
) -> tuple[Answer | None, list[Request]]:
    """A pooled connection that the service closes at the moment when the next request comes."""
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(respond())
    assert client.answer().status == 200
    client.send(request(f"/{service.name}/", method=method, body=body))
    seen = [peer.request()]  # on the very same connection
    peer.close()
    if method in ("POST", "PATCH"):
        return client.answer(), seen
    seen.append(service.answers(respond(200, body=b"" if method == "HEAD" else b"ok")))
    return client.answer(method), seen


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_row_35_a_stale_connection_is_replaced(gateway: Gateway, service: Service, method: str) -> None:
    """Also with retries: 0, as `service` has."""
    answer, seen = reuse(gateway, service, method, b"again" if method == "PUT" else b"")
    assert answer is not None
    assert answer.status == 200
    assert seen[0].start == seen[1].start
    assert seen[0].body == seen[1].body
    assert len(service.peers) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_row_35_but_not_for_what_may_have_had_an_effect(
    gateway: Gateway, service: Service, method: str
) -> None:
    answer, _ = reuse(gateway, service, method, b"once")
    assert answer is not None
    assert answer.status == 502
    assert service.unasked()


def test_row_35_a_connection_that_was_closed_while_idle_is_not_used(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer, _ = service.asked()
    peer.send(respond())
    assert client.answer().status == 200
    peer.end()
    assert peer.gone()  # the gateway has seen it
    client.send(request(f"/{service.name}/", method="POST", body=b"once"))
    assert service.answers().body == b"once"
    assert client.answer().status == 200
