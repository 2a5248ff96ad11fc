"""The pool on its own: no socket, a clock that is set by hand."""

from __future__ import annotations

import asyncio
import random

import pytest

from lab.proxy.pool import Pool, PoolExhausted, PoolFigures


class Line:
    """A connection that is nothing but open or closed."""

    def __init__(self) -> None:
        self.usable = True

    def abort(self) -> None:
        self.usable = False


class Dialler:
    """Makes connections, at once, or one for each `gate.release()`; may be told to fail."""

    def __init__(self) -> None:
        self.made: list[Line] = []
        self.gate: asyncio.Semaphore | None = None
        self.error: Exception | None = None

    async def __call__(self, timeout: float | None) -> Line:
        if self.gate is not None:
            await self.gate.acquire()
        if self.error is not None:
            raise self.error
        self.made.append(Line())
        return self.made[-1]

    @property
    def open(self) -> int:
        return sum(line.usable for line in self.made)


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(limit: int = 2) -> tuple[Pool[Line], Dialler, Time]:
    dialler, time = Dialler(), Time()
    return Pool(dialler, limit=limit, keepalive=4.0, clock=time), dialler, time


async def take(pool: Pool[Line], *, patience: float | None = None, fresh: bool = False) -> Line:
    return await pool.acquire(patience=patience, connect=None, fresh=fresh)


async def turn() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_connection_used_last_is_reused_first() -> None:
    pool, _, _ = make()
    first, second = await take(pool), await take(pool)
    assert pool.figures == PoolFigures(in_use=2, idle=0, waiting=0, limit=2)
    pool.release(first, reusable=True)
    pool.release(second, reusable=True)
    assert pool.figures == PoolFigures(in_use=0, idle=2, waiting=0, limit=2)
    assert await take(pool) is second


async def test_waiters_are_served_in_their_order_and_nobody_overtakes() -> None:
    pool, dialler, _ = make(limit=1)
    line = await take(pool)
    served: list[int] = []

    async def customer(number: int) -> None:
        got = await take(pool)
        served.append(number)
        pool.release(got, reusable=True)

    tasks = [asyncio.create_task(customer(n)) for n in range(5)]
    await turn()
    assert pool.figures.waiting == 5
    pool.release(line, reusable=True)
    latecomer = asyncio.create_task(customer(99))
    await asyncio.gather(*tasks, latecomer)
    assert served == [0, 1, 2, 3, 4, 99]
    assert len(dialler.made) == 1
    assert pool.figures == PoolFigures(0, 1, 0, 1)


async def test_a_request_that_waits_too_long_is_told_so() -> None:
    pool, _, _ = make(limit=1)
    line = await take(pool)
    with pytest.raises(PoolExhausted):
        await take(pool, patience=0.001)
    assert pool.figures == PoolFigures(1, 0, 0, 1)
    pool.release(line, reusable=True)
    assert pool.figures == PoolFigures(0, 1, 0, 1)


async def test_a_connection_served_to_a_cancelled_waiter_goes_to_the_next() -> None:
    pool, _, _ = make(limit=1)
    line = await take(pool)
    first, second = asyncio.create_task(take(pool)), asyncio.create_task(take(pool))
    await turn()
    pool.release(line, reusable=True)
    first.cancel()  # after it was served, before it could run
    assert await second is line
    assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())
    pool.release(line, reusable=True)
    assert pool.figures == PoolFigures(0, 1, 0, 1)


async def test_a_connection_served_to_a_cancelled_waiter_is_not_kept_by_a_closed_pool() -> None:
    pool, _, _ = make(limit=1)
    line = await take(pool)
    waiter = asyncio.create_task(take(pool))
    await turn()
    pool.release(line, reusable=True)
    waiter.cancel()
    pool.close()
    await asyncio.wait([waiter])
    assert not line.usable
    assert pool.figures == PoolFigures(0, 0, 0, 1)


async def test_a_cancelled_dial_gives_its_slot_to_the_next() -> None:
    pool, dialler, _ = make(limit=1)
    dialler.gate = asyncio.Semaphore(0)
    first, second = asyncio.create_task(take(pool)), asyncio.create_task(take(pool))
    await turn()
    assert pool.figures == PoolFigures(1, 0, 1, 1)
    first.cancel()
    await turn()
    assert pool.figures == PoolFigures(1, 0, 0, 1)
    dialler.gate.release()
    pool.release(await second, reusable=True)
    assert pool.figures == PoolFigures(0, 1, 0, 1)


async def test_a_failed_dial_gives_its_slot_back() -> None:
    pool, dialler, _ = make(limit=1)
    dialler.error = ConnectionRefusedError()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await take(pool)
    assert pool.figures == PoolFigures(0, 0, 0, 1)


async def test_a_lost_connection_gives_the_waiter_a_new_one() -> None:
    pool, dialler, _ = make(limit=1)
    line = await take(pool)
    waiter = asyncio.create_task(take(pool))
    await turn()
    pool.release(line, reusable=False)
    assert not line.usable
    assert await waiter is dialler.made[1]


async def test_a_connection_that_breaks_between_hand_over_and_use_is_replaced() -> None:
    pool, dialler, _ = make(limit=1)
    line = await take(pool)
    waiter = asyncio.create_task(take(pool))
    await turn()
    pool.release(line, reusable=True)
    line.usable = False
    pool.forget(line)
    assert await waiter is dialler.made[1]
    assert pool.figures == PoolFigures(1, 0, 0, 1)


async def test_what_was_idle_too_long_is_not_reused() -> None:
    pool, dialler, time = make()
    line = await take(pool)
    pool.release(line, reusable=True)
    time.now += 3.9
    assert await take(pool) is line
    pool.release(line, reusable=True)
    time.now += 4.0
    assert await take(pool) is dialler.made[1]
    assert not line.usable


async def test_one_sweep_closes_the_old_and_spares_the_young() -> None:
    pool, _, time = make()
    old, young = await take(pool), await take(pool)
    pool.release(old, reusable=True)
    time.now += 3.0
    pool.release(young, reusable=True)
    time.now += 1.5
    pool._sweep()
    assert (old.usable, young.usable) == (False, True)
    assert pool.figures.idle == 1
    pool.close()


async def test_a_connection_that_the_service_closed_leaves_at_once() -> None:
    pool, _, _ = make()
    line = await take(pool)
    pool.release(line, reusable=True)
    pool.forget(line)
    assert pool.figures == PoolFigures(0, 0, 0, 2)


async def test_a_fresh_connection_is_one_that_nobody_used_and_the_limit_holds() -> None:
    pool, dialler, _ = make(limit=2)
    lines = [await take(pool), await take(pool)]
    for line in lines:
        pool.release(line, reusable=True)
    assert await take(pool, fresh=True) not in lines
    assert dialler.open == 2
    assert pool.figures == PoolFigures(1, 1, 0, 2)


async def test_closing_keeps_nothing_and_drained_waits_for_those_in_use() -> None:
    pool, dialler, _ = make(limit=2)
    idle, busy = await take(pool), await take(pool)
    pool.release(idle, reusable=True)
    pool.close()
    assert not idle.usable
    drained = asyncio.create_task(pool.drained())
    await turn()
    assert not drained.done()
    pool.release(busy, reusable=True)
    await drained
    assert dialler.open == 0


@pytest.mark.parametrize("seed", range(20))
async def test_no_slot_and_no_connection_is_ever_lost(seed: int) -> None:
    """Whatever a crowd does, the limit holds, nobody waits beside a free slot, all comes back at the end."""
    chance = random.Random(seed)
    pool, dialler, time = make(limit=3)
    dialler.gate = asyncio.Semaphore(0)
    held: list[Line] = []
    tasks: list[asyncio.Task[None]] = []

    async def customer(fresh: bool) -> None:
        held.append(await take(pool, fresh=fresh))

    for _ in range(300):
        match chance.choice(["come", "come", "come", "go", "go", "cancel", "dial", "break", "wait"]):
            case "come":
                tasks.append(asyncio.create_task(customer(chance.random() < 0.1)))
            case "go" if held:
                pool.release(held.pop(chance.randrange(len(held))), reusable=chance.random() < 0.7)
            case "cancel" if tasks:
                chance.choice(tasks).cancel()
            case "dial":
                dialler.error = ConnectionRefusedError() if chance.random() < 0.3 else None
                dialler.gate.release()
            case "break":
                line = chance.choice(dialler.made) if dialler.made else None
                if line is not None and line not in held:
                    line.abort()
                    pool.forget(line)
            case "wait":
                time.now += chance.random() * 3
        if chance.random() < 0.5:
            await turn()
            figures = pool.figures
            assert figures.in_use + figures.idle <= 3
            assert figures.waiting == 0 or figures.in_use == 3
            assert len(held) <= figures.in_use

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    while held:
        pool.release(held.pop(), reusable=True)
    assert pool.figures.in_use == pool.figures.waiting == 0
    assert dialler.open == pool.figures.idle
    pool.close()
    assert dialler.open == 0
