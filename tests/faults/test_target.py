"""The wrapper alone, without a server."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest

from lab.faults.model import FaultError
from lab.faults.registry import parse
from lab.faults.target import MAX_FAULTS, Target, faulty
from tests.faults.world import Raw, until

BOUND = 5.0


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the application"})


async def ask(
    target: Target,
    path: str = "/x",
    method: str = "GET",
    body: bytes = b"",
    peer: str = "127.0.0.1",
    **fields: str,
) -> tuple[int, Any]:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": (peer, 4711)}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await target(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_without_a_fault_the_application_gets_what_the_server_gave() -> None:
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.extend(given)

    given = ({"type": "http", "path": "/x"}, object(), object())
    await faulty(app)(*given)  # type: ignore[arg-type]
    assert all(mine is theirs for mine, theirs in zip(seen, given, strict=True))


async def test_set_strike_list_clear() -> None:
    target = Target(application)
    status, _ = await ask(target, "/_faults/bad", "PUT", b'{"kind": "error", "status": 500, "ttl": 9}')
    assert status == 200
    assert await ask(target) == (500, b'{"fault": "error 500"}')
    [report] = json.loads((await ask(target, "/_faults"))[1])["faults"]
    assert report["name"] == "bad"
    assert report["struck"] == 1
    assert 8 < report["remaining"] <= 9
    assert (await ask(target, "/_faults/other", "DELETE"))[1] == b'{"cleared": []}'
    assert (await ask(target))[0] == 500
    assert json.loads((await ask(target, "/_faults", "DELETE"))[1])["cleared"][0]["label"] == "error 500"
    assert await ask(target) == (200, b"the application")


@pytest.mark.parametrize(
    ("peer", "fields"),
    [
        ("192.0.2.1", {}),
        ("127.0.0.1", {"via": "1.1 gateway"}),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}),
        ("127.0.0.1", {"origin": "http://evil.example"}),
    ],
)
async def test_only_this_machine_may_set_faults_and_not_through_the_gateway(
    peer: str, fields: dict[str, str]
) -> None:
    target = Target(application)
    assert await ask(target, "/_faults/error", "PUT", b"{}", peer, **fields) == (200, b"the application")
    assert target.active == {}


async def test_a_similar_path_is_the_application_s() -> None:
    assert (await ask(Target(application), "/_faultsline"))[1] == b"the application"


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"kind": "nothing"}', b'{"ms": -1}'])
async def test_a_mistake_is_a_422_with_one_line_and_sets_nothing(body: bytes) -> None:
    target = Target(application)
    status, answer = await ask(target, "/_faults/latency", "PUT", body)
    problem = json.loads(answer)
    assert status == problem["status"] == 422
    assert (problem["type"], problem["title"]) == ("about:blank", HTTPStatus(422).phrase)
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    assert target.active == {}


async def test_another_method_is_a_problem_that_names_those_there_are(service_a: str) -> None:
    async with Raw.to(service_a) as client:
        client.ask("/_faults", method="POST")
        status, fields, body = await client.answer()
    assert (status, fields["allow"]) == (405, "GET, PUT, DELETE")
    assert fields["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == 405


async def test_the_target_ends_a_fault_by_itself() -> None:
    target = Target(application)
    active = await target.set("it", parse({"kind": "error", "ttl": 0.05}))
    await asyncio.wait_for(active.ended.wait(), BOUND)
    assert target.active == {}
    assert (await ask(target))[0] == 200


async def test_an_end_that_comes_a_bit_early_is_an_end_of_its_own() -> None:
    target = Target(application, clock=lambda: 100.0)  # stands still, while the loop's goes on
    active = await target.set("it", parse({"kind": "error", "ttl": 0.01}))
    await asyncio.wait_for(active.ended.wait(), BOUND)
    async with asyncio.timeout(BOUND):
        while not target.ended:  # noqa: ASYNC110 - what the end undoes comes after it
            await asyncio.sleep(0)
    assert target.ended[0]["late"] == 0.0


async def test_how_late_it_ended_is_kept_and_a_clear_is_no_end_of_its_own() -> None:
    now = 100.0
    target = Target(application, clock=lambda: now)
    await target.set("it", parse({"kind": "error", "ttl": 5}))
    await target.clear()
    await target.set("it", parse({"kind": "error", "ttl": 5}))
    now = 105.25
    await target.clear("it")  # as the timer does
    answer = json.loads((await ask(target, "/_faults"))[1])
    assert answer == {"faults": [], "ended": [{"name": "it", "label": "error 503", "late": 0.25}]}


async def test_setting_again_replaces_and_the_old_time_no_longer_counts() -> None:
    target = Target(application)
    old = await target.set("it", parse({"kind": "error", "ttl": 0.05}))
    new = await target.set("it", parse({"kind": "error", "status": 500}))
    other = await target.set("other", parse({"kind": "hang", "path": "/nowhere", "ttl": 0.1}))
    assert old.ended.is_set()
    await asyncio.wait_for(other.ended.wait(), BOUND)  # later than the old one's end
    assert target.active == {"it": new}
    await target.clear()


async def test_a_clear_lets_those_go_on_who_wait() -> None:
    target = Target(application)
    await target.set("hang", parse({"kind": "hang"}))
    waiting = asyncio.create_task(ask(target))
    await until(lambda: target.active["hang"].struck)
    await target.clear()
    assert await asyncio.wait_for(waiting, BOUND) == (200, b"the application")


async def test_the_upper_stands_before_the_lower() -> None:
    target = Target(application)
    await target.set("a", parse({"kind": "error"}))
    await target.set("b", parse({"kind": "latency", "ms": 600_000}))
    waiting = asyncio.create_task(ask(target))
    await until(lambda: target.active["b"].struck)
    assert not waiting.done()  # the latency was set later and comes first all the same
    await target.clear("b")
    assert (await asyncio.wait_for(waiting, BOUND))[0] == 503
    await target.clear()


async def test_what_needs_uvicorn_says_so_and_is_not_set() -> None:
    target = Target(application)
    for kind in ("reset", "truncate", "refuse", "ws_cut"):
        with pytest.raises(FaultError, match="uvicorn"):
            await target.set(kind, parse({"kind": kind}))
    assert target.active == {}


async def test_there_is_a_bound() -> None:
    target = Target(application)
    for n in range(MAX_FAULTS):
        await target.set(str(n), parse({"kind": "hang"}))
    with pytest.raises(FaultError, match="set already"):
        await target.set("more", parse({"kind": "hang"}))
    await target.clear()


def test_what_else_the_application_has_is_still_there() -> None:
    class App:
        routes = ("/x",)

    assert faulty(App()).routes == ("/x",)  # type: ignore[arg-type]
