from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.settings import ConfigError
from tests.control.world import World, world

GOOD = """
from lab.policies.rate_limit import Verdict

class Mine:
    def __init__(self, limit, window):
        self.limit, self.window, self.seen = limit, window, {}

    def take(self, key, now):
        times = [t for t in self.seen.get(key, []) if now - t < self.window]
        admitted = len(times) < self.limit
        if admitted:
            times.append(now)
        self.seen[key] = times
        wait = 0.0 if admitted else times[0] + self.window - now
        return Verdict(admitted, self.limit, self.limit - len(times), self.window, wait)
"""


def mine(tmp_path: Path, text: str = GOOD, name: str = "Mine") -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return f"{path}:{name}"


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that comes back may take as long as a busy machine needs."""
    if "hangs" not in request.node.name:
        monkeypatch.setattr("lab.control.swap.BUILD", 30.0)


async def put(w: World, policy: str = "rate_limit", **change: Any) -> httpx.Response:
    return await w.admin("PUT", f"/admin/policies/{policy}", json=change)


async def test_a_policy_is_switched_off_and_on_and_keeps_what_it_knows() -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        for _ in range(2):
            await w.get("/service-a/x")
        assert (await w.get("/service-a/x")).status_code == 429
        assert (await put(w, enabled=False)).json()["enabled"] is False
        response = await w.get("/service-a/x")
        assert response.status_code == 200
        assert "x-ratelimit-limit" not in response.headers
        await put(w, enabled=True)
        assert (await w.get("/service-a/x")).status_code == 429
        actions = [event["action"] for event in w.events if event["kind"] == "policy"]
        assert actions == ["disabled", "enabled"]


async def test_tuning_keeps_the_counters() -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        for _ in range(2):
            await w.get("/service-a/x")
        body = (await put(w, options={"limit": 3})).json()
        assert body["options"]["limit"] == 3
        assert body["options"]["window"] == 60
        assert (await w.get("/service-a/x")).status_code == 200
        assert (await w.get("/service-a/x")).status_code == 429
        assert w.events[-1]["action"] == "tuned"


async def test_another_algorithm_takes_over() -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        for _ in range(3):
            await w.get("/service-a/x")
        assert (await put(w, use="token_bucket")).json()["use"] == "token_bucket"
        assert (await w.get("/service-a/x")).status_code == 200
        assert w.events[-1]["action"] == "swapped"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use": "token_bukcet"}, "did you mean 'token_bucket'"),
        ({"use": "no.module:Class"}, "there is no module"),
        ({"options": {"limt": 3}}, "did you mean 'limit'"),
        ({"options": {"limit": 0}}, "rate_limit.limit"),
        ({"enable": True}, "enable"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(change: dict[str, Any], said: str) -> None:
    async with world() as w:
        before = (await w.admin("GET", "/admin/policies")).json()
        response = await put(w, **change)
        assert response.status_code == 422
        assert said in response.json()["detail"]
        assert (await w.admin("GET", "/admin/policies")).json() == before
        assert (await w.admin("PUT", "/admin/policies/no_such", json={})).status_code == 404


async def test_a_class_of_ones_own_serves(tmp_path: Path) -> None:
    async with world({"rate_limit": {"limit": 2}}) as w:
        response = await put(w, use=mine(tmp_path))
        assert response.status_code == 200, response.text
        assert response.json()["plugged"] is True
        assert [(await w.get("/service-a/x")).status_code for _ in range(3)] == [200, 200, 429]
        # Unplugged by naming a built-in again.
        assert (await put(w, use="sliding_window")).json()["plugged"] is False


async def test_saving_the_file_and_plugging_again_runs_the_new_text(tmp_path: Path) -> None:
    async with world({"rate_limit": {"limit": 1}}) as w:
        await put(w, use=mine(tmp_path))
        await put(w, use=mine(tmp_path, GOOD.replace("self.limit - len(times)", "0 if admitted else 0")))
        assert (await w.get("/service-a/x")).headers["x-ratelimit-remaining"] == "0"


SPIN = "        while True:\n            pass\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("def take", "def tkae"), "take"),
        ("def Mine(:", "cannot be loaded"),
        (
            GOOD.replace(
                "self.limit, self.window, self.seen =", "1 / 0; self.limit, self.window, self.seen ="
            ),
            "Zero",
        ),
        (GOOD.replace("        times =", SPIN + "        times =", 1), "PolicyTimeout"),
        (GOOD.replace("return Verdict", "return None and Verdict"), "take"),
        (GOOD.replace("len(times) < self.limit", "True"), "admit"),
    ],
    ids=[
        "misses a method",
        "syntax error",
        "constructor raises",
        "hangs",
        "returns nothing",
        "admits everybody",
    ],
)
async def test_a_class_that_breaks_its_promise_never_serves(tmp_path: Path, text: str, said: str) -> None:
    async with world({"rate_limit": {"limit": 3}}) as w:
        response = await put(w, use=mine(tmp_path, text))
        assert response.status_code == 422, response.text
        assert said in response.json()["detail"]
        assert "\n" not in response.json()["detail"]
        assert (await w.get("/service-a/x")).headers["x-ratelimit-remaining"] == "2"
        assert (await w.admin("GET", "/admin/policies/rate_limit")).json()["use"] == "sliding_window"


LATE = GOOD.replace(
    "    def take(self, key, now):\n",
    "    def take(self, key, now):\n        if key == '192.0.2.66':\n            {mistake}\n",
)


@pytest.mark.parametrize("mistake", ["raise ValueError('late')", "return 7", "while True: pass"])
async def test_a_class_that_fails_later_is_rolled_back_without_a_failed_request(
    tmp_path: Path, mistake: str
) -> None:
    document = {"rate_limit": {"limit": 5}, "trusted_proxies": ["127.0.0.0/8"]}
    async with world(document) as w:
        assert (await put(w, use=mine(tmp_path, LATE.replace("{mistake}", mistake)))).status_code == 200
        good = [await w.get("/service-a/x") for _ in range(2)]
        bad = await w.get("/service-a/x", headers={"x-forwarded-for": "192.0.2.66"})
        after = [await w.get("/service-a/x") for _ in range(2)]
        assert [r.status_code for r in (*good, bad, *after)] == [200] * 5
        (event,) = (e for e in w.events if e.get("action") == "rolled_back")
        assert event["name"] == "rate_limit"
        assert event["reason"]
        now = (await w.admin("GET", "/admin/policies/rate_limit")).json()
        assert (now["use"], now["plugged"]) == ("sliding_window", False)


async def test_no_request_fails_while_policies_are_swapped(tmp_path: Path) -> None:
    async with world({"rate_limit": {"limit": 1_000_000}}) as w:
        own = mine(tmp_path)
        stop = False
        statuses: list[int] = []

        async def traffic(n: int) -> None:
            while not stop:
                statuses.append(
                    (await w.get(f"/service-a/{n}", headers={"cache-control": "no-cache"})).status_code
                )

        async with asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(traffic(n))
            for use in ("token_bucket", "fixed_window", own, "sliding_window") * 3:
                assert (await put(w, use=use)).status_code == 200
            for name, use in (
                ("breaker", "failure_rate"),
                ("cache", "ttl"),
                ("cache", "http"),
                ("breaker", "consecutive"),
            ):
                assert (await put(w, name, use=use)).status_code == 200
            for name in ("auth", "retry", "bulkhead"):
                await put(w, name, enabled=False)
            stop = True
        assert len(statuses) > 20
        assert set(statuses) == {200}


async def test_a_class_in_the_configuration_file_serves_and_is_guarded(tmp_path: Path) -> None:
    own = mine(tmp_path, LATE.replace("{mistake}", "raise ValueError('late')"))
    document = {"rate_limit": {"limit": 2, "use": own}, "trusted_proxies": ["127.0.0.0/8"]}
    async with world(document) as w:
        assert [(await w.get("/service-a/x")).status_code for _ in range(3)] == [200, 200, 429]
        assert (await w.get("/service-a/x", headers={"x-forwarded-for": "192.0.2.66"})).status_code == 200
        assert (await w.admin("GET", "/admin/policies/rate_limit")).json()["use"] == "sliding_window"


TABLE = """
class Table:
    def __init__(self, ttl):
        self.ttl, self.things = ttl, {}

    def get(self, key, now):
        put_at, thing = self.things.get(key, (0, None))
        return thing if thing is not None and now - put_at < self.ttl else None

    def put(self, key, entry, now):
        self.things[key] = now, entry

    def delete(self, key):
        self.things.pop(key, None)

    def clear(self):
        self.things.clear()
"""


async def test_a_table_of_ones_own_is_the_cache(tmp_path: Path) -> None:
    async with world() as w:
        response = await put(w, "cache", use=mine(tmp_path, TABLE, "Table"))
        assert response.status_code == 200, response.text
        assert [(await w.get("/service-a/x")).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]
        w.now += 31
        assert (await w.get("/service-a/x")).headers["x-cache"] == "MISS"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLE.replace("def clear", "def empty"), "clear"),
        (TABLE.replace("now - put_at < self.ttl", "True"), "after 30 s"),
        (TABLE.replace("self.things[key] =", "self.things[0] =").replace("get(key,", "get(0,"), "another"),
        (TABLE.replace("self.things[key] = now, entry", "pass"), "give back"),
        (TABLE.replace("self.things.pop(key, None)", "pass"), "deleted"),
        (TABLE.replace("pop(key, None)", "pop(key)"), "KeyError"),
        (TABLE.replace("self.things.clear()", "pass"), "clear()"),
    ],
)
async def test_a_table_that_loses_or_keeps_too_much_never_serves(
    tmp_path: Path, text: str, said: str
) -> None:
    async with world() as w:
        response = await put(w, "cache", use=mine(tmp_path, text, "Table"))
        assert response.status_code == 422, response.text
        assert said in response.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_cache_that_is_off_is_seen_as_a_bypass(method: str) -> None:
    async with world({"cache": {"enabled": False}}) as w:
        response = await w.client.request(method, "/service-a/x")
        assert response.headers["x-cache"] == "BYPASS"
        assert response.headers["cache-status"] == "gateway-lab; fwd=bypass"
        assert "x-cache" not in (await w.client.post("/service-a/x")).headers


@pytest.mark.parametrize(
    ("section", "use"), [("rate_limit", "sliding_windw"), ("cache", "htp"), ("breaker", "x:Y")]
)
def test_a_class_that_the_configuration_names_and_nobody_has_stops_the_start(section: str, use: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section}\.use: [^\n]*$"):
        World({section: {"use": use}})


@pytest.mark.parametrize(
    ("cache_control", "status"), [("max-age=5", 200), ("max-age=5, must-revalidate", 503)]
)
async def test_an_open_breaker_may_fall_back_on_a_stale_answer(cache_control: str, status: int) -> None:
    document = {"cache": {"stale_if_error": 60}, "breaker": {"failures": 1}, "retry": {"enabled": False}}
    async with world(document) as w:
        w.answer = lambda request: httpx.Response(
            200, headers={"cache-control": cache_control}, content=b"old"
        )
        await w.get("/service-a/x")
        await w.admin("PUT", "/admin/breakers/service-a", json={"state": "open"})
        w.now += 30
        response = await w.get("/service-a/x")
        assert response.status_code == status
        if status == 200:
            assert response.content == b"old"
            assert "detail=stale-if-error" in response.headers["cache-status"]
        w.now += 60
        assert (await w.get("/service-a/x")).status_code == 503


async def test_what_takes_over_from_a_class_of_the_configuration_keeps_its_options(tmp_path: Path) -> None:
    own = mine(tmp_path, LATE.replace("{mistake}", "raise ValueError('late')"))
    document = {"rate_limit": {"limit": 2, "use": own}, "trusted_proxies": ["127.0.0.0/8"]}
    async with world(document) as w:
        await w.get("/service-a/x", headers={"x-forwarded-for": "192.0.2.66"})
        now = (await w.admin("GET", "/admin/policies/rate_limit")).json()
        assert (now["use"], now["options"]["limit"]) == ("sliding_window", 2)
        assert [(await w.get("/service-a/x")).status_code for _ in range(3)] == [200, 200, 429]


async def test_a_whole_cache_core_of_ones_own_is_looked_at_and_serves(tmp_path: Path) -> None:
    good = "from lab.policies.cache.http import HttpCache\n\nclass Mine(HttpCache):\n    pass\n"
    bad = "class Mine:\n    def lookup(self, exchange, now): ...\n"
    async with world() as w:
        refused = await put(w, "cache", use=mine(tmp_path, bad))
        assert refused.status_code == 422
        assert "Mine has no method" in refused.json()["detail"]
        assert (await put(w, "cache", use=mine(tmp_path, good))).status_code == 200
        assert [(await w.get("/service-a/x")).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]


COMPARTMENT = """
from lab.policies.bulkhead import Semaphore

class Mine(Semaphore):
    times = 0

    def release(self):
        self.times += 1
        if self.times == 3:
            {mistake}
        super().release()
"""

COUNTED = """
from lab.policies.breaker.consecutive import Consecutive

class Mine(Consecutive):
    calls = 0

    def success(self, permission, now, duration):
        self.calls += 1
        if self.calls == 3:
            {mistake}
        super().success(permission, now, duration)
"""

FULL = TABLE.replace(
    "self.things[key] = now, entry",
    "self.things[key] = now, entry\n        if len(self.things) == 3:\n            {mistake}",
)


@pytest.mark.parametrize("mistake", ["raise ValueError('late')", "while True: pass"])
@pytest.mark.parametrize(
    ("policy", "text", "name"),
    [("cache", FULL, "Table"), ("breaker", COUNTED, "Mine"), ("bulkhead", COMPARTMENT, "Mine")],
    ids=["cache", "breaker", "bulkhead"],
)
async def test_a_mistake_made_when_the_body_ends_is_rolled_back_too(
    tmp_path: Path, policy: str, text: str, name: str, mistake: str
) -> None:
    async with world() as w:
        response = await put(w, policy, use=mine(tmp_path, text.replace("{mistake}", mistake), name))
        assert response.status_code == 200, response.text
        answers = [await w.get(f"/service-a/{n}") for n in range(5)]
        assert [(r.status_code, r.content) for r in answers] == [(200, b"ok")] * 5
        (event,) = (e for e in w.events if e.get("action") == "rolled_back")
        assert event["name"] == policy
        held = "PolicyTimeout: it held the event loop for too long"
        assert event["reason"] == ("ValueError: late" if "late" in mistake else held)
        assert (await w.admin("GET", f"/admin/policies/{policy}")).json()["plugged"] is False


@pytest.mark.parametrize("mistake", ["1 / 0", "while True: pass"])
async def test_figures_that_cannot_be_had_are_a_mistake_like_others(tmp_path: Path, mistake: str) -> None:
    text = (
        "from lab.policies.breaker.consecutive import Consecutive\n\n"
        f"class Mine(Consecutive):\n    def snapshot(self, now):\n        {mistake}\n"
    )
    async with world() as w:
        response = await put(w, "breaker", use=mine(tmp_path, text))
        assert response.status_code == 200, response.text
        assert (response.json()["use"], response.json()["plugged"]) == ("consecutive", False)
        assert (await w.admin("GET", "/admin/snapshot")).status_code == 200
        (event,) = (e for e in w.events if e.get("action") == "rolled_back")
        assert event["name"] == "breaker"
