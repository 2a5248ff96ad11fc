"""The circuit breaker's stage: what counts, when it is recorded, what viewers and clients are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from lab.model import Body, Exchange, Response, problem
from lab.policies import Context, plug
from lab.policies.breaker import CircuitBreaker
from lab.policies.breaker.consecutive import Consecutive
from lab.settings import BreakerSettings, FallbackSettings, ServiceSettings

A = ServiceSettings(url="http://127.0.0.1:1")
B = ServiceSettings(url="http://127.0.0.1:2")


class World:
    """A fake clock, the events heard, and a service that answers what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[dict[str, Any]] = []
        self.services = {"a": A, "b": B}
        self.calls = 0
        self.context = Context(
            services=self.services,
            clock=lambda: self.now,
            wall=lambda: self.now + 1e9,
            emit=lambda kind, **data: self.events.append({"kind": kind, **data}),
        )

    def stage(self, core: Any = None, **options: Any) -> CircuitBreaker:
        defaults = {"failures": 2, "open_for": 10.0, "probes": 2}
        return CircuitBreaker(BreakerSettings(**defaults | options), self.context, core=core)

    async def send(
        self,
        stage: CircuitBreaker,
        answer: Response | BaseException | int = 200,
        service: str = "a",
        **more: Any,
    ) -> tuple[Response, Exchange]:
        """One exchange up to the head of its response; the caller ends it."""

        async def call_next(exchange: Exchange) -> Response:
            self.calls += 1
            if isinstance(answer, BaseException):
                raise answer
            return Response(answer) if isinstance(answer, int) else answer

        exchange = Exchange("GET", b"/a/x", service=service, **more)
        return await stage(exchange, call_next), exchange

    async def trip(self, stage: CircuitBreaker, service: str = "a") -> None:
        for _ in range(2):
            await self.send(stage, 500, service)

    def changes(self) -> list[tuple[str, str]]:
        return [(event["from"], event["to"]) for event in self.events]


async def body() -> AsyncIterator[bytes]:
    yield b"x"


def streaming(status: int = 200) -> Response:
    return Response(status, stream=body())


def failures(stage: CircuitBreaker, service: str = "a") -> int:
    return int(stage.snapshot()["services"][service]["failures"])


@pytest.fixture
def world() -> World:
    return World()


# -- the answer while open -----------------------------------------------------------------------------------


async def test_open_is_503_with_a_true_retry_after_and_nothing_is_forwarded(world: World) -> None:
    stage = world.stage()
    await world.trip(stage)
    world.now += 2.5
    response, exchange = await world.send(stage)
    assert world.calls == 2
    assert response.status == 503
    assert response.header(b"retry-after") == b"8"  # 7.5 s left: a client that waits 8 gets through
    assert response.header(b"proxy-status") == b"gateway-lab; error=destination_unavailable"
    assert response.failure == "destination_unavailable"
    assert json.loads(response.content)["type"].endswith(":circuit-open")
    assert json.loads(response.content)["service"] == "a"
    assert exchange.breaker == "open"
    world.now += 8
    response, exchange = await world.send(stage)
    assert response.status == 200
    assert exchange.breaker == "half_open"


async def test_services_have_breakers_of_their_own(world: World) -> None:
    stage = world.stage()
    await world.trip(stage, "a")
    assert (await world.send(stage, 200, "a"))[0].status == 503
    response, exchange = await world.send(stage, 200, "b")
    assert response.status == 200
    assert exchange.breaker == "closed"


async def test_an_unknown_service_passes_and_leaves_nothing_behind(world: World) -> None:
    stage = world.stage()
    response, exchange = await world.send(stage, 500, "invented")
    assert response.status == 500
    assert exchange.breaker is None
    assert set(stage.snapshot()["services"]) == {"a", "b"}


async def test_a_static_fallback_stands_in_for_the_503(world: World) -> None:
    stage = world.stage(fallback=FallbackSettings(status=200, content_type="text/plain", body="später"))
    await world.trip(stage)
    response, _ = await world.send(stage)
    assert response.status == 200
    assert response.content == "später".encode()
    assert dict(response.headers) == {
        b"content-type": b"text/plain",
        b"content-length": b"7",
        b"cache-control": b"no-store",
        b"retry-after": b"10",
        b"proxy-status": b"gateway-lab; error=destination_unavailable",
    }
    assert response.failure == "destination_unavailable"  # a cache may know something better
    handshake, _ = await world.send(stage, kind="websocket")
    assert handshake.status == 503


# -- what counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(500), 1),
        (Response(503), 1),
        (Response(599), 1),
        (problem(502, "bad-gateway", "", failure="connection_refused"), 1),
        (problem(504, "timeout", "", failure="http_response_timeout"), 1),
        (Response(404), 0),
        (Response(429), 0),
        (Response(304), 0),
    ],
)
async def test_success_or_failure(world: World, answer: Response, expected: int) -> None:
    stage = world.stage(failures=100)
    await world.send(stage, answer)
    assert failures(stage) == expected


@pytest.mark.parametrize(
    "answer",
    [
        problem(503, "no-connection", "", failure="connection_limit_reached"),
        problem(503, "down", "", failure="destination_unavailable"),
        problem(413, "too-large", "", failure="http_request_error"),
        asyncio.CancelledError(),
        RuntimeError("a policy further in is broken"),
    ],
)
async def test_neither_success_nor_failure(world: World, answer: Response | BaseException) -> None:
    stage = world.stage(probes=1)
    await world.send(stage, 500)
    with contextlib.suppress(asyncio.CancelledError, RuntimeError):
        await world.send(stage, answer)
    assert failures(stage) == 1  # no success, or the run would have ended
    await world.send(stage, 500)
    world.now += 10
    for _ in range(3):  # the place of the only probe comes back each time
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            _, exchange = await world.send(stage, answer)
            assert exchange.breaker == "half_open"
    assert (await world.send(stage, 200))[0].status == 200
    assert stage.snapshot()["services"]["a"]["state"] == "closed"


async def test_a_cancelled_call_in_flight_gives_its_permission_back(world: World) -> None:
    stage = world.stage(probes=1)
    await world.trip(stage)
    world.now += 10
    asked = asyncio.Event()

    async def hang(exchange: Exchange) -> Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(stage(Exchange("GET", b"/a/x", service="a"), hang))
    await asked.wait()
    assert (await world.send(stage))[0].status == 503
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await world.send(stage))[0].status == 200


async def test_exactly_the_probes_of_a_thousand_concurrent_exchanges(world: World) -> None:
    stage = world.stage(probes=3)
    await world.trip(stage)
    world.now += 10
    forwarded = 0
    go = asyncio.Event()

    async def service(exchange: Exchange) -> Response:
        nonlocal forwarded
        forwarded += 1
        await go.wait()
        return Response(200)

    tasks = [
        asyncio.ensure_future(stage(Exchange("GET", b"/a/x", service="a"), service)) for _ in range(1000)
    ]
    done, waiting = set[Any](), set[Any](tasks)
    while len(done) < 997:
        done, waiting = await asyncio.wait(waiting | done, return_when="FIRST_COMPLETED")
    assert forwarded == 3
    go.set()
    statuses = [response.status for response in await asyncio.gather(*tasks)]
    assert sorted(statuses) == [200] * 3 + [503] * 997
    assert world.changes() == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


# -- when it is recorded -------------------------------------------------------------------------------------


async def test_a_streamed_success_counts_at_its_end(world: World) -> None:
    stage = world.stage()
    await world.send(stage, 500)
    response, _ = await world.send(stage, streaming())
    assert failures(stage) == 1
    response.end()
    assert failures(stage) == 0


async def test_a_body_that_breaks_off_is_a_failure(world: World) -> None:
    stage = world.stage()
    for _ in range(2):
        response, _ = await world.send(stage, streaming())
        response.end(ConnectionResetError())
    assert stage.snapshot()["services"]["a"]["state"] == "open"


async def test_a_client_that_leaves_during_the_body_is_neither(world: World) -> None:
    stage = world.stage(probes=1)
    await world.trip(stage)
    world.now += 10
    response, _ = await world.send(stage, streaming())
    assert (await world.send(stage))[0].status == 503
    response.end(asyncio.CancelledError())
    assert stage.snapshot()["services"]["a"]["state"] == "half_open"
    assert (await world.send(stage))[0].status == 200


async def test_a_failure_counts_at_the_head_and_only_once(world: World) -> None:
    stage = world.stage(failures=3)
    response, _ = await world.send(stage, streaming(500))
    assert failures(stage) == 1
    response.end(ConnectionResetError())
    assert failures(stage) == 1


async def test_a_websocket_has_succeeded_once_it_is_open(world: World) -> None:
    class Open:
        subprotocol = None

        async def aclose(self, code: int = 1001, reason: str = "") -> None: ...

    stage = world.stage()
    await world.send(stage, 500)
    response, _ = await world.send(stage, Response(101, tunnel=Open()), kind="websocket")
    assert failures(stage) == 0
    response.end(ConnectionResetError())
    assert failures(stage) == 0


async def test_slow_is_measured_to_the_head_not_to_the_end(world: World) -> None:
    stage = world.stage(use="failure_rate", minimum_calls=1, slow_call=1.0, slow_percent=100)
    response, _ = await world.send(stage, streaming())
    world.now += 60
    response.end()
    assert stage.snapshot()["services"]["a"]["state"] == "closed"

    async def late(exchange: Exchange) -> Response:
        world.now += 1.5
        return Response(200)

    stage = world.stage(use="failure_rate", minimum_calls=1, slow_call=1.0, slow_percent=100)
    await stage(Exchange("GET", b"/a/x", service="a", body=Body()), late)
    assert stage.snapshot()["services"]["a"]["state"] == "open"


# -- what viewers see ----------------------------------------------------------------------------------------


async def test_every_change_is_told_exactly_once_however_short(world: World) -> None:
    stage = world.stage(probes=1)
    await world.trip(stage)
    world.now += 10
    await world.send(stage, 500)  # half-open for no time at all
    world.now += 10
    await world.send(stage, 200)
    stage.snapshot()
    assert world.events == [
        {"kind": "breaker", "service": "a", "from": "closed", "to": "open", "reason": "2 failures in a row"},
        {"kind": "breaker", "service": "a", "from": "open", "to": "half_open", "reason": "was open for 10 s"},
        {"kind": "breaker", "service": "a", "from": "half_open", "to": "open", "reason": "a probe failed"},
        {"kind": "breaker", "service": "a", "from": "open", "to": "half_open", "reason": "was open for 10 s"},
        {
            "kind": "breaker",
            "service": "a",
            "from": "half_open",
            "to": "closed",
            "reason": "1 of 1 probes succeeded",
        },
    ]


async def test_looking_shows_the_end_of_the_wait_without_traffic(world: World) -> None:
    stage = world.stage()
    await world.trip(stage)
    world.now += 9.9
    assert stage.snapshot()["services"]["a"]["state"] == "open"
    world.now += 0.1
    assert stage.snapshot()["services"]["a"]["state"] == "half_open"
    stage.snapshot()
    assert world.changes() == [("closed", "open"), ("open", "half_open")]


async def test_snapshot(world: World) -> None:
    stage = world.stage()
    assert stage.snapshot()["services"]["b"]["state"] == "closed"
    await world.trip(stage)
    world.now += 4
    await world.send(stage)
    assert stage.snapshot()["services"]["a"] == {
        "state": "open", "forced": False, "since": 1e9 + 1000, "failures": 0, "failures_total": 2,
        "rejected": 1, "retry_after": 6.0, "probes_in_flight": 0, "probes_succeeded": 0,
    }  # fmt: skip
    json.dumps(stage.snapshot())


async def test_a_service_that_is_gone_is_forgotten(world: World) -> None:
    stage = world.stage()
    await world.trip(stage)
    del world.services["a"]
    assert set(stage.snapshot()["services"]) == {"b"}
    world.services["a"] = A
    assert (await world.send(stage))[0].status == 200


# -- control -------------------------------------------------------------------------------------------------


async def test_forced_open_refuses_until_auto(world: World) -> None:
    stage = world.stage()
    stage.force("a", "open")
    world.now += 1000
    response, exchange = await world.send(stage)
    assert (response.status, response.header(b"retry-after"), exchange.breaker) == (503, b"10", "open")
    assert stage.snapshot()["services"]["a"]["forced"] is True
    stage.force("a", "auto")
    assert (await world.send(stage))[0].status == 200
    assert stage.snapshot()["services"]["a"]["forced"] is False
    assert [event["reason"] for event in world.events] == ["forced open", "no longer forced"]


async def test_forced_closed_lets_everything_through_and_auto_starts_with_no_memory(world: World) -> None:
    stage = world.stage()
    await world.trip(stage)
    stage.force("a", "closed")
    for _ in range(10):
        assert (await world.send(stage, 500))[0].status == 500
    assert stage.snapshot()["services"]["a"]["failures"] == 10
    stage.force("a", "auto")
    assert (await world.send(stage, 500))[0].status == 500
    assert (await world.send(stage, 500))[0].status == 500
    assert (await world.send(stage, 500))[0].status == 503
    assert world.changes() == [("closed", "open"), ("open", "closed"), ("closed", "open")]


async def test_a_result_from_before_the_force_does_not_reach_the_breaker_after_it(world: World) -> None:
    stage = world.stage(failures=1)
    response, _ = await world.send(stage, streaming())
    stage.force("a", "open")
    stage.force("a", "auto")
    response.end(ConnectionResetError())
    assert stage.snapshot()["services"]["a"]["state"] == "closed"


async def test_nor_where_the_force_comes_before_the_head(world: World) -> None:
    stage = world.stage(failures=1)

    async def meanwhile(exchange: Exchange) -> Response:
        stage.force("a", "open")
        stage.force("a", "auto")
        return streaming()

    response = await stage(Exchange("GET", b"/a/x", service="a"), meanwhile)
    response.end(ConnectionResetError())
    assert stage.snapshot()["services"]["a"]["state"] == "closed"


async def test_auto_leaves_a_breaker_alone_that_is_not_forced(world: World) -> None:
    stage = world.stage()
    await world.trip(stage)
    stage.force("a", "auto")
    assert stage.snapshot()["services"]["a"]["state"] == "open"


def test_force_refuses_what_there_is_not(world: World) -> None:
    stage = world.stage()
    with pytest.raises(KeyError):
        stage.force("invented", "open")
    with pytest.raises(ValueError, match="valid: open, closed, auto"):
        stage.force("a", "ajar")  # type: ignore[arg-type]


# -- swapping ------------------------------------------------------------------------------------------------


async def test_adopt_goes_on_in_the_same_state_with_new_options(world: World) -> None:
    old = world.stage()
    await world.trip(old)
    await world.send(old)
    old.force("b", "open")
    world.events.clear()
    new = world.stage(probes=1)
    new.adopt(old)
    assert world.events == []
    before, after = old.snapshot()["services"], new.snapshot()["services"]
    assert after["a"] == before["a"]
    assert after["b"]["state"] == "open"
    assert after["b"]["forced"] is True
    world.now += 10
    assert (await world.send(new))[0].status == 200
    assert new.snapshot()["services"]["a"]["state"] == "closed"


async def test_adopt_from_another_class_starts_closed_and_says_so(world: World) -> None:
    old = world.stage()
    await world.trip(old)
    new = world.stage(use="failure_rate")
    new.adopt(old)
    assert world.changes()[-1] == ("open", "closed")
    assert world.events[-1]["reason"] == "another breaker took over"
    assert new.snapshot()["services"]["a"]["failures_total"] == 2


class Minimal:
    """The least that a student's breaker is: opens at the first failure, for ever."""

    def __init__(self, open_for: float) -> None:
        self.open_for = open_for
        self.broken = False

    def acquire(self, now: float) -> object | None:
        return None if self.broken else "go"

    def success(self, permission: object, now: float, duration: float) -> None: ...

    def failure(self, permission: object, now: float, duration: float) -> None:
        self.broken = True

    def release(self, permission: object, now: float) -> None: ...

    def state(self, now: float) -> str:
        return "open" if self.broken else "closed"

    def retry_after(self, now: float) -> float:
        return self.open_for


async def test_a_class_with_the_protocol_and_no_more_is_enough(world: World) -> None:
    stage = world.stage(core=Minimal, open_for=30)
    await world.send(stage, 500)
    response, _ = await world.send(stage)
    assert response.header(b"retry-after") == b"30"
    assert world.events[0]["reason"] == ""
    assert stage.snapshot()["services"]["a"] == {
        "state": "open", "forced": False, "since": 1e9 + 1000, "failures": 0, "failures_total": 1,
        "rejected": 1, "retry_after": 30.0,
    }  # fmt: skip
    again = world.stage(core=Minimal)
    again.adopt(stage)
    assert again.snapshot()["services"]["a"]["state"] == "closed"


def test_a_class_that_cannot_be_made_is_refused_at_once(world: World) -> None:
    class Broken(Consecutive):
        def __init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(plug.PlugError, match="Broken cannot be made"):
        world.stage(core=Broken)
    with pytest.raises(plug.PlugError, match="did you mean 'consecutive'"):
        world.stage(use="consecutiv")


# -- a class on probation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["consecutive", "failure_rate"])
def test_the_built_in_classes_keep_the_promises(world: World, use: str) -> None:
    CircuitBreaker.prove(BreakerSettings(use=use), world.context)
    CircuitBreaker.prove(
        BreakerSettings(use=use, failures=5000, window=5000, minimum_calls=5000), world.context
    )
    assert world.events == []


class Mute(Consecutive):
    release = None  # type: ignore[assignment]


class BornOpen(Consecutive):
    def state(self, now: float) -> Any:
        return "OPEN"


class Refusing(Consecutive):
    def acquire(self, now: float) -> Any:
        return None


class Trusting(Consecutive):
    def failure(self, permission: Any, now: float, duration: float) -> None: ...


class Blind(Consecutive):
    def state(self, now: float) -> Any:
        super().state(now)
        return "closed"


class Timeless(Consecutive):
    def retry_after(self, now: float) -> float:
        return float("inf")


class Liar(Consecutive):
    def retry_after(self, now: float) -> float:
        return super().retry_after(now) / 2


class Forgetful(Consecutive):
    def state(self, now: float) -> Any:
        return "closed" if super().state(now) == "half_open" else super().state(now)

    def acquire(self, now: float) -> Any:
        return super().acquire(now) if super().state(now) == "closed" or now else None


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Mute, "Mute has no method release(permission, now)"),
        (BornOpen, "the state of a new breaker is 'OPEN', not 'closed'"),
        (Refusing, "acquire() of a new breaker gives no permission"),
        (Trusting, "acquire() still gives permissions after 1000 failures in a row"),
        (Blind, "the state of a breaker that refuses is 'closed', not 'open'"),
        (Timeless, "retry_after() of an open breaker is inf, seconds were expected"),
        (Liar, "retry_after() was 5 s, but then acquire() gives no permission"),
        (Forgetful, "the state of a breaker with a probe out is 'closed', not 'half_open'"),
    ],
)
def test_a_broken_promise_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, cls: type[Any], complaint: str
) -> None:
    monkeypatch.setattr(plug, "find", lambda use, built_in: cls)
    with pytest.raises(plug.PlugError) as caught:
        CircuitBreaker.prove(BreakerSettings(use="mine:Class"), world.context)
    assert str(caught.value) == f"use: mine:Class: {complaint}"


@pytest.mark.parametrize("gone", [False, True], ids=["at the end", "client gone before the head"])
async def test_a_permission_is_given_back_under_guard(world: World, gone: bool) -> None:
    class Broken(Consecutive):
        def success(self, permission: Any, now: float, duration: float) -> None:
            raise ZeroDivisionError

        def release(self, permission: Any, now: float) -> None:
            raise ZeroDivisionError

    caught: list[Exception] = []

    def guard(function: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                function(*arguments)
            except ZeroDivisionError as mistake:
                caught.append(mistake)

        return guarded

    world.context = replace(world.context, guard=guard)
    stage = world.stage(core=Broken)
    if gone:
        with pytest.raises(asyncio.CancelledError):
            await world.send(stage, asyncio.CancelledError())
    else:
        response, _ = await world.send(stage, streaming())
        assert not caught
        response.end()
    assert len(caught) == 1


def test_works_with_the_default_context() -> None:
    stage = CircuitBreaker(BreakerSettings(), replace(Context(), services={"a": A}))
    assert stage.snapshot()["services"]["a"]["state"] == "closed"
