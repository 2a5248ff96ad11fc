"""CONTRACT §§3–5 over the wire: answers, header fields, counting, the log, the start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wire.conftest import BASE, merged
from tests.wire.frames import handshake
from tests.wire.wire import ROOT, TOKEN, Answer, Gateway, Service, eventually, request, respond

BEARER = b"Authorization: Bearer " + TOKEN.encode()


def is_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer[b"content-type"] == b"application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= set(document)
    assert len(answer.all(b"x-request-id")) == 1


# -- what happened → answer ----------------------------------------------------------------------------------


def test_no_such_service_is_404(gateway: Gateway) -> None:
    for path in ("/", "/nobody", "/nobody/x", "//", "/Unused/x", "/unusedx/", "/healthy", "/admins"):
        is_problem(gateway.get(path), 404)
    is_problem(gateway.ask(request("/nobody/x", method="POST", body=b"x")), 404)
    is_problem(gateway.get("/health/nothing/here"), 404)
    is_problem(gateway.get("/health/services/nobody"), 404)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Authorization: Bearer wrong",),
        (b"Authorization: Bearer",),
        (b"Authorization: Basic " + TOKEN.encode(),),
        (b"Authorization: " + TOKEN.encode(),),
        (b"X-API-Key: " + TOKEN.encode(),),
        (b"Authorization: Bearer " + TOKEN.encode() + b"x",),
    ],
)
def test_admin_with_a_wrong_token_is_401(gateway: Gateway, lines: tuple[bytes, ...]) -> None:
    for path in (
        "/admin/snapshot",
        "/admin/services",
        "/admin/nothing",
        "/admin",
        "/admin/",
        "/%61dmin/snapshot",
    ):
        answer = gateway.get(path, *lines)
        is_problem(answer, 401)
        assert b"www-authenticate" in answer
    answer = gateway.ask(handshake("/admin/events", *lines))
    assert answer.status == 401


def test_admin_without_a_token_is_403_and_too_many_connections_are_503(own) -> None:
    gateway = own(admin={"token": None}, limits={"max_connections": 3})
    clients = [gateway.client() for _ in range(3)]
    for path in ("/admin/snapshot", "/admin/nothing", "/admin"):
        is_problem(clients[0].get(path, BEARER), 403)
    is_problem(clients[1].get("/admin/cache", BEARER, method="DELETE"), 403)
    assert clients[2].get("/health").status == 200
    answer = gateway.client().answer()  # which has not even asked
    is_problem(answer, 503)
    assert int(answer[b"retry-after"]) >= 1
    clients[0].close()
    eventually(lambda: gateway.client().quiet(0.05))
    assert clients[1].get("/health").status == 200
    clients[2].send(handshake("/admin/events", BEARER))
    assert clients[2].answer().status == 403


def test_admin_with_the_token_works(gateway: Gateway) -> None:
    assert gateway.get("/admin/snapshot", BEARER).json()["type"] == "snapshot"
    assert gateway.get("/admin/snapshot", b"authorization: bearer " + TOKEN.encode()).status == 200
    is_problem(gateway.get("/admin/nothing", BEARER), 404)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"X-API-Key: no",),
        (b"X-API-Key:",),
        (b"X-API-Key: off-key",),
        (b"X-API-Key: all-key", b"X-API-Key: all-key"),
        (b"X-API-Key: ALL-KEY",),
        (b"Authorization: Bearer all-key",),
        (b"X-Gateway-Client: all",),
    ],
)
def test_a_missing_or_unknown_key_is_401(keyed: Gateway, behind, lines: tuple[bytes, ...]) -> None:
    gateway = keyed
    service = behind(gateway)
    answer = gateway.get(f"/{service.name}/items/1", *lines)
    is_problem(answer, 401)
    assert len(answer.all(b"www-authenticate")) == 1
    assert answer[b"x-gateway-service"] == service.name.encode()
    assert b"x-ratelimit-limit" not in answer
    assert service.unasked()


def test_a_key_that_does_not_allow_this_is_403(keyed: Gateway, behind) -> None:
    gateway = keyed
    service = behind(gateway)
    key = b"X-API-Key: reader-key"
    for path, method in (
        ("/other", "GET"),
        ("/items/1", "POST"),
        ("/items/1", "DELETE"),
        ("/public/../items", "GET"),
    ):
        answer = gateway.ask(request(f"/{service.name}{path}", key, method=method))
        is_problem(answer, 400 if ".." in path else 403)
    assert service.unasked()
    for method in ("GET", "HEAD"):
        client = gateway.client()
        client.send(request(f"/{service.name}/items/1", key, method=method))
        asked = service.answers(respond(body=b"" if method == "HEAD" else b"ok"))
        assert b"x-api-key" not in asked
        assert asked[b"x-gateway-client"] == b"reader"
        assert client.answer(method).status == 200


def test_public_paths_and_the_gateways_own_need_no_key(keyed: Gateway, behind) -> None:
    gateway = keyed
    service = behind(gateway)
    for path in ("/health", "/health/ready", "/metrics", "/docs", "/openapi.json"):
        assert gateway.get(path).status == 200
    client = gateway.client()
    client.send(request(f"/{service.name}/public/x", b"X-Gateway-Client: all"))
    assert b"x-gateway-client" not in service.answers()
    assert client.answer().status == 200
    is_problem(gateway.get("/nobody/x"), 404)


def test_limit_exceeded_is_429_and_nothing_is_forwarded(keyed: Gateway, behind) -> None:
    gateway = keyed
    service = behind(gateway)
    client = gateway.client()
    path, key = f"/{service.name}/one", b"X-API-Key: all-key"
    client.send(request(path, key))
    service.answers()
    assert client.answer().status == 200
    for raw in (request(path, key), request(path, key, method="POST", body=b"x")):
        answer = gateway.ask(raw)
        is_problem(answer, 429)
        assert 1 <= int(answer[b"retry-after"]) <= 60
        assert answer.json()["retry_after"] == int(answer[b"retry-after"])
        assert answer[b"x-ratelimit-remaining"] == b"0"
    assert service.unasked()


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
def test_a_body_too_large_is_413(gateway: Gateway, service: Service, framing: str) -> None:
    size = 1_048_577
    client = gateway.client()
    if framing == "chunked":
        client.send(request(f"/{service.name}/", b"Transfer-Encoding: chunked", method="POST"))
        try:
            for _ in range(17):
                client.send(b"10000\r\n" + bytes(65_536) + b"\r\n")
        except ConnectionError:
            pass
    else:
        lines = [b"Content-Length: %d" % size] + ([b"Expect: 100-continue"] if framing == "expect" else [])
        client.send(request(f"/{service.name}/", *lines, method="POST"))
    is_problem(client.answer(), 413)
    assert client.gone()
    if framing == "chunked":
        peer = service.accept()
        with pytest.raises(Exception, match="ended"):  # what it got never looks whole
            peer.request()
    else:
        assert service.unasked()


def test_a_body_of_the_very_limit_passes(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", method="POST", body=bytes(1_048_576)))
    assert len(service.answers().body) == 1_048_576
    assert client.answer().status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /%b/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /%b/ HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /%b/ HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 2000 + b"\r\n", 431),
    ],
)
def test_heads_have_a_bound(gateway: Gateway, service: Service, raw: bytes, status: int) -> None:
    answer = gateway.ask(raw.replace(b"%b", service.name.encode()))
    assert answer.status in (400, status)
    assert service.unasked()


def test_a_client_that_does_not_finish_its_head_or_body_is_let_go(own, live: Service) -> None:
    gateway = own(
        app="tests.wire.hurried:app",
        env={"WIRE_HURRY": "clients"},
        services={"live": {"url": live.url, "retries": 0}},
    )
    head, body = gateway.client(), gateway.client()
    head.send(b"GET /live/ HTTP/1.1\r\nHos")
    body.send(request("/live/", b"Content-Length: 10", method="POST") + b"12345")
    for client in (head, body):
        answer = client.answer()
        assert answer.status == 408
        assert client.gone()
    assert gateway.client().get("/health").status == 200


# -- header fields -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [b"abc-123", b"x" * 128, b"!~\"#$%&'()*+,/:;<=>?@[]^_`{|}"])
def test_a_sane_request_id_is_kept_everywhere(gateway: Gateway, service: Service, given: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"X-Request-ID: " + given))
    assert service.answers(respond(200, b"X-Request-ID: the-services")).all(b"x-request-id") == [given]
    assert client.answer().all(b"x-request-id") == [given]
    assert gateway.entry(given.decode())["status"] == 200


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\xc3\xa9", b"a\tb"])
def test_another_is_replaced(gateway: Gateway, service: Service, given: bytes) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"X-Request-ID: " + given))
    [told] = service.answers().all(b"x-request-id")
    assert re.fullmatch(rb"[\x21-\x7e]{1,128}", told)
    assert told != given
    assert client.answer().all(b"x-request-id") == [told]


def test_every_response_has_a_request_id(gateway: Gateway, service: Service) -> None:
    for raw in (
        request("/health"),
        request("/metrics"),
        request("/nobody"),
        request("/admin/x"),
        request("/docs"),
        b"GET /x HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET @x HTTP/1.1\r\nHost: x\r\n\r\n",
        request(f"/{service.name}/../x"),
        request(f"/{service.name}/", method="TRACE"),
        request("*", method="OPTIONS"),
        request(f"/{service.name}/", b"Content-Length: 99999999", method="POST"),
        handshake("/nobody/ws"),
        handshake("/admin/events"),
        handshake(f"/{service.name}/ws").replace(b"Version: 13", b"Version: 1"),
    ):
        answer = gateway.ask(raw)
        assert len(answer.all(b"x-request-id")) == 1, raw
        assert len(answer.all(b"date")) == 1, raw
    kept = gateway.get("/nobody", b"X-Request-ID: mine")
    assert kept[b"x-request-id"] == b"mine"


def test_cache_fields_stand_on_every_forwarded_get_and_head(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    for method, lines, expected in (
        ("GET", (), b"MISS"),
        ("HEAD", (b"Cache-Control: no-store",), b"BYPASS"),
        ("GET", (b"Range: bytes=0-0",), None),
    ):
        client.send(request(f"/{service.name}/{method}{len(lines)}", *lines, method=method))
        service.answers(respond(200, b"X-Cache: HIT from elsewhere", body=b"" if method == "HEAD" else b"ok"))
        answer = client.answer(method)
        [cache] = answer.all(b"x-cache")
        assert cache in (b"MISS", b"BYPASS")
        assert expected in (None, cache)
        assert answer[b"cache-status"].split(b", ")[-1].startswith(b"gateway-lab; fwd=")
    client.send(request(f"/{service.name}/", method="POST"))
    service.answers()
    assert b"x-cache" not in client.answer()
    answer = gateway.get("/unused/x")  # also where the gateway answers for the service
    assert answer.status in (502, 503)
    assert answer[b"x-cache"] in (b"MISS", b"BYPASS")
    assert b"x-cache" not in gateway.get("/health")


def test_cache_fields_stand_there_without_a_cache_too(gateway: Gateway, service: Service) -> None:
    gateway.admin("PUT", "/admin/policies/cache", {"enabled": False})
    try:
        client = gateway.client()
        for method, expected in (("GET", [b"BYPASS"]), ("HEAD", [b"BYPASS"]), ("POST", [])):
            client.send(request(f"/{service.name}/", method=method))
            service.answers(respond(body=b""))
            answer = client.answer(method)
            assert answer.all(b"x-cache") == expected
            assert [value.split(b";")[0] for value in answer.all(b"cache-status")] == [b"gateway-lab"] * len(
                expected
            )
    finally:
        gateway.admin("PUT", "/admin/policies/cache", {"enabled": True})


def test_limit_fields_stand_on_what_the_limiter_saw_and_nowhere_else(
    gateway: Gateway, service: Service
) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    service.answers(respond(200, b"X-RateLimit-Limit: 7", b"RateLimit: x"))
    answer = client.answer()
    fields = (
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"ratelimit-policy",
        b"ratelimit",
    )
    for name in fields:
        assert len(answer.all(name)) == 1
    assert answer[b"x-ratelimit-limit"] == b"1000000"
    for path in ("/health", "/nobody", "/metrics", "/admin/snapshot"):
        assert not any(name in gateway.get(path) for name in fields)


def test_secrets_never_reach_a_service(keyed: Gateway, behind) -> None:
    gateway = keyed
    service = behind(gateway)
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"X-API-Key: all-key", BEARER, b"x-gateway-client: root"))
    asked = service.answers()
    whole = asked.start + b"".join(name + value for name, value in asked.headers)
    assert b"all-key" not in whole
    assert TOKEN.encode() not in whole
    assert asked.all(b"x-gateway-client") == [b"all"]
    assert client.answer().status == 200
    client.send(
        request(f"/{service.name}/", b"X-API-Key: all-key", b"Authorization: bearer  " + TOKEN.encode())
    )
    asked = service.answers()
    assert TOKEN.encode() not in b"".join(value for _, value in asked.headers)
    assert client.answer().status == 200
    client.send(
        request(f"/{service.name}/", b"X-API-Key: all-key", b"Authorization: Bearer the-services-own")
    )
    assert service.answers()[b"authorization"] == b"Bearer the-services-own"
    assert client.answer().status == 200


def test_a_key_does_not_reach_a_service_where_auth_is_off(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/", b"X-API-Key: my-secret-key"))
    assert b"x-api-key" not in service.answers()
    assert client.answer().status == 200


# -- what counts ---------------------------------------------------------------------------------------------


def remaining(answer: Answer) -> int:
    return int(answer[b"x-ratelimit-remaining"])


def test_hits_and_failures_count_and_404_and_own_paths_do_not(keyed: Gateway, behind) -> None:
    service = behind(keyed)
    client = keyed.client()
    key = b"X-API-Key: all-key"
    path = f"/{service.name}/kilo/x"
    client.send(request(path, key))
    service.answers(respond(200, b"Cache-Control: public, max-age=60"))
    first = remaining(client.answer())
    hit = client.get(path, key)
    assert hit[b"x-cache"] == b"HIT"
    assert remaining(hit) == first - 1
    for other in ("/nobody/kilo/x", "/health", "/metrics", "/admin/snapshot", "/docs"):
        client.get(other, key)
    assert client.get(path).status == 401  # who is not let in is not counted
    failed = client.get("/unused/kilo/x", key)
    assert failed.status in (502, 503)
    assert remaining(failed) == first - 2
    client.send(request(f"/{service.name}/kilo/missing", key))
    service.answers(respond(404))
    assert remaining(client.answer()) == first - 3  # the service's own 404 is a request to a service
    assert remaining(client.get(path, key)) == first - 4


def test_each_key_counts_for_itself_and_the_name_is_the_client(keyed: Gateway, behind) -> None:
    service = behind(keyed)
    statuses: list[int] = []
    for name in (b"anna", b"anna", b"anna", b"bert", b"bert", b"bert"):
        client = keyed.client()
        lines = (b"X-API-Key: %b-key" % name, b"X-Request-ID: count-%d" % len(statuses))
        client.send(request(f"/{service.name}/two", *lines))
        if len(statuses) % 3 < 2:
            service.answers()
        statuses.append(client.answer().status)
    assert statuses == [200, 200, 429] * 2
    assert keyed.entry("count-3")["client"] == "bert"


# -- the log and the metrics ---------------------------------------------------------------------------------

ENTRY = [
    "ts",
    "level",
    "event",
    "request_id",
    "client",
    "method",
    "path",
    "service",
    "status",
    "duration_ms",
    "cache",
    "limited",
    "breaker",
    "attempts",
    "bytes_out",
]


def test_one_json_line_a_request(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(
        request(
            f"/{service.name}/a%2Fb?secret=hush", b"X-Request-ID: log-1", b"X-API-Key: hush", b"Cookie: hush"
        )
    )
    service.answers(respond(body=b"12345"))
    assert client.answer().status == 200
    entry = gateway.entry("log-1")
    assert list(entry) == ENTRY
    assert entry["event"] == "request"
    assert entry["client"] == "127.0.0.1"
    assert entry["method"] == "GET"
    assert entry["path"] == f"/{service.name}/a%2Fb"
    assert entry["service"] == service.name
    assert entry["status"] == 200
    assert entry["cache"] == "MISS"
    assert entry["limited"] is False
    assert entry["breaker"] == "closed"
    assert entry["attempts"] == 1
    assert entry["bytes_out"] == 5
    assert entry["duration_ms"] >= 0
    gateway.get("/nobody/x?secret=hush", b"X-Request-ID: log-2", BEARER)
    entry = gateway.entry("log-2")
    assert list(entry) == ENTRY
    assert (entry["status"], entry["service"], entry["attempts"]) == (404, "", 0)
    assert len([line for line in gateway.lines if '"log-1"' in line]) == 1
    assert not any("hush" in line or TOKEN in line for line in gateway.lines)


def test_the_log_stays_json_whatever_the_path(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f'/{service.name}/"}}\\{{', b'X-Request-ID: a"b\\c'))
    service.answers()
    client.answer()
    assert gateway.entry('a"b\\c')["path"] == f'/{service.name}/"}}\\{{'


def test_what_is_no_request_is_logged_and_counted_too(gateway: Gateway) -> None:
    client = gateway.client()
    client.send(b"GET /service-a/x HTTP/1.1\r\nno field\r\n\r\n")
    answer = client.answer()
    assert answer.status == 400
    entry = gateway.entry(answer[b"x-request-id"].decode())
    assert list(entry) == ENTRY
    assert (entry["status"], entry["method"], entry["path"], entry["service"]) == (400, "", "", "")
    assert (entry["client"], entry["bytes_out"]) == ("127.0.0.1", len(answer.body))
    assert b'gateway_requests_total{method="OTHER",service="",status="400"}' in gateway.get("/metrics").body


NAMES = {
    "gateway_requests_total": {"method", "service", "status"},
    "gateway_request_duration_seconds_bucket": {"method", "service", "le"},
    "gateway_upstream_duration_seconds_count": {"service"},
    "gateway_active_connections": {"kind"},
    "gateway_service_health": {"service"},
    "gateway_circuit_breaker_state": {"service", "state"},
    "gateway_circuit_breaker_failures_total": {"service"},
    "gateway_rate_limit_requests_total": {"limited"},
    "gateway_cache_hits_total": {"service"},
    "gateway_cache_misses_total": {"service"},
    "gateway_upstream_pool_connections": {"service", "state"},
}


def test_metrics_have_the_names_and_labels(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(request(f"/{service.name}/secret-path", b"X-API-Key: secret-key", method="PROPFIND"))
    service.answers()
    client.answer()
    answer = client.get("/metrics")
    assert answer[b"content-type"].startswith(b"text/plain")
    text = answer.body.decode()
    assert "secret" not in text
    assert "PROPFIND" not in text  # a label does not take its value from a client
    for name, labels in NAMES.items():
        found = re.search(rf"^{name}{{(.*)}} ", text, re.MULTILINE)
        assert found is not None, name
        assert set(re.findall(r'(\w+)="', found[1])) == labels


# -- the start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"rate_limit": {"limt": 5}}, ["rate_limit.limt", "limit"]),
        ({"admin": {"token": "${WIRE_NOT_SET}"}}, ["admin.token", "WIRE_NOT_SET"]),
    ],
)
def test_a_mistake_in_the_configuration_stops_the_start_with_one_line(tmp_path: Path, document, says) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "gateway:app", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_CONFIG": str(file)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    for text in says:
        assert text in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--http", "h11", "--forwarded-allow-ips", "*"),
        ("--http", "httptools", "--loop", "asyncio", "--no-server-header", "--no-date-header"),
        ("--no-proxy-headers", "--no-access-log"),
    ],
    ids=" ".join,
)
def test_the_servers_own_options_change_nothing_on_the_wire(
    tmp_path: Path, live: Service, arguments: tuple[str, ...]
) -> None:
    gateway = Gateway(
        merged(BASE, {"services": {"live": {"url": live.url, "retries": 0}}}), tmp_path, *arguments
    )
    try:
        client = gateway.client()
        client.send(request("/live/%2F?", b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-Proto: https"))
        asked = live.answers()
        assert asked.target in (b"/%2F", b"/%2F?")
        assert asked[b"x-forwarded-for"] == b"127.0.0.1"
        assert asked[b"x-forwarded-proto"] == b"http"
        answer = client.answer()
        assert answer.status == 200
        assert b"server" not in answer
        assert len(answer.all(b"date")) == 1
        both = (b"Content-Length: 4", b"Transfer-Encoding: chunked")
        assert gateway.ask(request("/live/", *both, method="POST") + b"0\r\n\r\n").status == 400
        assert gateway.ask(b"GET /live/ HTTP/1.1\r\n\r\n").status == 400
        assert live.unasked()
        gateway.forget()
        assert gateway.stop() in (0, -15)
    finally:
        gateway.forget()
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.wait()
    assert not any("Traceback" in line for line in gateway.lines)


# -- shapes of connections -----------------------------------------------------------------------------------


def test_connections_stay_open_until_asked_otherwise(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    for _ in range(3):
        client.send(request(f"/{service.name}/"))
        service.answers()
        assert b"connection" not in client.answer()
    client.send(request(f"/{service.name}/", b"Connection: close"))
    service.answers()
    assert client.answer()[b"connection"] == b"close"
    assert client.gone()
    client = gateway.client()
    client.send(f"GET /{service.name}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
    service.answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nPragma: no-cache\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    answer = client.answer()
    assert answer.body == b"ok"
    assert b"transfer-encoding" not in answer  # HTTP/1.0 knows no chunks
    assert client.gone()


def test_a_request_byte_by_byte(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    for byte in request(f"/{service.name}/x?y", method="POST", body=b"hello"):
        client.send(bytes((byte,)))
    asked = service.answers()
    assert (asked.target, asked.body) == (b"/x?y", b"hello")
    assert client.answer().status == 200


def test_a_long_pipeline_is_answered_in_order(gateway: Gateway) -> None:
    client = gateway.client()
    client.send(b"".join(request(f"/nobody/{i}", b"X-Request-ID: p-%d" % i) for i in range(300)))
    for i in range(300):
        answer = client.answer()
        assert (answer.status, answer[b"x-request-id"]) == (404, b"p-%d" % i)


def test_an_answer_before_the_upload_ends_is_not_taken_for_the_next(
    gateway: Gateway, service: Service
) -> None:
    """What is left of a refused body is no request."""
    client = gateway.client()
    client.send(request("/nobody/", b"Content-Length: 100", method="POST"))
    assert client.answer().status == 404
    try:
        client.send(request(f"/{service.name}/smuggled"))
    except ConnectionError:
        pass
    assert client.gone()
    assert service.unasked()


def test_a_plain_upgrade_is_ignored(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    upgrade = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    client.send(request(f"/{service.name}/", *upgrade, method="POST", body=b"hello") + request("/health"))
    asked = service.answers()
    assert asked.body == b"hello"
    assert {b"upgrade", b"connection", b"http2-settings"}.isdisjoint(name for name, _ in asked.headers)
    assert client.answer().status == 200
    assert client.answer().json()["status"] == "ok"


def test_many_connections_through_a_tiny_pool(gateway: Gateway, behind) -> None:
    service = behind(gateway, pool=2)
    clients = [gateway.client() for _ in range(60)]
    for i, client in enumerate(clients):
        client.send(request(f"/{service.name}/{i}"))
    seen = {service.answers().target for _ in clients}
    assert seen == {b"/%d" % i for i in range(60)}
    assert [client.answer().status for client in clients] == [200] * 60
    assert len(service.peers) <= 2
