"""The service with a known capacity, over real sockets."""

import asyncio

import pytest

from lab.load.direct import Client, Request
from lab.scenarios.backend import Backend


async def ask(backend, count=1, path="/x", timeout=5.0):
    client = Client(backend.url, timeout)
    try:
        return await asyncio.gather(*(client.send(Request(path)) for _ in range(count)))
    finally:
        client.close()


async def until(check):
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 -- nothing tells; it looks once a turn of the loop
            await asyncio.sleep(0)


async def test_never_more_at_work_than_workers_and_nobody_is_forgotten():
    async with Backend(workers=3, seconds=0.01) as backend:
        outcomes = await ask(backend, 20)
        assert [outcome.status for outcome in outcomes] == [200] * 20
        assert (backend.most, backend.done, backend.busy, backend.waiting) == (3, 20, 0, 0)
        assert {path: len(moments) for path, moments in backend.arrived.items()} == {"/x": 20}


async def test_a_full_queue_refuses():
    async with Backend(workers=1, seconds=0.2, queue=2) as backend:
        statuses = sorted(outcome.status for outcome in await ask(backend, 5))
    assert statuses == [200, 200, 200, 503, 503]


async def test_work_goes_on_for_clients_that_have_gone():
    async with Backend(workers=1, seconds=0.25) as backend:
        outcomes = await ask(backend, 3, timeout=0.04)
        assert {outcome.failure for outcome in outcomes} == {"timeout"}
        await until(lambda: backend.done == 3)
        assert backend.wasted == 3
        assert (await ask(backend))[0].status == 200


async def test_one_too_many_at_a_time_ends_it():
    async with Backend(seconds=60, breaks_at=2) as backend:
        assert {outcome.failure for outcome in await ask(backend, 3)} == {"reset"}  # at once, for all
        assert backend.crashed
        assert backend.done == 0
        assert (await ask(backend, path="/health"))[0].failure == "reset"


async def test_health_neither_waits_nor_counts():
    async with Backend(workers=1, seconds=60) as backend:
        working = asyncio.ensure_future(ask(backend, 2))
        await until(lambda: backend.waiting == 1)
        assert (await ask(backend, path="/health"))[0].status == 200
        assert backend.total == 2
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize(
    ("moments", "peak"), [([], 0), ([1.0], 1), ([0.0, 0.05, 0.2, 0.25, 0.3], 3), ([0, 1, 2], 1)]
)
def test_peak(moments, peak):
    backend = Backend()
    backend.arrived["/x"] += moments
    backend.arrived["/y"] += [0.0] * 9
    assert backend.peak(0.1, "/x") == peak
