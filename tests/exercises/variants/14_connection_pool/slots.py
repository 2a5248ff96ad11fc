"""As many slot objects as the pool has room, passed from hand to hand; one timer for the whole line."""

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple


class Figures(NamedTuple):
    in_use: int
    idle: int
    waiting: int


class PoolTimeout(Exception):
    pass


class PoolClosed(Exception):
    pass


@dataclass(eq=False)
class Slot:
    connection: Any = None
    since: float = 0.0

    def empty(self):
        if self.connection is not None:
            self.connection.abort()
            self.connection = None


class Pool:
    def __init__(self, connect, *, size=100, keepalive=4.0, patience=10.0, clock, sleep):
        self.connect, self.keepalive, self.patience = connect, keepalive, patience
        self.clock, self.sleep = clock, sleep
        self.size = size
        self.free = [Slot() for _ in range(size)]  # those without a connection first, the warmest last
        self.taken = {}
        self.line = {}  # future -> until when it is patient; all are equally patient, so this is in order
        self.timer = None
        self.closed = False

    async def acquire(self):
        if self.closed:
            raise PoolClosed("closed")
        self.sweep()
        slot = self.free.pop() if self.free else await self.queue()
        try:
            if slot.connection is None or not slot.connection.usable:
                slot.empty()
                slot.connection = await self.connect()
        except BaseException:
            self.give(slot)
            raise
        self.taken[slot.connection] = slot
        return slot.connection

    def release(self, connection, *, reusable=True):
        slot = self.taken.pop(connection)
        if not reusable:
            slot.empty()
        self.give(slot)

    def give(self, slot):
        if slot.connection is not None and (self.closed or not slot.connection.usable):
            slot.empty()
        while self.line:
            future = next(iter(self.line))
            del self.line[future]
            if not future.done():
                future.set_result(slot)
                return
        slot.since = self.clock()
        self.free.insert(0 if slot.connection is None else len(self.free), slot)

    def sweep(self):
        for slot in self.free:
            if slot.connection is not None and (
                not slot.connection.usable or slot.since + self.keepalive <= self.clock()
            ):
                slot.empty()
        self.free.sort(key=lambda slot: slot.connection is not None)

    def close(self):
        self.closed = True
        for slot in self.free:
            slot.empty()
        for future in self.line:
            if not future.done():
                future.set_exception(PoolClosed("closed"))
        self.line.clear()

    def figures(self):
        idle = sum(slot.connection is not None for slot in self.free)
        return Figures(self.size - len(self.free), idle, len(self.line))

    async def queue(self):
        future = asyncio.get_running_loop().create_future()
        self.line[future] = self.clock() + self.patience
        if self.timer is None:
            self.timer = asyncio.create_task(self.watch())
        try:
            return await future
        except asyncio.CancelledError:
            self.line.pop(future, None)
            if not future.cancelled() and future.exception() is None:
                self.give(future.result())
            raise

    async def watch(self):
        while self.line:
            await self.sleep(next(iter(self.line.values())) - self.clock())
            for future, until in list(self.line.items()):
                if until <= self.clock() + 1e-9:
                    del self.line[future]
                    if not future.done():
                        future.set_exception(PoolTimeout("no connection in time"))
        self.timer = None
