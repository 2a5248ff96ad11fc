"""WIRE.md rows 46–51: the rate limiter."""

from __future__ import annotations

import itertools
import math
import re
import time
from functools import partial

import pytest

from tests.wire.wire import Answer, Client, Gateway, eventually, request

_users = itertools.count(1)


def limited(running, use: str, **more) -> Gateway:
    """A gateway with this limiter: 5 in 60 s, for /none/fast 5 in one, for /none/two 2 in one."""
    return running(
        rate_limit={
            "use": use,
            "limit": 5,
            "window": 60,
            "routes": [
                {"match": "/none/fast", "limit": 5, "window": 1},
                {"match": "/none/two", "limit": 2, "window": 1},
                {"match": "/none/short", "limit": 3, "window": 1},
            ],
            **more,
        },
        trusted_proxies=["127.0.0.0/8"],
        services={"none": {"url": "http://127.0.0.1:9", "retries": 0}},
        breaker={"enabled": False},
    )


def somebody() -> bytes:
    """A client whom nobody has counted yet."""
    number = next(_users)
    return b"X-Forwarded-For: 10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)


def get(client: Client, who: bytes, path: str = "/none/x") -> Answer:
    return client.get(path, who)


ALGORITHMS = ["fixed_window", "sliding_window", "token_bucket"]


@pytest.mark.parametrize("use", ALGORITHMS)
def test_row_46_exactly_n_of_any_number_of_concurrent_requests(running, use: str) -> None:
    gateway = limited(running, use)
    who = somebody()
    clients = [gateway.client() for _ in range(200)]
    for client in clients:
        client.send(request("/none/x", who))
    statuses = [client.answer().status for client in clients]
    gateway.forget()
    assert sorted(statuses) == [429] * 195 + [502] * 5


@pytest.mark.parametrize("use", ALGORITHMS)
def test_row_46_nothing_that_is_limited_is_forwarded(running, behind, use: str) -> None:
    gateway = limited(running, use)
    service = behind(gateway)
    who = somebody()
    client = gateway.client()
    client.send(b"".join(request(f"/{service.name}/{i}", who) for i in range(8)))
    for i in range(5):
        assert service.answers().target == b"/%d" % i
    answers = [client.answer() for _ in range(8)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
    assert service.unasked()
    assert [int(answer[b"x-ratelimit-remaining"]) for answer in answers] == [4, 3, 2, 1, 0, 0, 0, 0]


def burst(gateway: Gateway, client: Client, who: bytes, most: int) -> list[int]:
    client.send(request("/none/x", who) * most)
    return [client.answer().status for _ in range(most)]


def admissions(client: Client, who: bytes, count: int, pause: float = 0.0) -> list[tuple[float, float]]:
    """Ask until `count` are admitted, with a pause after the first; when each was asked and answered."""
    admitted: list[tuple[float, float]] = []

    def ask() -> bool:
        asked = time.monotonic()
        if admitted and asked < admitted[0][1] + pause:
            return False
        if get(client, who, "/none/fast").status == 502:
            admitted.append((asked, time.monotonic()))
        return len(admitted) == count

    eventually(ask)
    return admitted


def test_row_47_the_sliding_window_admits_n_in_any_window(running) -> None:
    """Any six admissions span more than a window; a window that began with the first would give a burst."""
    gateway = limited(running, "sliding_window")
    admitted = admissions(gateway.client(), somebody(), 12, pause=0.7)
    assert all(later[1] - earlier[0] >= 1.0 for earlier, later in zip(admitted, admitted[5:], strict=False))


def test_row_47_the_fixed_window_admits_at_most_2n_around_a_boundary(running) -> None:
    """N at the end of one window and N at the beginning of the next: the documented burst, and no more."""
    gateway = limited(running, "fixed_window")
    admitted = admissions(gateway.client(), somebody(), 15, pause=0.7)
    # Any eleven of them span a whole window: 2N at most in one.
    assert all(later[1] - earlier[0] >= 1.0 for earlier, later in zip(admitted, admitted[10:], strict=False))


def test_row_48_a_wall_clock_set_back_does_no_harm(own, tmp_path) -> None:
    """The process's wall clock goes back a day, forward two, and back again between its requests."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    gateway = limited(
        partial(own, app="tests.wire.clock:app", env={"WIRE_CLOCK": str(offset)}), "sliding_window"
    )
    client = gateway.client()
    for use, shift in zip(ALGORITHMS, ("-86400", "172800", "0"), strict=True):
        gateway.admin("PUT", "/admin/policies/rate_limit", {"use": use})
        who = somebody()
        assert burst(gateway, client, who, 6) == [502] * 5 + [429]
        while get(client, who, "/none/short").status != 429:
            pass
        offset.write_text(shift)
        answer = get(client, who)
        assert answer.status == 429  # no new window, and no wait of a day
        assert 1 <= int(answer[b"retry-after"]) <= 60
        eventually(lambda: get(client, who, "/none/short").status == 502)  # noqa: B023


def test_row_49_memory_is_bounded_and_a_limited_client_stays_limited(running) -> None:
    gateway = limited(running, "sliding_window", max_clients=50)
    attacker, client = somebody(), gateway.client()
    burst(gateway, client, attacker, 6)
    before = gateway.rss()
    for _ in range(30):
        client.send(b"".join(request("/none/x", somebody()) for _ in range(100)))
        for _ in range(100):
            assert client.answer().status in (502, 429)
    entries = gateway.admin("GET", "/admin/snapshot")["policies"]["rate_limit"]["state"]["entries"]
    assert [entry["clients"] <= 50 for entry in entries] == [True] * 4
    assert gateway.rss() - before < 8 << 20
    assert get(client, attacker).status == 429


def test_row_50_x_forwarded_for_of_an_untrusted_client_changes_nothing(own) -> None:
    gateway = own(env={"GATEWAY__RATE_LIMIT__LIMIT": "3", "GATEWAY__SERVICES__UNUSED__RETRIES": "0"})
    client = gateway.client()
    statuses = [
        client.get(
            "/unused/x",
            somebody(),
            b"Forwarded: for=1.2.3.%d" % i,
            b"X-Real-IP: 1.2.3.%d" % i,
            b"X-Request-ID: row-50-%d" % i,
        ).status
        for i in range(5)
    ]
    assert statuses == [502] * 3 + [429] * 2
    assert gateway.entry("row-50-4")["client"] == "127.0.0.1"


def check_fields(answer: Answer, limit: int, window: int) -> tuple[int, int]:
    """The limiter's header fields agree with each other; gives remaining and reset."""
    remaining, reset = int(answer[b"x-ratelimit-remaining"]), int(answer[b"x-ratelimit-reset"])
    assert answer[b"x-ratelimit-limit"] == b"%d" % limit
    policy = re.fullmatch(rb'"([\w-]+)";q=(\d+);w=(\d+)', answer[b"ratelimit-policy"])
    now = re.fullmatch(rb'"([\w-]+)";r=(\d+);t=(\d+)', answer[b"ratelimit"])
    assert policy is not None
    assert now is not None
    assert policy[1] == now[1]
    assert (int(policy[2]), int(policy[3])) == (limit, window)
    assert (int(now[2]), int(now[3])) == (remaining, reset)
    assert 0 <= remaining < limit
    assert 1 <= reset <= window
    return remaining, reset


@pytest.mark.parametrize("use", ALGORITHMS)
def test_row_51_the_fields_agree_with_what_is_then_admitted(running, use: str) -> None:
    gateway = limited(running, use)
    who, client = somebody(), gateway.client()
    left = 5
    for _ in range(7):
        answer = get(client, who)
        remaining, reset = check_fields(answer, 5, 60)
        if left:
            left -= 1
            assert (answer.status, remaining) == (502, left)
            assert b"retry-after" not in answer
        else:
            assert (answer.status, remaining) == (429, 0)
            assert int(answer[b"retry-after"]) >= 1
            assert int(answer[b"retry-after"]) == answer.json()["retry_after"]
            assert int(answer[b"retry-after"]) <= (12 if use == "token_bucket" else 60)
            assert math.isclose(int(answer[b"retry-after"]), reset, abs_tol=1)


@pytest.mark.parametrize("use", ALGORITHMS)
def test_row_51_after_retry_after_a_request_is_admitted(running, use: str) -> None:
    gateway = limited(running, use)
    who, client = somebody(), gateway.client()
    while (answer := get(client, who, "/none/two")).status != 429:
        pass
    told = time.monotonic() + int(answer[b"retry-after"])
    eventually(lambda: time.monotonic() >= told)
    assert get(client, who, "/none/two").status == 502


def test_row_51_each_route_counts_for_itself(keyed: Gateway, behind) -> None:
    service = behind(keyed)
    client = keyed.client()
    key = b"X-API-Key: all-key"
    answers = []
    for _ in range(3):
        client.send(request(f"/{service.name}/tight/x", key))
        if len(answers) < 2:
            service.answers()
        answers.append(client.answer())
    assert [answer.status for answer in answers] == [200, 200, 429]
    check_fields(answers[0], 2, 60)
    for path in ("/tall", "/loose"):
        client.send(request(f"/{service.name}{path}", key))
        service.answers()
        assert client.answer()[b"x-ratelimit-limit"] == (b"3" if path == "/tall" else b"1000000")
    assert client.get(f"/{service.name}/%74ight/x", key).status == 429  # the same path, written otherwise
