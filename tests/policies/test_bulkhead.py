from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.model import Exchange, Response
from lab.policies import Context, plug
from lab.policies.bulkhead import Bulkhead, Semaphore
from lab.settings import BulkheadSettings, ServiceSettings

SERVICES = {"a": ServiceSettings(url="http://127.0.0.1:1"), "b": ServiceSettings(url="http://127.0.0.1:2")}


def make(limit: int = 2, core: Any = None, **options: Any) -> Bulkhead:
    return Bulkhead(BulkheadSettings(max_concurrent=limit, **options), Context(services=SERVICES), core=core)


async def answer(exchange: Exchange) -> Response:
    return Response(200)


async def send(stage: Bulkhead, service: str = "a", **more: Any) -> Response:
    return await stage(Exchange("GET", b"/a/x", service=service, **more), answer)


def figures(stage: Bulkhead, service: str = "a") -> dict[str, int]:
    found: dict[str, int] = stage.snapshot()["services"][service]
    return found


# -- the core ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(limit=st.integers(1, 5), steps=st.lists(st.booleans(), max_size=60))
def test_never_more_than_the_limit_and_never_fewer_than_could_be(limit: int, steps: list[bool]) -> None:
    semaphore = Semaphore(limit)
    inside = 0
    for enter in steps:
        if enter:
            admitted = semaphore.acquire()
            assert admitted == (inside < limit)
            inside += admitted
        elif inside:
            semaphore.release()
            inside -= 1
        assert semaphore.in_flight == inside


# -- the stage -----------------------------------------------------------------------------------------------


async def test_one_too_many_is_503_at_once() -> None:
    stage = make(2)
    first = await send(stage)
    await send(stage)
    refused = await send(stage)
    assert refused.status == 503
    assert refused.header(b"retry-after") == b"1"
    assert refused.header(b"proxy-status") == b"gateway-lab; error=connection_limit_reached"
    assert refused.failure == "connection_limit_reached"
    assert json.loads(refused.content)["type"].endswith(":too-many-in-flight")
    assert json.loads(refused.content)["service"] == "a"
    refused.end()  # was never inside: gives nothing back
    assert (await send(stage)).status == 503
    first.end()
    assert (await send(stage)).status == 200
    assert figures(stage) == {"in_flight": 2, "rejected": 2}


async def test_a_full_service_leaves_the_others_alone() -> None:
    stage = make(1)
    await send(stage, "a")
    assert (await send(stage, "a")).status == 503
    assert (await send(stage, "b")).status == 200


async def test_exactly_the_limit_of_a_thousand_at_once() -> None:
    stage = make(7)
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await go.wait()
        return Response(200)

    tasks = [asyncio.ensure_future(stage(Exchange("GET", b"/", service="a"), slow)) for _ in range(1000)]
    waiting = set(tasks)
    while len(waiting) > 7:
        _, waiting = await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
    assert figures(stage) == {"in_flight": 7, "rejected": 993}
    go.set()
    assert sorted(r.status for r in await asyncio.gather(*tasks)) == [200] * 7 + [503] * 993


@pytest.mark.parametrize("error", [None, ConnectionResetError(), asyncio.CancelledError()])
async def test_the_place_is_free_when_the_response_has_ended_however(error: BaseException | None) -> None:
    stage = make(1)
    response = await send(stage)
    assert figures(stage)["in_flight"] == 1
    response.end(error)
    response.end(error)
    await response.aclose()
    assert figures(stage)["in_flight"] == 0
    await send(stage)
    assert (await send(stage)).status == 503  # given back once, not twice


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError()])
async def test_the_place_is_free_when_no_response_comes(error: BaseException) -> None:
    stage = make(1)

    async def fail(exchange: Exchange) -> Response:
        raise error

    for _ in range(3):
        with pytest.raises(type(error)):
            await stage(Exchange("GET", b"/", service="a"), fail)
    assert figures(stage) == {"in_flight": 0, "rejected": 0}


async def test_a_websocket_holds_its_place_while_it_is_open() -> None:
    stage = make(1)
    tunnel = await send(stage, kind="websocket")
    assert (await send(stage)).status == 503
    tunnel.end()
    assert (await send(stage)).status == 200


async def test_an_unknown_service_passes() -> None:
    stage = make(1)
    assert [(await send(stage, "invented")).status for _ in range(3)] == [200] * 3
    assert set(stage.snapshot()["services"]) == {"a", "b"}


async def test_snapshot_is_plain_json() -> None:
    assert json.loads(json.dumps(make(9).snapshot())) == {
        "services": {"a": {"in_flight": 0, "rejected": 0}, "b": {"in_flight": 0, "rejected": 0}},
        "max_concurrent": 9,
    }


# -- swapping ------------------------------------------------------------------------------------------------


async def test_adopt_counts_those_inside_under_the_new_limit() -> None:
    old = make(3)
    inside = [await send(old) for _ in range(3)]
    await send(old)
    new = make(2)
    new.adopt(old)
    assert figures(new) == {"in_flight": 3, "rejected": 1}
    inside[0].end()
    assert (await send(new)).status == 503
    inside[1].end()
    assert (await send(new)).status == 200
    assert figures(new)["in_flight"] == 2


class Closed:
    """A student's bulkhead that lets nobody in."""

    def acquire(self) -> bool:
        return False

    def release(self) -> None:
        raise AssertionError("nobody was inside")


async def test_another_class_is_asked_and_adopts_the_figures_only() -> None:
    stage = make(core=Closed)
    for _ in range(2):
        refused = await send(stage)
        assert refused.status == 503
        refused.end()
    back = make()
    back.adopt(stage)
    assert figures(back) == {"in_flight": 0, "rejected": 2}
    assert (await send(back)).status == 200


def test_a_class_that_cannot_be_made_is_refused_at_once() -> None:
    class Broken:
        def __init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(plug.PlugError, match="Broken cannot be made"):
        make(core=Broken)
    with pytest.raises(plug.PlugError, match="did you mean 'semaphore'"):
        make(use="semaphor")


# -- a class on probation ------------------------------------------------------------------------------------


def test_the_built_in_class_keeps_the_promises() -> None:
    Bulkhead.prove(BulkheadSettings(max_concurrent=3), Context(services=SERVICES))


class Mute:
    acquire = Semaphore.acquire


class Endless(Semaphore):
    def acquire(self) -> bool:
        return True


class Leaking(Semaphore):
    def release(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Mute, "Mute has no method release()"),
        (Closed, "acquire() gives no place in an empty compartment"),
        (Endless, "acquire() gives more than 3 places"),
        (Leaking, "a place that was given back is not given again"),
    ],
)
def test_a_broken_promise_is_named(monkeypatch: pytest.MonkeyPatch, cls: type[Any], complaint: str) -> None:
    monkeypatch.setattr(plug, "find", lambda use, built_in: cls)
    with pytest.raises(plug.PlugError) as caught:
        Bulkhead.prove(BulkheadSettings(use="mine:Class", max_concurrent=3), Context(services=SERVICES))
    assert str(caught.value) == f"use: mine:Class: {complaint}"


@pytest.mark.parametrize("gone", [False, True], ids=["at the end", "client gone before the head"])
async def test_a_place_is_given_back_under_guard(gone: bool) -> None:
    class Broken(Semaphore):
        def release(self) -> None:
            raise ZeroDivisionError

    caught: list[Exception] = []

    def guard(function: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                function(*arguments)
            except ZeroDivisionError as mistake:
                caught.append(mistake)

        return guarded

    async def leave(exchange: Exchange) -> Response:
        raise asyncio.CancelledError

    stage = Bulkhead(BulkheadSettings(), Context(services=SERVICES, guard=guard), core=Broken)
    if gone:
        with pytest.raises(asyncio.CancelledError):
            await stage(Exchange("GET", b"/a/x", service="a"), leave)
    else:
        (await send(stage)).end()
    assert len(caught) == 1
