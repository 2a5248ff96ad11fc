"""Exercise 14, connection pool: few connections for many requests, and none lost. README.md has the task."""

from __future__ import annotations

import asyncio
import time
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
    """At most `size` connections to one service, each of which serves one request at a time."""

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
        """`await connect()` opens a connection; it may take long, and it may raise.

        `keepalive`: seconds after which an idle connection is too old. `patience`: seconds that a caller
        stands in the line at most. `clock()` and `await sleep(seconds)` are all that may know about time.
        """
        self._connect = connect
        self._size = size
        self._keepalive = keepalive
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        # TODO: what is idle, since when; who waits; how many slots are taken?

    async def acquire(self) -> Connection:
        """A usable connection, which is the caller's alone until `release`.

        Raises `PoolTimeout`, `PoolClosed`, or what `connect` raises.
        """
        # TODO
        raise NotImplementedError

    def release(self, connection: Connection, *, reusable: bool = True) -> None:
        """The caller's request is over. `reusable` is False where the connection must not see another one."""
        # TODO
        raise NotImplementedError

    def sweep(self) -> None:
        """Close the idle connections that are too old or not usable. Called about once a second."""
        # TODO
        raise NotImplementedError

    def close(self) -> None:
        """Close what is idle and give nothing out any more."""
        # TODO
        raise NotImplementedError

    def figures(self) -> Figures:
        """How busy the pool is now; `in_use` and `idle` together are never more than `size`."""
        # TODO
        raise NotImplementedError
