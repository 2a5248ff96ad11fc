"""WIRE.md rows 52–56: the circuit breaker."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.wire.wire import Client, Gateway, Service, eventually, request, respond

CONSECUTIVE = {"failures": 3, "open_for": 1.0, "probes": 3}
PATIENT = CONSECUTIVE | {"open_for": 1.5}
"""Probes that are out for longer than `open_for` give up their places: here they have time."""
RATE = {
    "use": "failure_rate",
    "window": 10,
    "minimum_calls": 6,
    "failure_percent": 50,
    "open_for": 1.0,
    "probes": 2,
}


def guarded(running, **breaker: Any) -> Gateway:
    return running(breaker=breaker or CONSECUTIVE)


def ask(client: Client, service: Service, status: int = 200) -> int:
    """A request that the service answers with `status`; what the client got."""
    client.send(request(f"/{service.name}/"))
    service.answers(respond(status))
    return client.answer().status


def state(gateway: Gateway, service: Service) -> str:
    services = gateway.admin("GET", "/admin/snapshot")["services"]
    return str(services[service.name]["breaker"]["state"])


def opened(gateway: Gateway, service: Service, failures: int = 3) -> Client:
    client = gateway.client()
    for _ in range(failures):
        ask(client, service, 500)
    assert client.get(f"/{service.name}/").status == 503
    assert service.unasked()
    return client


def test_row_52_half_open_admits_exactly_the_permitted_probes(running, behind) -> None:
    gateway = guarded(running, **PATIENT)
    service = behind(gateway)
    opened(gateway, service)
    eventually(lambda: state(gateway, service) == "half_open")
    clients = [gateway.client() for _ in range(300)]
    for client in clients:
        client.send(request(f"/{service.name}/"))
    peers = [service.asked()[0] for _ in range(3)]
    refused = [client for client in clients if not client.quiet(0)]
    while len(refused) < 297:
        refused = [client for client in clients if not client.quiet(0)]
    assert [client.answer().status for client in refused] == [503] * 297
    assert service.unasked()
    for peer in peers:
        peer.send(respond())
    assert [client.answer().status for client in clients if client not in refused] == [200] * 3
    assert state(gateway, service) == "closed"


def test_row_52_all_probes_must_succeed(running, behind) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    client = opened(gateway, service)
    eventually(lambda: state(gateway, service) == "half_open")
    assert ask(client, service) == 200
    assert ask(client, service) == 200
    assert ask(client, service, 500) == 500
    assert client.get(f"/{service.name}/").status == 503
    assert state(gateway, service) == "open"


def test_row_53_below_the_minimum_number_of_calls_nothing_trips(running, behind) -> None:
    gateway = guarded(running, **RATE)
    service = behind(gateway)
    client = gateway.client()
    for _ in range(5):
        assert ask(client, service, 500) == 500
    assert state(gateway, service) == "closed"
    assert ask(client, service, 500) == 500
    assert client.get(f"/{service.name}/").status == 503


def test_row_53_the_rate_is_that_of_the_window(running, behind) -> None:
    gateway = guarded(running, **RATE)
    service = behind(gateway)
    client = gateway.client()
    for status in (500, 500, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 500, 500, 500, 500):
        assert ask(client, service, status) == status
    assert state(gateway, service) == "closed"  # 4 of the last 10
    assert ask(client, service, 500) == 500
    assert client.get(f"/{service.name}/").status == 503


def test_row_53_a_success_in_between_starts_the_count_anew(running, behind) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    client = gateway.client()
    for status in (500, 500, 200, 500, 500, 200):
        assert ask(client, service, status) == status
    assert state(gateway, service) == "closed"


@pytest.mark.parametrize("status", [400, 401, 404, 408, 418, 429, 499])
def test_row_54_4xx_is_no_failure(running, behind, status: int) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    client = gateway.client()
    for _ in range(6):
        assert ask(client, service, status) == status
    assert state(gateway, service) == "closed"


@pytest.mark.parametrize("failure", ["timeout", "close", "garbage", "truncated", "500"])
def test_row_54_timeouts_and_broken_connections_are(running, behind, failure: str) -> None:
    gateway = guarded(running)
    service = behind(gateway, timeout=0.1 if failure == "timeout" else 10)
    for _ in range(3):
        client = gateway.client()
        client.send(request(f"/{service.name}/"))
        peer, _ = service.asked()
        if failure == "close":
            peer.close()
        elif failure == "garbage":
            peer.send(b"nonsense\r\n\r\n")
        elif failure == "500":
            peer.send(respond(500))
        elif failure == "truncated":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            peer.close()
        client.rest() if failure == "truncated" else client.answer()
    assert gateway.get(f"/{service.name}/").status == 503


def test_row_54_a_clients_abort_is_neither_and_gives_its_permission_back(running, behind) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    client = gateway.client()
    ask(client, service, 500)
    ask(client, service, 500)
    for head in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"):
        impatient = gateway.client()
        impatient.send(request(f"/{service.name}/"))
        peer, _ = service.asked()
        if head:
            peer.send(head)
            impatient.head()
        impatient.close()
        assert peer.gone()
    assert state(gateway, service) == "closed"  # no third failure …
    ask(client, service, 500)
    assert client.get(f"/{service.name}/").status == 503  # … and no success either
    eventually(lambda: state(gateway, service) == "half_open")
    for _ in range(4):  # one more than there are places
        impatient = gateway.client()
        impatient.send(request(f"/{service.name}/"))
        peer, _ = service.asked()
        impatient.close()
        assert peer.gone()
    for _ in range(3):
        assert ask(client, service) == 200
    assert state(gateway, service) == "closed"


def test_row_54_what_the_gateway_refuses_itself_is_no_failure(running, behind) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    for _ in range(4):
        assert (
            gateway.ask(request(f"/{service.name}/", b"Content-Length: 99999999", method="POST")).status
            == 413
        )
        assert gateway.ask(request(f"/{service.name}/", method="TRACE")).status == 405
    assert ask(gateway.client(), service) == 200


@pytest.mark.parametrize("late", [200, 500])
def test_row_55_a_late_result_of_an_older_state_is_ignored(running, behind, late: int) -> None:
    gateway = guarded(running)
    service = behind(gateway)
    slow = gateway.client()
    slow.send(request(f"/{service.name}/slow"))
    waiting, _ = service.asked()
    client = opened(gateway, service)
    eventually(lambda: state(gateway, service) == "half_open")
    assert ask(client, service) == 200
    waiting.send(respond(late))  # asked when the breaker was closed
    assert slow.answer().status == late
    assert state(gateway, service) == "half_open"
    assert ask(client, service) == 200
    assert state(gateway, service) == "half_open"
    assert ask(client, service) == 200
    assert state(gateway, service) == "closed"


def test_row_56_retry_after_tells_when_a_probe_is_let_through(running, behind) -> None:
    gateway = guarded(running, **PATIENT)
    service = behind(gateway)
    client = gateway.client()
    for _ in range(3):
        started = time.monotonic()
        ask(client, service, 500)
    answer = client.get(f"/{service.name}/")
    told = time.monotonic()
    wait = int(answer[b"retry-after"])
    assert math.ceil(1.5 - (told - started)) <= wait <= math.ceil(1.5)
    assert answer.json()["retry_after"] == wait
    eventually(lambda: state(gateway, service) == "half_open")
    assert time.monotonic() - started > 1.0
    assert ask(client, service) == 200


def test_row_56_when_the_probes_are_out_it_still_tells(running, behind) -> None:
    gateway = guarded(running, **PATIENT)
    service = behind(gateway)
    opened(gateway, service)
    eventually(lambda: state(gateway, service) == "half_open")
    for _ in range(3):
        gateway.client().send(request(f"/{service.name}/"))
        service.asked()
    answer = gateway.get(f"/{service.name}/")
    assert answer.status == 503
    assert answer[b"retry-after"] in (b"1", b"2")
