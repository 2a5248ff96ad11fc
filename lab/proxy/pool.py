"""The pool: which connection a request gets, and who waits while there is none.

    acquire ──▶ newest idle connection ──▶ in use ──release──▶ first waiter, else idle
       │                                     ▲
       ├── none idle, room left ──▶ dial ────┤
       └── none idle, no room ──▶ wait ──────┘   (first come, first served; at most `patience` seconds)

A *slot* is the right to use one connection, whether it is open or still being dialled; there are `limit` of
them. Slots and connections are passed on together: a released connection goes straight to the first waiter,
and where a connection was lost, the waiter gets the bare slot and dials for itself. So nobody overtakes, and
whoever waits while a slot is free has found a bug.

Reuse is last in, first out: the connections on top stay warm, those at the bottom grow old and are closed
after `keepalive` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from lab.model import Clock


class Pooled(Protocol):
    """What the pool needs to know of a connection."""

    @property
    def usable(self) -> bool:
        """False as soon as either side has closed it."""

    def abort(self) -> None:
        """Close it at once; nothing that is still unsent matters."""


C = TypeVar("C", bound=Pooled)


class PoolFigures(NamedTuple):
    """How busy a pool is now, in connections; `waiting` counts requests."""

    in_use: int
    """Slots taken: connections with a request on them, and those being dialled."""
    idle: int
    waiting: int
    limit: int


class PoolExhausted(Exception):
    """No connection became free in time."""


class Pool(Generic[C]):
    """At most `limit` connections, made by `dial`.

    `keepalive` is how many seconds a connection may lie idle; with 0 none does, and the pool only counts. It
    may be changed at any time. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        dial: Callable[[float | None], Awaitable[C]],
        *,
        limit: int,
        keepalive: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._dial = dial
        self._limit = limit
        self.keepalive = keepalive
        self._clock = clock
        # Dicts serve as ordered sets: both ends and any member can be removed in constant time.
        self._idle: dict[C, float] = {}  # when each became idle; the newest is last
        self._waiters: dict[asyncio.Future[C | None], None] = {}  # the longest waiting is first
        self._in_use = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    @property
    def figures(self) -> PoolFigures:
        return PoolFigures(self._in_use, len(self._idle), len(self._waiters), self._limit)

    def take(self) -> C | None:
        """An idle connection at once, the caller's until `release`; None where there is none."""
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.usable and self._clock() - since < self.keepalive:
                self._in_use += 1
                return connection
            connection.abort()
        return None

    async def acquire(self, *, patience: float | None, connect: float | None, fresh: bool = False) -> C:
        """A connection that is the caller's until `release`.

        `patience` and `connect` are seconds to wait for a slot and for the dialling; None is for ever.
        `fresh` asks for a connection that nobody has used yet. Raises `PoolExhausted`, or what `dial` raises.
        """
        if not fresh:
            connection = self.take()
            if connection is not None:
                return connection
        elif self._idle and self._in_use + len(self._idle) >= self._limit:
            self._drop(next(iter(self._idle)))
        if self._in_use < self._limit:
            self._in_use += 1
            connection = None
        else:
            connection = await self._wait(patience)
        # From here on the slot is ours, and must not get lost.
        if connection is not None:
            if connection.usable and not fresh:
                return connection
            connection.abort()
        try:
            return await self._dial(connect)
        except BaseException:
            self._pass_on(None)
            raise

    def release(self, connection: C, *, reusable: bool) -> None:
        """The request is over. `reusable` is False where the connection must not see another one."""
        if reusable and self.keepalive > 0:
            self._pass_on(connection)
        else:
            connection.abort()
            self._pass_on(None)

    def forget(self, connection: C) -> None:
        """The connection was closed by the service while it lay idle (nothing happens where it did not)."""
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close what is idle, keep nothing from now on. Requests that still come get a connection each."""
        self.keepalive = 0.0
        for connection in list(self._idle):
            self._drop(connection)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    async def drained(self) -> None:
        """Wait until no connection is in use."""
        if self._in_use:
            if self._empty is None:
                self._empty = asyncio.Event()
            await self._empty.wait()

    # -- inside ----------------------------------------------------------------------------------------------

    async def _wait(self, patience: float | None) -> C | None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[C | None] = loop.create_future()
        self._waiters[waiter] = None
        timer = None if patience is None else loop.call_later(patience, _give_up, waiter)
        try:
            return await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                connection = waiter.result()  # served and cancelled in the same moment
                if connection is None:
                    self._pass_on(None)
                else:
                    self.release(connection, reusable=True)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _pass_on(self, connection: C | None) -> None:
        """Give a slot, with the connection in it if there is one, to the first who waits; else it is free."""
        while self._waiters:
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._in_use -= 1
        if connection is not None:
            self._idle[connection] = self._clock()
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(self.keepalive, self._sweep)
        if self._in_use == 0 and self._empty is not None:
            self._empty.set()
            self._empty = None

    def _sweep(self) -> None:
        """Close what has been idle for too long. One timer does for all connections."""
        self._sweeper = None
        now = self._clock()
        for connection, since in list(self._idle.items()):
            left = since + self.keepalive - now
            if left > 0:
                self._sweeper = asyncio.get_running_loop().call_later(left, self._sweep)
                break
            self._drop(connection)

    def _drop(self, connection: C) -> None:
        del self._idle[connection]
        connection.abort()


def _give_up(waiter: asyncio.Future[C | None]) -> None:
    if not waiter.done():
        waiter.set_exception(PoolExhausted())
