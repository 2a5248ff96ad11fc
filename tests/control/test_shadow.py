"""A shadow in a whole gateway: it is asked what the serving class is asked, and no client notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.policies.rate_limit import RateLimit, SlidingWindow
from tests.control.test_swap import GOOD, mine, put
from tests.control.world import World, world

SOLUTIONS = Path(__file__).parents[2] / "exercises"


async def shadow(w: World, use: str | None, policy: str = "rate_limit") -> httpx.Response:
    return await w.admin("PUT", f"/admin/policies/{policy}/shadow", json={"use": use})


async def statuses(w: World, count: int) -> list[int]:
    return [(await w.get(f"/service-a/{n}")).status_code for n in range(count)]


def actions(w: World) -> list[str]:
    return [event["action"] for event in w.events if event["kind"] == "policy"]


async def state(w: World, policy: str = "rate_limit") -> Any:
    return (await w.admin("GET", f"/admin/policies/{policy}")).json().get("shadow")


GENEROUS = GOOD.replace(
    "admitted = len(times) < self.limit", "admitted = len(times) < self.limit or now > 1000"
)


async def test_the_labs_serves_and_the_first_difference_is_told_once(tmp_path: Path) -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        await statuses(w, 2)
        answered = await shadow(w, mine(tmp_path, GENEROUS))
        assert answered.status_code == 200, answered.text
        assert (answered.json()["use"], answered.json()["plugged"]) == ("sliding_window", False)
        assert await state(w) == {"use": mine(tmp_path, GENEROUS), "requests": 0, "difference": None}

        # Both begin afresh: what was counted before is forgotten.
        assert await statuses(w, 2) == [200, 200]
        assert (await state(w))["difference"] is None
        w.now += 1
        third = await w.get("/service-a/x?token=hunter2")
        assert third.status_code == 429
        found = (await state(w))["difference"]
        assert (found["number"], found["method"], found["path"]) == (3, "GET", "/service-a/x")
        assert found["request_id"] == third.headers["x-request-id"]
        assert found["call"] == "take('127.0.0.1', 1.000)"
        assert found["serving"].startswith("refused, remaining 0")
        assert found["shadow"].startswith("admitted, remaining -1")

        assert await statuses(w, 3) == [429] * 3
        assert actions(w) == ["shadowed", "differs"]
        told = w.events[-1]
        assert (told["name"], told["use"]) == ("rate_limit", mine(tmp_path, GENEROUS))
        assert told["reason"].startswith("request 3, GET /service-a/x: take('127.0.0.1', 1.000) is refused")
        assert "hunter2" not in str(told) + str(await state(w))
        assert (await state(w))["requests"] == 6


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("raise ValueError('late')", "ValueError: late"),
        ("return 7", "AttributeError: 'int' object has no attribute 'admitted'"),
        ("while True: pass", "nothing: it held the event loop for more than 0.25 s"),
        ("return self.take(key, now)", "RecursionError"),
    ],
)
async def test_no_client_hears_of_a_shadows_mistakes(tmp_path: Path, mistake: str, says: str) -> None:
    late = f"        if key == '127.0.0.1':\n            {mistake}\n        times ="
    text = GOOD.replace("        times =", late, 1)
    async with world({"rate_limit": {"limit": 3}}) as w:
        assert (await shadow(w, mine(tmp_path, text))).status_code == 200
        assert await statuses(w, 4) == [200, 200, 200, 429]
        found = (await state(w))["difference"]
        assert (found["number"], says in found["shadow"]) == (1, True)
        assert actions(w) == ["shadowed", "differs"]


async def test_at_its_end_nothing_of_it_is_left(tmp_path: Path) -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        await shadow(w, mine(tmp_path))
        await statuses(w, 3)
        assert (await shadow(w, None)).json().get("shadow") is None
        assert await statuses(w, 3) == [200, 200, 429]
        assert actions(w) == ["shadowed", "unshadowed"]
        stage = w.gateway.policies._slots["rate_limit"].stage
        assert type(stage) is RateLimit
        assert type(stage._default.limiter) is SlidingWindow
        await shadow(w, None)
        assert actions(w) == ["shadowed", "unshadowed"]


@pytest.mark.parametrize("change", [{"options": {"limit": 3}}, {"use": "token_bucket"}])
async def test_a_change_of_the_policy_ends_it(tmp_path: Path, change: dict[str, Any]) -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        await shadow(w, mine(tmp_path))
        assert (await put(w, **change)).json().get("shadow") is None
        await put(w, enabled=False)
        await shadow(w, mine(tmp_path))
        assert (await put(w, enabled=True)).json().get("shadow") is not None


async def test_a_class_that_is_plugged_in_ends_it_and_is_rolled_back_to_what_serves_alone(
    tmp_path: Path,
) -> None:
    late = GOOD.replace("        times =", "        if key == '127.0.0.1': 1 / 0\n        times =", 1)
    async with world({"cache": {"use": "ttl"}}) as w:
        await shadow(w, f"{SOLUTIONS}/03_fixed_window/solution.py:FixedWindow")
        await put(w, use=mine(tmp_path, late))
        assert await statuses(w, 2) == [200, 200]
        assert actions(w)[-1] == "rolled_back"
        assert await state(w) is None
        assert type(w.gateway.policies._slots["rate_limit"].stage) is RateLimit
        # Tuning takes over what a table holds: of a table in a pair it takes nothing.
        await shadow(w, f"{SOLUTIONS}/06_ttl_cache/solution.py:TtlCache", "cache")
        assert (await put(w, "cache", options={"ttl": 5})).status_code == 200


@pytest.mark.parametrize(
    ("policy", "text", "says"),
    [
        ("rate_limit", "def Mine(:", "cannot be loaded"),
        ("rate_limit", GOOD.replace("def take", "def tkae"), "has no method take"),
        (
            "rate_limit",
            GOOD.replace("        times =", "        while True: pass\n        times =", 1),
            "PolicyTimeout",
        ),
        ("cache", "class Mine: pass", "a shadow needs 'ttl' beside it"),
        ("auth", GOOD, "there is nothing to compare"),
        ("bulkhead", GOOD, "there is nothing to compare"),
    ],
)
async def test_what_is_refused_changes_nothing(tmp_path: Path, policy: str, text: str, says: str) -> None:
    async with world() as w:
        before = (await w.admin("GET", "/admin/policies")).json()
        refused = await shadow(w, mine(tmp_path, text), policy)
        assert refused.status_code == 422
        assert says in refused.json()["detail"]
        assert (await w.admin("GET", "/admin/policies")).json() == before
        assert actions(w) == []
        assert (await shadow(w, None, "no_such")).status_code == 404
        assert (await w.admin("PUT", "/admin/policies/rate_limit/shadow", json={})).status_code == 422


async def test_beside_a_plugged_in_class_there_is_no_shadow(tmp_path: Path) -> None:
    async with world() as w:
        await put(w, use=mine(tmp_path))
        refused = await shadow(w, mine(tmp_path))
        assert refused.status_code == 422
        assert "a shadow needs an algorithm of the lab's beside it" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("policy", "use", "solution"),
    [
        ("rate_limit", "fixed_window", "03_fixed_window/solution.py:FixedWindow"),
        ("rate_limit", "sliding_window", "04_sliding_window/solution.py:SlidingWindow"),
        ("rate_limit", "token_bucket", "05_token_bucket/solution.py:TokenBucket"),
        ("cache", "ttl", "06_ttl_cache/solution.py:TtlCache"),
        ("breaker", "consecutive", "10_circuit_breaker/solution.py:Consecutive"),
        ("retry", "backoff", "11_retries/solution.py:Backoff"),
    ],
)
async def test_the_worked_solutions_do_not_differ(policy: str, use: str, solution: str) -> None:
    routes = [{"match": "/service-a/1*", "limit": 3}]
    document = {
        "rate_limit": {"limit": 9, "window": 8, "routes": routes},
        "breaker": {"failures": 2, "open_for": 3},
        "retry": {"backoff": 0.001, "backoff_max": 0.002},
        "cache": {"ttl": 4, "max_entries": 3},
    }
    async with world(document) as w:
        await put(w, policy, use=use)
        answered = await shadow(w, f"{SOLUTIONS}/{solution}", policy)
        assert answered.status_code == 200, answered.text
        seen = set()
        for n in range(120):
            w.now += (0.0, 0.0, 0.4, 1.7)[n % 4]
            failing = n // 20 % 2 == 1
            w.answer = lambda request, failing=failing: httpx.Response(503 if failing else 200, content=b"x")
            seen.add((await w.get(f"/service-a/{n % 7}")).status_code)
            await w.admin("GET", "/admin/snapshot")
        assert {200, 503} <= seen
        assert (await state(w, policy))["difference"] is None
        assert (await state(w, policy))["requests"] > 20
