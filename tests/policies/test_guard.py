from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import pytest

from lab.model import Exchange, Handler, Response
from lab.policies import Guard
from lab.policies.guard import PolicyTimeout, Trial, Watchdog, bounded, stepwise
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
        return {"stage": "plain"}

    def adopt(self, old: Self) -> None:
        pass


class World:
    """A trial over a stage, with a last good one, and a count of what reached the service."""

    def __init__(self, stage: Plain, bound: float = 0.5, watchdog: Watchdog | None = None) -> None:
        self.failures: list[BaseException] = []
        self.calls = 0
        self.good_calls = 0

        def good() -> None:
            self.good_calls += 1

        def make(guard: Guard) -> Plain:
            self.guard = guard
            return stage

        watchdog = watchdog or Watchdog(bound)
        self.trial = Trial(make, Plain(good), RateLimitSettings(), self.failed, watchdog)

    def failed(self, trial: Trial, error: BaseException) -> None:
        self.failures.append(error)

    async def service(self, exchange: Exchange) -> Response:
        self.calls += 1
        await asyncio.sleep(0)
        return Response(200)

    async def run(self) -> Response:
        return await asyncio.wait_for(self.trial(Exchange("GET", b"/a"), self.service), 60)


def raise_it() -> None:
    raise ZeroDivisionError("mine")


async def test_a_stage_that_behaves_is_let_be() -> None:
    world = World(Plain())
    assert (await world.run()).status == 200
    assert (world.failures, world.calls, world.good_calls) == ([], 1, 0)
    assert world.trial.snapshot() == {"stage": "plain"}


async def test_one_that_raises_before_the_service_was_asked_is_replaced_for_this_exchange_too() -> None:
    world = World(Plain(before=raise_it))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [ZeroDivisionError]
    assert (world.calls, world.good_calls) == (1, 1)


async def test_one_that_raises_after_the_service_answered_does_not_ask_it_again() -> None:
    world = World(Plain(after=raise_it))
    assert (await world.run()).status == 200
    assert (world.calls, world.good_calls) == (1, 1)
    assert len(world.failures) == 1


class After(Plain):
    """Makes its mistake when the service has answered."""

    def __init__(self) -> None:
        super().__init__(after=raise_it)


async def take_over(good: Any, statuses: list[int]) -> tuple[Response, int]:
    """What comes of an exchange that `good` takes over, and how often the service was asked."""
    calls = 0

    async def service(exchange: Exchange) -> Response:
        nonlocal calls
        calls += 1
        return Response(statuses[calls - 1], content=b"%d" % calls)

    trial = Trial(lambda guard: After(), good, RateLimitSettings(), lambda trial, error: None)
    return await trial(Exchange("GET", b"/a"), service), calls


async def test_the_last_good_one_may_ask_again_where_that_is_its_task() -> None:
    class Again(Plain):
        async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
            response = await call_next(exchange)
            return await call_next(exchange) if response.status == 503 else response

    response, calls = await take_over(Again(), [503, 200])
    assert (response.status, response.content, calls) == (200, b"2", 2)
    response, calls = await take_over(Again(), [201])
    assert (response.status, response.content, calls) == (201, b"1", 1)


async def test_the_last_good_one_cannot_refuse_what_the_service_has_done() -> None:
    closed: list[BaseException | None] = []

    class Refuses(Plain):
        async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
            refusal = Response(429)
            refusal.on_end(closed.append)
            return refusal

    response, calls = await take_over(Refuses(), [201])
    assert (response.status, calls, closed) == (201, 1, [None])


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
    world = World(Plain(), bound=0.1)
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        asked.set()
        await go.wait()
        return Response(200)

    task = asyncio.ensure_future(world.trial(Exchange("GET", b"/a"), slow))
    await asked.wait()
    loop = asyncio.get_running_loop()
    loop.call_later(0.3, go.set)
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


@pytest.mark.usefixtures("untraced")
async def test_an_interruption_hits_nobody_else() -> None:
    watchdog = Watchdog(0.001)

    async def nothing() -> int:
        return 1

    for _ in range(300):  # steps end at every moment of the watchdog's turn
        with contextlib.suppress(PolicyTimeout):
            watchdog.call(busy, 0.0012)
        assert await nothing() == 1


async def test_a_function_in_a_thread_is_bounded() -> None:
    assert await bounded(lambda: 7, 1.0) == 7
    with pytest.raises(ZeroDivisionError):
        await bounded(raise_it, 1.0)
    with pytest.raises(PolicyTimeout, match=r"0\.05 s"):
        await bounded(spin, 0.05)


async def test_a_function_that_lets_no_interruption_pass_is_late_all_the_same() -> None:
    def deaf() -> int:
        until = time.monotonic() + 1.05
        while time.monotonic() < until:
            try:
                sum(range(1000))
            except BaseException:
                pass
        return 7

    with pytest.raises(PolicyTimeout, match="1 s"):
        await bounded(deaf, 1.0)


async def test_watching_returns_what_the_work_returns_and_throws_into_it() -> None:
    async def work() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return "timed out inside"
        raise AssertionError

    watchdog = Watchdog(5)
    assert await stepwise(work, watchdog.begin, watchdog.end) == "timed out inside"


async def test_a_function_that_blocks_for_good_is_left_behind() -> None:
    block, entered = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        block.wait(30)  # no bytecode is run in here: nothing can interrupt it

    before = set(threading.enumerate())
    with pytest.raises(PolicyTimeout, match="did not come back"):
        await bounded(wait, 0.2)
    assert await asyncio.to_thread(entered.wait, 10)
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


def busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_what_the_stages_further_in_take_is_not_the_stage_s_time() -> None:
    world = World(Plain(), bound=0.1)

    async def slow(exchange: Exchange) -> Response:
        await asyncio.sleep(0)
        busy(0.3)
        return Response(200)

    assert (await world.trial(Exchange("GET", b"/a"), slow)).status == 200
    assert world.failures == []


@pytest.fixture
def untraced() -> Iterator[None]:
    """For interruptions that may hit a call: coverage takes a lock in each, and would never give it back."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.mark.usefixtures("untraced")
async def test_asking_on_and_on_without_a_pause_is_holding_the_loop() -> None:
    class Insistent(Plain):
        async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
            while True:
                await call_next(exchange)

    async def at_once(exchange: Exchange) -> Response:
        return Response(204)

    world = World(Insistent(), bound=0.05)
    assert (await world.trial(Exchange("GET", b"/a"), at_once)).status == 204
    assert [type(e) for e in world.failures] == [PolicyTimeout]


async def test_of_two_on_trial_only_the_one_that_spins_is_taken_out() -> None:
    for _ in range(3):
        outer, inner = World(Plain(), bound=0.3), World(Plain(before=spin), bound=0.3)

        async def service(exchange: Exchange, inner: World = inner) -> Response:
            return await inner.trial(exchange, inner.service)

        assert (await outer.trial(Exchange("GET", b"/a"), service)).status == 200
        assert (len(outer.failures), len(inner.failures)) == (0, 1)


def watchdogs() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "policy-watchdog"}


async def test_a_watchdog_with_nothing_to_watch_goes_to_sleep_and_wakes_up_again() -> None:
    others = watchdogs()
    world = World(Plain(), bound=0.004)
    for _ in range(2):
        assert (await world.run()).status == 200
        (thread,) = watchdogs() - others
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    world = World(Plain(before=spin), bound=0.004)
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [PolicyTimeout]


class Struck(Watchdog):
    """Is itself hit by its interruption, once, where `at` says."""

    def __init__(self, at: str) -> None:
        super().__init__(0.02)
        self.at = at

    def strike(self, at: str) -> None:
        if at == self.at:
            self.at = ""
            raise PolicyTimeout

    def pause(self) -> None:
        self.strike("pause")
        super().pause()

    def resume(self) -> None:
        super().resume()
        self.strike("resume")

    def end(self) -> None:
        self.strike("end")
        super().end()


@pytest.mark.parametrize("at", ["pause", "resume", "end"])
async def test_an_interruption_on_the_way_out_of_the_stage_is_its_own(at: str) -> None:
    world = World(Plain(), watchdog=Struck(at))
    assert (await world.run()).status == 200
    assert [type(e) for e in world.failures] == [PolicyTimeout]
    assert world.good_calls == 1
    busy(0.1)  # nobody is watched any more
    assert world.calls == 1


async def test_nobody_is_watched_after_an_exchange_that_nobody_awaits_any_more() -> None:
    world = World(Plain())
    steps = world.trial(Exchange("GET", b"/a"), world.service).__await__()
    next(steps)
    steps.close()
    assert world.failures == []
    busy(0.1)


@pytest.mark.parametrize("mistake", [raise_it, spin])
def test_what_a_stage_does_where_nobody_could_catch_it_is_guarded(mistake: Callable[[], None]) -> None:
    world = World(Plain(), bound=0.05)
    seen: list[Any] = []
    world.guard(lambda *arguments: seen.extend(arguments))(1, 2)
    assert (seen, world.failures) == ([1, 2], [])
    world.guard(mistake)()
    assert len(world.failures) == 1
    busy(0.1)


def test_what_is_guarded_may_be_struck_at_its_end() -> None:
    world = World(Plain(), watchdog=Struck("end"))
    world.guard(lambda: None)()
    assert [type(e) for e in world.failures] == [PolicyTimeout]
    busy(0.1)


def test_the_end_of_the_process_passes_through_a_guard() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    world = World(Plain())
    with pytest.raises(KeyboardInterrupt):
        world.guard(stop)()
    assert world.failures == []


def test_figures_that_cannot_be_had_are_those_of_the_last_good_one() -> None:
    class Silent(Plain):
        def snapshot(self) -> dict[str, Any]:
            raise LookupError

    world = World(Silent())
    assert world.trial.snapshot() == {"stage": "plain"}
    assert [type(e) for e in world.failures] == [LookupError]


UNDER_A_DEBUGGER = """
import contextlib, sys, threading, time
from lab.policies.guard import PolicyTimeout, Watchdog

def call():
    pass

def spin():
    while True:
        pass

def blocked():
    with contextlib.suppress(PolicyTimeout):
        Watchdog(0.02).call(gate.wait, 60)

with contextlib.suppress(PolicyTimeout):
    Watchdog(0.02).call(spin)
sys.settrace(lambda frame, event, argument: None)
call()
gate = threading.Event()
thread = threading.Thread(target=blocked)
thread.start()
until = time.monotonic() + 0.2
while time.monotonic() < until:
    call()
gate.set()
thread.join()
sys.settrace(None)
print("came back")
"""


def test_after_an_interruption_a_debugger_or_the_measuring_of_coverage_still_work() -> None:
    # In a process of its own: where this fails, no call returns, not even that of a signal's handler.
    run = subprocess.run(
        [sys.executable, "-c", UNDER_A_DEBUGGER], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout == "came back\n"
