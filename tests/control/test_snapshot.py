from __future__ import annotations

import httpx

from lab.control.snapshot import SAMPLE, SLOW, Ticks
from tests.control.world import world


async def test_a_tick_has_the_figures_and_the_requests_since_the_last_one() -> None:
    async with world({"rate_limit": {"limit": 1000}}) as w:
        ticks = Ticks(w.gateway)
        assert ticks()["requests"] == []
        for n in range(3):
            await w.get(f"/service-a/{n}")
        tick = ticks()
        assert [entry["path"] for entry in tick["requests"]] == [
            "/service-a/0",
            "/service-a/1",
            "/service-a/2",
        ]
        assert tick["skipped"] == 0
        assert tick["totals"]["requests"] == 3
        assert tick["services"]["service-a"]["totals"]["misses"] == 3
        assert ticks()["requests"] == []


async def test_of_many_requests_a_tick_has_the_last_few_and_says_how_many_more_there_were() -> None:
    async with world({"rate_limit": {"limit": 1000}}) as w:
        ticks = Ticks(w.gateway)
        for n in range(SAMPLE + 5):
            await w.get(f"/service-a/{n}")
        tick = ticks()
        assert len(tick["requests"]) == SAMPLE
        assert tick["skipped"] == 5
        assert tick["requests"][-1]["path"] == f"/service-a/{SAMPLE + 4}"


async def test_what_changes_slowly_comes_once_a_second() -> None:
    async with world() as w:
        ticks = Ticks(w.gateway)
        assert {"policies", "clients", "paths"} <= set(ticks())
        w.now += SLOW / 2
        assert not {"policies", "clients", "paths"} & set(ticks())
        w.now += SLOW / 2
        assert {"policies", "clients", "paths"} <= set(ticks())


async def test_the_wait_of_an_idle_breaker_is_over_for_viewers_too() -> None:
    async with world({"breaker": {"failures": 1, "open_for": 5}, "retry": {"enabled": False}}) as w:
        await w.admin("DELETE", "/admin/cache")
        w.answer = lambda request: httpx.Response(500)
        await w.get("/service-a/x")
        ticks = Ticks(w.gateway)
        assert ticks()["services"]["service-a"]["breaker"]["state"] == "open"
        w.now += 5
        assert ticks()["services"]["service-a"]["breaker"]["state"] == "half_open"
        assert [e["to"] for e in w.events if e["kind"] == "breaker"] == ["open", "half_open"]
