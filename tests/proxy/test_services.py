from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lab.proxy.services import Directory, Service
from lab.settings import ServiceSettings
from tests.fakes import OK, ScriptedServer, always


class World:
    """A directory on a fake clock whose service answers its checks as the test says."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        self.events: list[dict[str, Any]] = []
        self.status: int | Exception = 200
        given = {"url": "http://127.0.0.1:1/base", "health": "/health?deep=1", **settings}
        self.directory = Directory(
            {"a": ServiceSettings(**given)},
            clock=lambda: self.now,
            emit=lambda kind, **data: self.events.append({"kind": kind, **data}),
        )
        self.asked: list[str] = []

    @property
    def service(self) -> Service:
        return self.directory["a"]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.raw_path.decode())
        if isinstance(self.status, Exception):
            raise self.status
        return httpx.Response(self.status)

    async def check(self, status: int | Exception, after: float = 0.0) -> bool:
        self.now += after
        self.status = status
        transport = httpx.MockTransport(self._answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
            return await self.directory.check(self.service, client)


async def test_a_check_asks_the_health_path_below_the_service_s_own() -> None:
    world = World()
    assert await world.check(200)
    assert world.asked == ["/base/health?deep=1"]
    assert world.service.health == "up"


@pytest.mark.parametrize("bad", [500, 404, 301, httpx.ConnectError("x"), httpx.ReadTimeout("x")])
async def test_four_seconds_of_failing_checks_mark_a_service_down_and_one_good_one_up(bad: Any) -> None:
    world = World()
    await world.check(200)
    assert not await world.check(bad)
    await world.check(bad, after=3.9)
    assert not world.service.down
    await world.check(bad, after=0.1)
    assert world.service.down
    await world.check(200, after=1)
    assert not world.service.down
    assert [(e["from"], e["to"]) for e in world.events] == [("unknown", "up"), ("up", "down"), ("down", "up")]


async def test_failures_are_counted_in_a_row() -> None:
    world = World()
    await world.check(500)
    await world.check(200, after=3)
    await world.check(500, after=1)
    await world.check(500, after=3)
    assert not world.service.down


async def test_the_reason_never_shows_an_address() -> None:
    world = World()
    for _ in range(2):
        await world.check(httpx.ConnectError("cannot connect to 127.0.0.1:1"), after=10)
    assert world.events[-1]["reason"] == "ConnectError"


async def test_services_are_checked_while_the_gateway_runs_and_not_after() -> None:
    async with ScriptedServer(always(OK)) as server:
        up = asyncio.Event()
        directory = Directory(
            {"a": ServiceSettings(url=server.url, health="/health")}, emit=lambda kind, **data: up.set()
        )
        directory.start()
        await asyncio.wait_for(up.wait(), 10)
        assert directory["a"].health == "up"
        await directory.stop()
        assert not directory._checks


async def test_a_service_without_a_health_path_is_never_marked() -> None:
    directory = Directory({"a": ServiceSettings(url="http://127.0.0.1:1")})
    directory.start()
    assert not directory._checks
    assert directory["a"].health == "unknown"
    await directory.stop()


async def test_asked_at_this_moment_with_and_without_a_health_path() -> None:
    async with ScriptedServer(always(OK)) as server:
        directory = Directory(
            {
                "checked": ServiceSettings(url=server.url, health="/health"),
                "dialled": ServiceSettings(url=server.url),
                "dead": ServiceSettings(url="http://127.0.0.1:1", health="/health"),
                "gone": ServiceSettings(url="http://127.0.0.1:1"),
            }
        )
        states = {name: (await directory.ask(name))["status"] for name in directory}
        assert states == {"checked": "up", "dialled": "up", "dead": "down", "gone": "down"}
        assert {service.health for service in directory.values()} == {"unknown"}


async def test_a_service_is_replaced_only_by_another_configuration() -> None:
    world = World()
    before = world.service
    world.directory.put("a", before.settings)
    assert world.service is before
    world.directory.put("a", before.settings.model_copy(update={"timeout": 3.0}))
    assert world.service is not before
    assert world.directory.settings["a"].timeout == 3.0
    world.directory.remove("a")
    assert "a" not in world.directory
    assert len(world.directory) == 0
    with pytest.raises(KeyError):
        world.directory.remove("a")


async def test_a_service_that_is_replaced_while_running_is_checked_anew_and_its_old_pool_closed() -> None:
    async with ScriptedServer(always(OK)) as server:
        directory = Directory({"a": ServiceSettings(url=server.url, health="/health")})
        directory.start()
        before, check = directory["a"], directory._checks["a"]
        directory.put("a", before.settings.model_copy(update={"pool": 3}))
        assert directory._checks["a"] is not check
        await asyncio.gather(*directory._closing)
        directory.remove("a")
        assert not directory._checks
        await directory.stop()


async def test_connections_are_kept_while_the_application_runs() -> None:
    async with ScriptedServer(always(OK)) as server:
        directory = Directory({"a": ServiceSettings(url=server.url)})
        upstream = directory["a"].upstream
        for kept in (0, 1, 0, 1):
            if kept:
                directory.start()
            else:
                await directory.stop()
            response = await upstream.handle_async_request(httpx.Request("GET", "http://service/"))
            await response.aread()
            assert directory["a"].figures.idle == kept
        await directory.stop()


def test_what_a_service_is_called_by() -> None:
    service = Service("a", ServiceSettings(url="http://example.test:8080/v1/", timeout=0.5))
    assert service.prefix == b"/v1"
    assert service.host == b"example.test:8080"
    assert service.connect_timeout == 0.5
    assert Service("a", ServiceSettings(url="http://example.test")).prefix == b""
