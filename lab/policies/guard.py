"""A net under other people's classes: what raises or does not come back is taken out without a lost request.

`Trial` stands in a slot instead of a plugged-in stage. It runs the stage, and the first time it raises, or
runs longer than `BOUND` seconds without a pause, reports it and lets the last good stage take over, for this
exchange too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, ClassVar, Self, TypeVar, cast

from lab.model import Exchange, Handler, Response
from lab.policies import Stage
from lab.settings import Section

BOUND = 0.25
"""Seconds that a plugged-in class may keep the event loop in one go."""

T = TypeVar("T")


class PolicyTimeout(BaseException):
    """The class held the event loop longer than it may; no `Exception`, which the class may be catching."""


class Watchdog:
    """Interrupts a thread that has been between `begin()` and `end()` for longer than `bound` seconds.

    The interruption is an exception that the interpreter raises in that thread between two bytecodes; where
    the system has signals, one is sent too, since a blocking call such as `time.sleep` only ends for that.
    (On Windows a blocking call is waited for.)
    """

    def __init__(self, bound: float = BOUND) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._since: float | None = None
        self._victim = 0
        self._fired = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="policy-watchdog", daemon=True)
            self._thread.start()
            with contextlib.suppress(AttributeError, ValueError):  # Windows; or not the main thread
                if signal.getsignal(signal.SIGURG) in (signal.SIG_DFL, None):
                    signal.signal(signal.SIGURG, lambda number, frame: None)
        self._victim = threading.get_ident()
        self._since = time.monotonic()

    def end(self) -> None:
        with self._lock:
            self._since = None
            if self._fired:
                self._fired = False
                # The exception may still be on its way: it must not hit whatever runs next.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._victim), None)

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._bound / 4):
            with self._lock:
                since = self._since
                if since is None or time.monotonic() - since < self._bound:
                    continue
                self._fired = True
                self._since = time.monotonic()  # once more after another `bound`, should it be swallowed
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._victim), ctypes.py_object(PolicyTimeout)
                )
                if hasattr(signal, "pthread_kill") and self._victim == threading.main_thread().ident:
                    signal.pthread_kill(self._victim, signal.SIGURG)


@coroutine
def watched(work: Coroutine[Any, Any, T], watchdog: Watchdog) -> Generator[Any, Any, T]:
    """Await `work` with each of its steps, from one pause to the next, under the watchdog."""
    value: Any = None
    thrown: BaseException | None = None
    while True:
        watchdog.begin()
        try:
            pause = work.send(value) if thrown is None else work.throw(thrown)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            watchdog.end()
        value, thrown = None, None
        try:
            value = yield pause
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            thrown = error


class Trial:
    """A plugged-in stage on trial, with the last good one behind it."""

    section: ClassVar[str] = ""

    def __init__(
        self,
        stage: Stage,
        fallback: Stage,
        fallback_options: Section,
        failed: Callable[[Trial, BaseException], None],
        watchdog: Watchdog | None = None,
    ) -> None:
        self.stage = stage
        self.fallback = fallback
        self.fallback_options = fallback_options
        self._failed = failed
        self._watchdog = watchdog or Watchdog()

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        answer: Response | None = None
        downstream: BaseException | None = None

        async def remember(exchange: Exchange) -> Response:
            nonlocal answer, downstream
            try:
                answer = await call_next(exchange)
            except BaseException as error:
                downstream = error
                raise
            return answer

        try:
            response = await watched(self.stage(exchange, remember), self._watchdog)
            if not isinstance(response, Response):
                raise TypeError(f"a response was expected, got {type(response).__name__}")
            return response
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if error is downstream:
                raise  # not this stage's mistake
            self._watchdog.stop()
            self._failed(self, error)
            if answer is not None:
                # The service has been asked already; its answer counts, asking again might do harm.
                return answer
            return await self.fallback(exchange, call_next)

    def snapshot(self) -> dict[str, Any]:
        return self.stage.snapshot()

    def adopt(self, old: Self) -> None:
        self.stage.adopt(old.stage)


async def bounded(function: Callable[[], T], seconds: float) -> T:
    """`function()` in a thread of its own, for `seconds` at most; raises what it raises, or PolicyTimeout."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    watchdog = Watchdog(seconds)

    def settle(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            watchdog.begin()
            try:
                result = function()
            finally:
                watchdog.end()
        except BaseException as error:
            failure = RuntimeError(str(error)) if isinstance(error, StopIteration) else error
        watchdog.stop()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="policy-trial", daemon=True).start()
    try:
        async with asyncio.timeout(seconds * 2):
            return await done
    except TimeoutError:
        raise PolicyTimeout(f"did not come back within {seconds:g} s") from None
