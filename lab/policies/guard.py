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
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, ClassVar, Self, TypeVar, cast

from lab.model import Exchange, Handler, Response
from lab.policies import Guard, Stage
from lab.settings import Section

BOUND = 0.25
"""Seconds that a plugged-in class may keep the event loop in one go."""

IDLE = 20
"""Looks at nothing after which a watchdog's thread ends; the next thing to be watched starts another."""

T = TypeVar("T")


class PolicyTimeout(BaseException):
    """The class held the event loop longer than it may; no `Exception`, which the class may be catching."""

    def __str__(self) -> str:
        # Raised in another thread it is made without arguments, and its text is the reason that people read.
        return super().__str__() or "it held the event loop for too long"


class Watchdog:
    """Interrupts a thread that has been between `begin()` and `end()` for longer than `bound` seconds.

    What happens between `pause()` and `resume()` does not count; nothing is interrupted there.

    The interruption is an exception that the interpreter raises in that thread between two bytecodes; where
    the system has signals, one is sent too, since a blocking call such as `time.sleep` only ends for that.
    (On Windows a blocking call is waited for.)
    """

    def __init__(self, bound: float = BOUND) -> None:
        self._bound = bound
        # An interruption may come when the lock is taken and its block not yet entered. Whoever holds it then
        # for good must be able to go on.
        self._lock = threading.RLock()
        self._since: float | None = None
        self._used = 0.0
        self._victim = 0
        self._fired = False
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)`, watched; raises what it raises, or `PolicyTimeout`."""
        try:
            self.begin()
            try:
                return function(*arguments)
            finally:
                self.end()
        except PolicyTimeout:
            self.end()  # once more: it may be what was interrupted
            raise

    def begin(self) -> None:
        self._watch(0.0)

    def resume(self) -> None:
        self._watch(self._used)

    def _watch(self, used: float) -> None:
        with self._lock:
            if self._thread is None:
                self._start()
            self._victim = threading.get_ident()
            self._since = time.monotonic() - used

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="policy-watchdog", daemon=True)
        self._thread.start()
        with contextlib.suppress(AttributeError, ValueError):  # Windows; or not the main thread
            if signal.getsignal(signal.SIGURG) in (signal.SIG_DFL, None):
                signal.signal(signal.SIGURG, lambda number, frame: None)

    def pause(self) -> None:
        if (since := self._since) is not None:
            self._used = time.monotonic() - since
        self.end()

    def end(self) -> None:
        while True:
            try:
                with self._lock:
                    self._since = None
                    if not self._fired:
                        return
                    self._fired = False
                    # The exception may still be on its way, and must not hit whatever runs next. It is sent
                    # once more and caught here.
                    while True:
                        _raise_in(self._victim, PolicyTimeout)
            except PolicyTimeout:
                pass

    def _run(self) -> None:
        me, main = threading.get_ident(), threading.main_thread().ident
        idle = 0
        while True:
            time.sleep(self._bound / 4)
            with self._lock:
                if self._since is None:
                    idle += 1
                    if idle >= IDLE:
                        self._thread = None
                        return
                    continue
                idle = 0
                if self._fired and self._victim != main:
                    # It sits in a blocking call. While the exception waits there, Python 3.11 and 3.12 keep
                    # all threads on the watch for it: calls get slower, and under a debugger (or coverage)
                    # do not return. Taking it back does not end that, but catching one does.
                    self._fired = False
                    _raise_in(self._victim, _NOTHING)
                    try:
                        while True:
                            _raise_in(me, PolicyTimeout)
                    except PolicyTimeout:
                        pass
                if time.monotonic() - self._since < self._bound:
                    continue
                self._fired = True
                self._since = time.monotonic()  # once more after another `bound`, should it be swallowed
                _raise_in(self._victim, PolicyTimeout)
                if hasattr(signal, "pthread_kill") and self._victim == main:
                    signal.pthread_kill(main, signal.SIGURG)


_raise_in = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
"""Has the interpreter raise an exception in a thread, in place of one that waits there already."""
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_NOTHING = ctypes.py_object()


@coroutine
def stepwise(
    begin: Callable[[], Awaitable[T]], before: Callable[[], None], after: Callable[[], None] = lambda: None
) -> Generator[Any, Any, T]:
    """Await `begin()`; `before` and `after` are called around each step of it, from one pause to the next."""
    steps: Any = begin().__await__()
    value: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            before()
            try:
                pause = steps.send(value) if thrown is None else steps.throw(thrown)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                after()
            value, thrown = None, None
            try:
                value = yield pause
            except (
                BaseException
            ) as error:  # GeneratorExit too: what `begin()` does at its end is a step as well
                thrown = error
    finally:
        steps.close()


class Trial:
    """A plugged-in stage on trial, with the last good one behind it.

    `make` builds the stage; it is given the guard that goes into the stage's `Context`.
    """

    section: ClassVar[str] = ""

    def __init__(
        self,
        make: Callable[[Guard], Stage],
        fallback: Stage,
        fallback_options: Section,
        failed: Callable[[Trial, BaseException], None],
        watchdog: Watchdog | None = None,
    ) -> None:
        self.fallback = fallback
        self.fallback_options = fallback_options
        self._failed = failed
        self._watchdog = watchdog or Watchdog()
        self.stage = make(lambda function: partial(self._attempt, function))

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        watchdog = self._watchdog
        answer: Response | None = None
        raised: BaseException | None = None

        async def remember(exchange: Exchange) -> Response:
            nonlocal answer, raised
            try:
                answer = await call_next(exchange)
            except BaseException as error:
                raised = error
                raise
            return answer

        async def ask(exchange: Exchange) -> Response:
            watchdog.pause()  # what the stages further in take is not this one's time
            try:
                return await stepwise(partial(remember, exchange), watchdog.pause)
            finally:
                watchdog.resume()

        try:
            response = await stepwise(partial(self.stage, exchange, ask), watchdog.begin, watchdog.end)
            if not isinstance(response, Response):
                raise TypeError(f"a response was expected, got {type(response).__name__}")
            return response
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            watchdog.end()  # once more, as above
            if error is raised:
                raise  # not this stage's mistake
            self._failed(self, error)
            if answer is None:
                return await self.fallback(exchange, call_next)
            return await self._go_on(answer, exchange, call_next)

    async def _go_on(self, answer: Response, exchange: Exchange, call_next: Handler) -> Response:
        """The last good stage takes over with the service's answer: asking for it again might do harm."""
        taken = False

        async def given(exchange: Exchange) -> Response:
            nonlocal taken
            if taken:
                return await call_next(exchange)  # a retry, if that is what the stage is for
            taken = True
            return answer

        response = await self.fallback(exchange, given)
        if taken:
            return response
        await response.aclose()  # it would not have asked, but the service has done its work
        return answer

    def _attempt(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """`function(*arguments)` under the watchdog; a mistake is reported and goes no further: None."""
        try:
            return self._watchdog.call(function, *arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._failed(self, error)
            return None

    def snapshot(self) -> dict[str, Any]:
        figures = self._attempt(self.stage.snapshot)
        return self.fallback.snapshot() if figures is None else figures

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
        started = time.monotonic()
        try:
            with contextlib.suppress(PolicyTimeout):  # an interruption has no words
                result = watchdog.call(function)
            if time.monotonic() - started > seconds:
                raise PolicyTimeout(f"took longer than {seconds:g} s")
        except BaseException as error:
            failure = RuntimeError(str(error)) if isinstance(error, StopIteration) else error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="policy-trial", daemon=True).start()
    try:
        async with asyncio.timeout(seconds * 2):
            return await done
    except TimeoutError:
        raise PolicyTimeout(f"did not come back within {seconds:g} s") from None
