from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

import pytest

from lab.model import Exchange, Handler, Response
from lab.policies.guard import PolicyTimeout, Trial, Watchdog, bounded, watched
from lab.settings import RateLimitSettings


def spin() -> None:
    """Hold the thread for ever, with the pointless net that a beginner would write around it."""
    while True:
        try:
            sum(range(1000))
        except Exception:
            pass


class Plain:
    section: ClassVar[str] = "x"

    def __init__(
        self, before: Callable[[], Any] = lambda: None, after: Callable[[], Any] = lambda: None
    ) -> None:
        self.before, self.after = before, after

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        self.before()
        response = await call_next(exchange)
        replaced = self.after()
        return response if replaced is None else replaced

    def snapshot(self) -> dict[str, Any]:
        return {"plain": True}

    def adopt(self, old: Self) -> None:
        pass


class World:
    """A trial over a stage, with a last good one, and a count of what reached the service."""

    def __init__(self, stage: Plain, bound: float = 0.05) -> None:
        self.failures: list[BaseException] = []
        self.calls = 0
        self.good_calls = 0

        def good() -> None:
            self.good_calls += 1

        self.trial = Trial(stage, Plain(good), RateLimitSettings(), self.failed, Watchdog(bound))

    def failed(self, trial: Trial, error: BaseException) -> None:
        self.failures.append(error)

    async def service(self, exchange: Exchange) -> Response:
        self.calls += 1
        await asyncio.sleep(0)
        return Response(200)

    async def run(self) -> Response:
        return await asyncio.wait_for(self.trial(Exchange("GET", b"/a"), self.service), 10)


def raise_it() -> None:
    raise ZeroDivisionError("mine")


async def test_a_stage_that_behaves_is_let_be() -> None:
    world = World(Plain())
    assert (await world.run()).status == 200
    assert (world.failures, world.calls, world.good_calls) == ([], 1, 0)
    assert world.trial.snapshot() == {"plain": True}


async def test_one_that_raises_before_the_service_was_asked_is_replaced_for_this_exchange_too() -> None:
    world = World(Plain(before=raise_it))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [ZeroDivisionError]
    assert (world.calls, world.good_calls) == (1, 1)


async def test_one_that_raises_after_the_service_answered_does_not_ask_it_again() -> None:
    world = World(Plain(after=raise_it))
    assert (await world.run()).status == 200
    assert (world.calls, world.good_calls) == (1, 0)
    assert len(world.failures) == 1


async def test_one_that_returns_something_else_is_a_failure() -> None:
    world = World(Plain(after=lambda: "a response, honestly"))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [TypeError]


async def test_one_that_never_comes_back_is_interrupted() -> None:
    world = World(Plain(before=spin))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [PolicyTimeout]
    assert world.good_calls == 1


@pytest.mark.skipif(not hasattr(__import__("signal"), "pthread_kill"), reason="needs signals to threads")
async def test_one_that_sleeps_in_the_event_loop_is_interrupted_too() -> None:
    block = getattr(time, "sleep")  # noqa: B009  (a blocking call, as a student would make it)
    world = World(Plain(before=lambda: block(300)))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [PolicyTimeout]


async def test_waiting_for_the_service_is_not_holding_the_loop() -> None:
    world = World(Plain(), bound=0.02)
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        asked.set()
        await go.wait()
        return Response(200)

    task = asyncio.ensure_future(world.trial(Exchange("GET", b"/a"), slow))
    await asked.wait()
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, go.set)
    assert (await task).status == 200
    assert world.failures == []


async def test_what_the_service_s_side_raises_is_not_the_stage_s_mistake() -> None:
    world = World(Plain())

    async def broken(exchange: Exchange) -> Response:
        raise KeyError("downstream")

    with pytest.raises(KeyError):
        await world.trial(Exchange("GET", b"/a"), broken)
    assert world.failures == []


async def test_a_cancelled_exchange_is_not_the_stage_s_mistake_either() -> None:
    world = World(Plain())
    asked = asyncio.Event()

    async def wait(exchange: Exchange) -> Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(world.trial(Exchange("GET", b"/a"), wait))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.failures == []


async def test_an_interruption_hits_nobody_else() -> None:
    watchdog = Watchdog(0.001)

    async def nothing() -> int:
        return 1

    for _ in range(300):  # steps end at every moment of the watchdog's turn
        watchdog.begin()
        until = time.monotonic() + 0.0012
        try:
            while time.monotonic() < until:
                pass
        except PolicyTimeout:
            pass
        finally:
            watchdog.end()
        assert await nothing() == 1
    watchdog.stop()


async def test_a_function_in_a_thread_is_bounded() -> None:
    assert await bounded(lambda: 7, 1.0) == 7
    with pytest.raises(ZeroDivisionError):
        await bounded(raise_it, 1.0)
    with pytest.raises(PolicyTimeout):
        await bounded(spin, 0.05)


async def test_watching_returns_what_the_work_returns_and_throws_into_it() -> None:
    async def work() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return "timed out inside"
        raise AssertionError

    watchdog = Watchdog(5)
    assert await watched(work(), watchdog) == "timed out inside"
    watchdog.stop()


async def test_a_function_that_blocks_for_good_is_left_behind() -> None:
    block, entered = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        block.wait(30)  # no bytecode is run in here: nothing can interrupt it

    before = set(threading.enumerate())
    with pytest.raises(PolicyTimeout, match="did not come back"):
        await bounded(wait, 0.02)
    assert entered.is_set()
    block.set()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "policy-trial":
            await asyncio.to_thread(thread.join, 10)
    await asyncio.sleep(0)  # what it says now is heard by nobody, and hurts nobody


async def test_a_client_that_goes_away_is_no_mistake_of_the_stage() -> None:
    world = World(Plain())
    asked = asyncio.Event()

    async def never(exchange: Exchange) -> Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(world.trial(Exchange("GET", b"/a"), never))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.failures == []


def test_a_trial_s_stage_takes_over_what_the_stage_before_it_knew() -> None:
    taken: list[object] = []

    class Heir(Plain):
        def adopt(self, old: Self) -> None:
            taken.append(old)

    before, after = World(Plain()).trial, World(Heir()).trial
    after.adopt(before)
    assert taken == [before.stage]
