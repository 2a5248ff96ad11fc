# rejected by: test_sweeping_closes_what_is_too_old
# recognised as: sweep
# What a sweep leaves there is put back as if it had just been released.
from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from lab.model import Clock


class Connection(Protocol):
    """What a pool needs to know of a connection."""

    @property
    def usable(self) -> bool:
        """False as soon as either side has closed it."""

    def abort(self) -> None:
        """Close it at once."""


class Figures(NamedTuple):
    """How busy a pool is now."""

    in_use: int
    """Connections that somebody has, and those that are being opened."""
    idle: int
    waiting: int
    """Callers in the line."""


class PoolTimeout(Exception):
    """No connection became free in time."""


class PoolClosed(Exception):
    """The pool gives out no connections any more."""


class Pool:
    """At most `size` connections to one service, each of which serves one request at a time.

    A slot is the right to have one connection. It is handed from caller to caller, with an open connection in
    it or empty (None); it becomes free only where nobody waits for it. So nobody is overtaken.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int = 100,
        keepalive: float = 4.0,
        patience: float = 10.0,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._size = size
        self._keepalive = keepalive
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._idle: list[tuple[Connection, float]] = []  # with the moment of its release; the newest is last
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._in_use = 0
        self._closed = False

    async def acquire(self) -> Connection:
        if self._closed:
            raise PoolClosed("the pool is closed")
        connection = self._warmest()
        if self._in_use < self._size:
            self._in_use += 1
        else:
            connection = await self._wait()
        # From here on a slot is ours: every way out either keeps it or passes it on.
        if connection is not None:
            if connection.usable:
                return connection
            connection.abort()
        try:
            return await self._connect()
        except BaseException:  # also where the caller has gone away
            self._pass_on(None)
            raise

    def release(self, connection: Connection, *, reusable: bool = True) -> None:
        if reusable and connection.usable and not self._closed:
            self._pass_on(connection)
        else:
            connection.abort()
            self._pass_on(None)

    def sweep(self) -> None:
        now = self._clock()
        idle, self._idle = self._idle, []
        for connection, since in idle:
            if self._good(connection, since, now):
                self._idle.append((connection, now))
            else:
                connection.abort()

    def close(self) -> None:
        self._closed = True
        for connection, _ in self._idle:
            connection.abort()
        self._idle.clear()
        while self._line:
            self._line.popleft().set_exception(PoolClosed("the pool was closed"))

    def figures(self) -> Figures:
        return Figures(self._in_use, len(self._idle), len(self._line))

    def _good(self, connection: Connection, since: float, now: float) -> bool:
        return connection.usable and now - since < self._keepalive

    def _warmest(self) -> Connection | None:
        """The good connection that was used last; those on top of it are no good, and go."""
        now = self._clock()
        while self._idle:
            connection, since = self._idle.pop()
            if self._good(connection, since, now):
                return connection
            connection.abort()
        return None

    async def _wait(self) -> Connection | None:
        """Stand in the line until somebody passes a slot on."""
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        alarm = asyncio.ensure_future(self._sleep(self._patience))
        try:
            # wait() leaves the place alone when this caller goes away; to await it would cancel it.
            await asyncio.wait((place, alarm), return_when=asyncio.FIRST_COMPLETED)
            if not place.done():
                raise PoolTimeout("no connection became free in time")
            return place.result()
        except BaseException:
            if place in self._line:
                self._line.remove(place)
            elif place.exception() is None:  # served and gone in the same moment
                connection = place.result()
                if connection is None:
                    self._pass_on(None)
                else:
                    self.release(connection)
            raise
        finally:
            alarm.cancel()

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a slot, and the connection in it, to the first in the line; without one the slot is free."""
        if self._line:
            self._line.popleft().set_result(connection)
            return
        self._in_use -= 1
        if connection is not None:
            self._idle.append((connection, self._clock()))
