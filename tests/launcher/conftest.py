import asyncio
import contextlib
from pathlib import Path

import httpx
import psutil
import pytest

from lab.launcher import ports
from lab.launcher.stack import Stack
from tests.processes import ended

HERE = Path(__file__).parent
APPS = dict.fromkeys(("service-a", "service-b", "gateway"), "standin:app")


async def until(condition, timeout=60.0):
    """Wait until `condition()` is true, at most `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0.01)


def gone(pid):
    """True where no process `pid` runs any more."""
    try:
        return ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def make_stack(tmp_path):
    """Makes stacks of stand-ins on free ports, with a home of their own."""

    def make(**options):
        options = {"ports": ports.free(), "apps": APPS, "home": tmp_path, **options}
        options["env"] = {"PYTHONPATH": str(HERE), **options.get("env", {})}
        return Stack(**options)

    return make


@pytest.fixture
def running(make_stack):
    """`async with running() as stack`: a healthy stack that is stopped at the end."""

    @contextlib.asynccontextmanager
    async def run(**options):
        stack = make_stack(**options)
        await stack.start()
        try:
            assert await stack.wait_healthy(60), stack.processes
            yield stack
        finally:
            await stack.stop()

    return run


@pytest.fixture
def ask():
    """`ask(process, path)`: status and text of one fresh request."""

    async def ask(process, path):
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            response = await client.get(process.url + path)
            return response.status_code, response.text

    return ask
