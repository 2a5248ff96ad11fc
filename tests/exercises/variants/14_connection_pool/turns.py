"""Nothing is handed over: whenever something changes all who wait look up, and whose turn it is takes it."""

import asyncio
from typing import NamedTuple


class Figures(NamedTuple):
    in_use: int
    idle: int
    waiting: int


class PoolTimeout(Exception):
    pass


class PoolClosed(Exception):
    pass


class Pool:
    def __init__(self, connect, *, size=100, keepalive=4.0, patience=10.0, clock, sleep):
        self.__dict__.update(locals())
        self.busy = 0
        self.idle = {}
        self.line = []
        self.closed = False
        self.change = None

    async def acquire(self):
        me = object()
        self.line.append(me)
        alarm = None
        try:
            while not self.turn(me):
                if alarm is None:
                    alarm = asyncio.ensure_future(self.sleep(self.patience))
                elif alarm.done():
                    raise PoolTimeout
                if self.change is None:
                    self.change = asyncio.get_running_loop().create_future()
                await asyncio.wait({self.change, alarm}, return_when=asyncio.FIRST_COMPLETED)
            self.busy += 1
        finally:
            self.line.remove(me)
            if alarm is not None:
                alarm.cancel()
                self.look_up()
        if self.idle:
            return self.idle.popitem()[0]
        try:
            return await self.connect()
        except BaseException:
            self.busy -= 1
            self.look_up()
            raise

    def turn(self, me):
        if self.closed:
            raise PoolClosed
        self.sweep()
        return self.line[0] is me and self.busy < self.size

    def look_up(self):
        if self.change is not None:
            self.change.set_result(None)
            self.change = None

    def release(self, connection, *, reusable=True):
        self.busy -= 1
        if reusable and connection.usable and not self.closed:
            self.idle[connection] = self.clock()
        else:
            connection.abort()
        self.look_up()

    def sweep(self):
        for connection, since in list(self.idle.items()):
            if self.clock() - since >= self.keepalive or not connection.usable:
                del self.idle[connection]
                connection.abort()

    def close(self):
        self.closed = True
        while self.idle:
            self.idle.popitem()[0].abort()
        self.look_up()

    def figures(self):
        return Figures(self.busy, len(self.idle), len(self.line))
