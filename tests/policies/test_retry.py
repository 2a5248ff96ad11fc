from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.model import Body, Exchange, Response, problem
from lab.policies import Context, plug
from lab.policies.retry import FullJitter, Retry, RetryBudget, retry_after, worth_retrying
from lab.settings import RetrySettings, ServiceSettings

WALL = 1_790_000_000.0


# -- the pause -----------------------------------------------------------------------------------------------


def test_the_range_doubles_until_its_maximum() -> None:
    jitter = FullJitter(backoff=0.05, backoff_max=0.3)
    nearly_one = 1 - 2**-53
    assert [round(jitter.pause(n, nearly_one), 9) for n in (1, 2, 3, 4, 5)] == [0.05, 0.1, 0.2, 0.3, 0.3]
    assert [jitter.pause(n, 0.0) for n in (1, 5)] == [0.0, 0.0]


@settings(deadline=None)
@given(retry=st.integers(1, 10**9), draw=st.floats(0, 1, exclude_max=True), first=st.floats(1e-6, 1e3))
def test_a_pause_is_never_negative_nor_above_the_maximum(retry: int, draw: float, first: float) -> None:
    assert 0.0 <= FullJitter(first, 1.0).pause(retry, draw) <= 1.0


# -- the budget ----------------------------------------------------------------------------------------------


def test_a_fifth_of_the_exchanges_may_be_retried() -> None:
    budget = RetryBudget(20, minimum=1)
    for _ in range(100):
        budget.exchange(5.0)
    assert [budget.take(5.0) for _ in range(30)] == [True] * 20 + [False] * 10
    assert budget.used(5.0) == budget.allowance(5.0) == 20


def test_a_lone_request_may_be_retried() -> None:
    budget = RetryBudget(20, minimum=3)
    budget.exchange(5.0)
    assert [budget.take(5.0) for _ in range(4)] == [True, True, True, False]


def test_nothing_is_lent_at_zero_percent() -> None:
    budget = RetryBudget(0)
    for _ in range(1000):
        budget.exchange(0.0)
    assert not budget.take(0.0)
    assert not budget.exhausted  # nothing there that could run out


def test_exchanges_and_retries_leave_the_window() -> None:
    budget = RetryBudget(50, minimum=1, window=10)
    for _ in range(10):
        budget.exchange(100.5)
    for _ in range(5):
        assert budget.take(104.0)
    assert budget.allowance(109.9) == 5
    assert budget.allowance(110.0) == 1  # the exchanges are gone,
    assert budget.used(113.9) == 5  # the retries not yet
    assert budget.used(114.0) == 0
    budget.exchange(1e6)
    assert budget.take(1e6)


def test_restored_once_half_of_the_allowance_is_free() -> None:
    budget = RetryBudget(50, minimum=4, window=10)
    assert not budget.restored(0.0)
    for second in range(4):
        assert budget.take(second)
    assert not budget.take(4.0)
    assert not budget.restored(10.0)  # three of four still used
    assert budget.restored(11.0)
    assert not budget.restored(11.0)


def test_adopt_goes_on_with_the_counts() -> None:
    old = RetryBudget(20, minimum=2)
    assert [old.take(7.0) for _ in range(3)] == [True, True, False]
    new = RetryBudget(20, minimum=3)
    new.adopt(old)
    assert new.exhausted
    assert [new.take(7.0) for _ in range(2)] == [True, False]
    assert old.used(7.0) == 2


@settings(deadline=None)
@given(
    percent=st.integers(0, 100),
    minimum=st.integers(0, 5),
    events=st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 4.0, 25.0]), st.booleans()), max_size=150),
)
def test_never_more_than_the_share_of_the_window(
    percent: int, minimum: int, events: list[tuple[float, bool]]
) -> None:
    budget = RetryBudget(percent, minimum=minimum, window=10)
    now = 0.0
    exchanges: list[int] = []
    retries: list[int] = []
    for pause, is_exchange in events:
        now += pause
        recent = range(int(now) - 9, int(now) + 1)
        if is_exchange:
            budget.exchange(now)
            exchanges.append(int(now))
        else:
            paid = sum(second in recent for second in exchanges) * percent // 100
            least = minimum if percent else 0
            expected = sum(second in recent for second in retries) < max(least, paid)
            assert budget.take(now) == expected
            if expected:
                retries.append(int(now))


# -- Retry-After ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"3", 3.0),
        (b" 0 ", 0.0),
        (formatdate(WALL + 5, usegmt=True).encode(), 5.0),
        (formatdate(WALL - 5, usegmt=True).encode(), 0.0),
        (formatdate(WALL + 5).encode(), 5.0),
        (b"soon", 0.0),
        (b"-1", 0.0),
        (b"1.5", 0.0),
        (b"", 0.0),
        (b"9" * 400, float("inf")),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: bytes, expected: float) -> None:
    assert retry_after(Response(503, [(b"retry-after", value)]), WALL) == expected


def test_no_retry_after_is_no_wait() -> None:
    assert retry_after(Response(503), WALL) == 0.0


@settings(deadline=None)
@given(
    value=st.one_of(st.binary(max_size=40), st.text("0123456789 :,-+GMTJanMonZ", max_size=40).map(str.encode))
)
@example(b"Mon, 01 Jan 99999 00:00:00 GMT")
@example(b"Mon, 01 Jan 0001 00:00:00 GMT")
@example(b"Mon, 01 Jan 2026 00:00:00 +9999999999")
def test_no_retry_after_is_too_odd(value: bytes) -> None:
    assert retry_after(Response(503, [(b"retry-after", value)]), WALL) >= 0.0


# -- what is worth another attempt ---------------------------------------------------------------------------


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


def exchange(method: str = "GET", **more: Any) -> Exchange:
    return Exchange(method, b"/a/x", service="a", **more)


def gateway(status: int, failure: str) -> Response:
    return problem(status, "x", "", failure=failure)


REFUSED = "connection_refused"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_idempotent_methods(method: str) -> None:
    assert worth_retrying(exchange(method), gateway(502, REFUSED))


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "TRACE", "LOCK"])
def test_other_methods_are_never_sent_twice(method: str) -> None:
    assert not worth_retrying(exchange(method), gateway(502, REFUSED))
    assert not worth_retrying(exchange(method), Response(503))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (Response(502), True),
        (Response(503), True),
        (Response(504), True),
        (Response(500), False),
        (Response(501), False),
        (Response(429), False),
        (Response(404), False),
        (Response(200), False),
        (gateway(502, "connection_terminated"), True),
        (gateway(504, "connection_timeout"), True),
        (gateway(504, "connection_read_timeout"), True),
        (gateway(502, "http_response_incomplete"), True),
        (gateway(502, "http_protocol_error"), True),
        (gateway(504, "http_response_timeout"), False),
        (gateway(503, "connection_limit_reached"), False),
        (gateway(503, "destination_unavailable"), False),
        (gateway(502, "tls_certificate_error"), False),
    ],
)
def test_which_answers(response: Response, expected: bool) -> None:
    assert worth_retrying(exchange(), response) is expected


async def test_only_while_the_body_can_be_read_again() -> None:
    body = Body(chunks(60, 60), length=120, keep=100)
    put = exchange("PUT", body=body)
    assert worth_retrying(put, gateway(502, REFUSED))
    async for _ in body:
        pass
    assert not worth_retrying(put, gateway(502, REFUSED))


def test_of_a_websocket_only_the_dial() -> None:
    handshake = exchange(kind="websocket")
    assert worth_retrying(handshake, gateway(502, REFUSED))
    assert not worth_retrying(handshake, gateway(502, "connection_terminated"))
    assert not worth_retrying(handshake, Response(503))


# -- the stage -----------------------------------------------------------------------------------------------


class World:
    """A clock that moves only when somebody sleeps or the service takes its time."""

    def __init__(self, *answers: Response, retries: int = 3, timeout: float = 10.0, **options: Any) -> None:
        self.now = 50.0
        self.answers = list(answers)
        self.given: list[Response] = []
        self.pauses: list[float] = []
        self.takes = 0.0
        self.draw = 0.5
        self.events: list[dict[str, Any]] = []
        self.services = {
            "a": ServiceSettings(url="http://127.0.0.1:1", retries=retries, timeout=timeout),
            "b": ServiceSettings(url="http://127.0.0.1:2"),
        }
        self.context = Context(
            services=self.services,
            clock=lambda: self.now,
            wall=lambda: WALL,
            sleep=self.sleep,
            random=lambda: self.draw,
            emit=lambda kind, **data: self.events.append({"kind": kind, **data}),
        )
        self.stage = Retry(RetrySettings(**{"budget_minimum": 10} | options), self.context)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def call_next(self, exchange: Exchange) -> Response:
        exchange.attempts += 1
        self.now += self.takes
        response = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.given.append(response)
        return response

    async def send(self, method: str = "GET", service: str = "a", **more: Any) -> tuple[Response, Exchange]:
        exchange = Exchange(method, b"/a/x", service=service, **more)
        return await self.stage(exchange, self.call_next), exchange

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stage.snapshot()["services"]["a"]
        return found


def refused() -> Response:
    return gateway(502, REFUSED)


async def test_a_short_failure_stays_unseen() -> None:
    world = World(refused(), refused(), Response(200))
    response, exchange = await world.send()
    assert response.status == 200
    assert exchange.attempts == 3
    assert world.pauses == [0.025, 0.05]  # half of 0.05, half of 0.1
    assert world.figures()["retries"] == 2


async def test_no_more_attempts_than_configured() -> None:
    world = World(refused(), retries=2)
    response, exchange = await world.send()
    assert response.status == 502
    assert exchange.attempts == 3


async def test_none_at_all_with_retries_0() -> None:
    world = World(refused(), retries=0)
    _, exchange = await world.send()
    assert exchange.attempts == 1


async def test_a_post_is_sent_once() -> None:
    world = World(Response(503), Response(200))
    response, exchange = await world.send("POST")
    assert response.status == 503
    assert exchange.attempts == 1


async def test_a_dropped_response_is_closed_and_the_one_passed_on_is_not() -> None:
    ended: list[str] = []
    first, second = Response(503, stream=chunks(1)), Response(200, stream=chunks(1))
    first.on_end(lambda error: ended.append(f"first {error}"))
    second.on_end(lambda error: ended.append(f"second {error}"))
    world = World(first, second)
    response, _ = await world.send()
    assert response is second
    assert ended == ["first None"]
    assert first.stream is None
    assert second.stream is not None


async def test_the_body_is_sent_again_from_its_first_byte() -> None:
    world = World(Response(503), Response(200))
    seen: list[bytes] = []
    answer = world.call_next

    async def read(exchange: Exchange) -> Response:
        seen.append(b"".join([chunk async for chunk in exchange.body]))
        return await answer(exchange)

    put = Exchange("PUT", b"/a/x", service="a", body=Body(chunks(2, 3), length=5))
    assert (await world.stage(put, read)).status == 200
    assert seen == [b"xxxxx", b"xxxxx"]


# -- the deadline --------------------------------------------------------------------------------------------


async def test_sets_the_deadline_where_there_is_none() -> None:
    world = World(Response(200), timeout=7.0)
    assert (await world.send())[1].deadline == 57.0
    earlier = Exchange("GET", b"/a/x", service="a")
    earlier.deadline = 51.0
    await world.stage(earlier, world.call_next)
    assert earlier.deadline == 51.0


async def test_one_deadline_for_all_attempts_and_pauses_together() -> None:
    world = World(refused(), retries=1000, timeout=10.0)
    world.takes = 3.0
    _, exchange = await world.send()
    assert exchange.attempts == 4  # at 3, 6 and 9 seconds there is time left, at 12 not
    assert len(world.pauses) == 3
    assert exchange.deadline == 60.0


async def test_a_pause_that_would_pass_the_deadline_is_not_begun() -> None:
    world = World(refused(), timeout=2.0, backoff=8.0, backoff_max=8.0)
    response, exchange = await world.send()
    assert (response.status, exchange.attempts, world.pauses) == (502, 1, [])
    assert response.header(b"content-type") == b"application/problem+json"


async def test_retry_after_of_the_service_is_respected() -> None:
    world = World(Response(503, [(b"retry-after", b"4")]), Response(200))
    assert (await world.send())[0].status == 200
    assert world.pauses == [4.0]


async def test_a_retry_after_that_does_not_fit_gives_up_and_passes_the_answer_on() -> None:
    answer = Response(503, [(b"retry-after", b"10")], stream=chunks(1))
    world = World(answer, timeout=10.0)
    response, exchange = await world.send()
    assert response is answer
    assert response.stream is not None
    assert (exchange.attempts, world.pauses) == (1, [])
    assert world.figures()["used"] == 0  # what is not tried is not paid for


async def test_a_short_retry_after_does_not_shorten_the_pause() -> None:
    world = World(Response(503, [(b"retry-after", b"0")]), Response(200))
    await world.send()
    assert world.pauses == [0.025]


async def test_a_client_that_leaves_during_the_pause_ends_it() -> None:
    world = World(Response(503, stream=chunks(1)), Response(200))
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    world.stage._sleep = sleep  # type: ignore[method-assign]
    task = asyncio.ensure_future(world.send())
    await asleep.wait()
    assert world.given[0].stream is None  # let go of before the pause, not after it
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(world.given) == 1


# -- the budget in use ---------------------------------------------------------------------------------------


async def test_a_failing_service_gets_a_fifth_more_not_twice_as_much() -> None:
    world = World(refused(), retries=3)
    for _ in range(100):
        await world.send()
        world.now += 0.01
    assert len(world.given) == 120
    figures = world.figures()
    assert (figures["retries"], figures["used"], figures["allowance"]) == (20, 20, 20)
    assert figures["exhausted"] is True
    assert figures["denied"] == 97  # the first three had all their retries, no other had
    json.dumps(world.stage.snapshot())


async def test_services_have_budgets_of_their_own() -> None:
    world = World(refused())
    for _ in range(20):
        await world.send()
    before = len(world.given)
    await world.send(service="b")
    assert len(world.given) == before + 2


async def test_exhausted_and_restored_are_told_once_each() -> None:
    world = World(refused(), retries=1)
    for _ in range(20):
        await world.send()
    assert world.events == [{"kind": "retry_budget", "service": "a", "action": "exhausted"}]
    world.now += 20
    await world.send()
    await world.send()
    assert world.events[1:] == [{"kind": "retry_budget", "service": "a", "action": "restored"}]


async def test_looking_shows_that_the_budget_is_back() -> None:
    world = World(refused(), retries=1)
    for _ in range(20):
        await world.send()
    world.now += 20
    assert world.figures()["exhausted"] is False
    assert [event["action"] for event in world.events] == ["exhausted", "restored"]


async def test_so_many_retries_are_paid_for_as_the_budget_allows_at_least() -> None:
    world = World(refused(), retries=1, budget_minimum=3)
    attempts = [(await world.send())[1].attempts for _ in range(5)]
    assert attempts == [2, 2, 2, 1, 1]


async def test_no_budget_no_retry_and_no_event() -> None:
    world = World(refused(), budget_percent=0)
    _, exchange = await world.send()
    assert exchange.attempts == 1
    assert world.events == []


# -- the rest ------------------------------------------------------------------------------------------------


async def test_an_unknown_service_passes() -> None:
    world = World(refused())
    response, exchange = await world.send(service="invented")
    assert (response.status, exchange.attempts, exchange.deadline) == (502, 1, None)


async def test_adopt_goes_on_with_budgets_and_totals() -> None:
    world = World(refused(), retries=1)
    for _ in range(20):
        await world.send()
    before = world.figures()
    old, world.stage = world.stage, Retry(RetrySettings(backoff=0.1, budget_minimum=10), world.context)
    world.stage.adopt(old)
    assert world.figures() == before
    assert len(world.events) == 1


class Always:
    """A student's backoff."""

    def __init__(self, backoff: float) -> None:
        self.backoff = backoff

    def pause(self, retry: int, draw: float) -> float:
        return self.backoff * retry


@pytest.mark.parametrize("core", [Always, Always(2.0)])
async def test_another_backoff_as_a_class_or_an_object(core: Any) -> None:
    world = World(refused(), refused(), Response(200))
    world.stage = Retry(RetrySettings(backoff=2.0), world.context, core=core)
    await world.send()
    assert world.pauses == [2.0, 4.0]


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(plug.PlugError, match="did you mean 'backoff'"):
        World(Response(200), use="backof")


# -- a class on probation ------------------------------------------------------------------------------------


def test_the_built_in_class_keeps_the_promises() -> None:
    Retry.prove(RetrySettings(), Context())


class Mute:
    pass


class Impatient(FullJitter):
    def pause(self, retry: int, draw: float) -> float:
        return 1.0 - retry


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Mute, "Mute has no method pause(retry, draw)"),
        (Impatient, "pause(2, 0.0) is -1.0, no number of seconds"),
    ],
)
def test_a_broken_promise_is_named(monkeypatch: pytest.MonkeyPatch, cls: type[Any], complaint: str) -> None:
    monkeypatch.setattr(plug, "find", lambda use, built_in: cls)
    with pytest.raises(plug.PlugError) as caught:
        Retry.prove(RetrySettings(use="mine:Class"), Context())
    assert str(caught.value) == f"use: mine:Class: {complaint}"
