"""Services that are started once for the tests of a file, and a client that leaves them well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from lab.faults.client import FaultClient
from tests.faults.world import running


@pytest.fixture(scope="module")
def service_a() -> Iterator[str]:
    with running("service_a:app") as (url, _):
        yield url


@pytest.fixture(scope="module")
def service_b() -> Iterator[str]:
    with running("service_b:app") as (url, _):
        yield url


@pytest.fixture
async def faults(service_a: str, service_b: str) -> AsyncIterator[FaultClient]:
    async with FaultClient({"service-a": service_a, "service-b": service_b}) as client:
        yield client
        await client.clear()
