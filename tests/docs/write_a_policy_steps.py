"""The steps of docs/write-a-policy.md in a copy of the lab that has them (see test_write_a_policy.py)."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from lab.policies.endings import Endings
from lab.policies.maintenance import Maintenance
from lab.policies.nothing import Nothing
from lab.policies.timing import Timing

from gateway import PIPELINE
from lab.model import Exchange, Handler, Response
from lab.policies import Context, breaker, bulkhead, cache, rate_limit, retry
from lab.policies.access_log import AccessLog
from lab.policies.auth import Authentication
from lab.policies.cache import Cache
from lab.policies.retry import Retry
from lab.settings import build
from tests.control.world import World, world
from tests.docs.page import DOCS, blocks, rows, sessions

PAGE = (DOCS / "write-a-policy.md").read_text(encoding="utf-8")


def with_stage(stage: type[Any], after: type[Any] = AccessLog) -> list[Any]:
    at = PIPELINE.index(after) + 1
    return [*PIPELINE[:at], stage, *PIPELINE[at:]]


@pytest.fixture(autouse=True)
def in_the_gateway_s_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.syspath_prepend(str(DOCS.parent))


async def test_nothing_changes_nothing() -> None:
    async def get(pipeline: list[Any]) -> tuple[int, bytes, set[str]]:
        async with world(pipeline=pipeline) as w:
            response = await w.get("/service-a/x")
            return response.status_code, response.content, set(response.headers)

    assert await get(with_stage(Nothing)) == await get(list(PIPELINE))


async def test_maintenance_answers_for_one_service_and_leaves_it_alone() -> None:
    async with world(pipeline=with_stage(Maintenance)) as w:
        refused = await w.get("/service-b/x")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "120")
        assert refused.headers["content-type"] == "application/problem+json"
        assert w.seen == []
        assert (await w.get("/service-a/x")).status_code == 200


async def test_headers_change_both_ways() -> None:
    async with world(pipeline=with_stage(Timing)) as w:

        def slow(request: httpx.Request) -> httpx.Response:
            w.now += 0.25
            return httpx.Response(200)

        w.answer = slow
        response = await w.get("/service-a/x", headers={"x-request-start": "t=1"})
        assert w.seen[0].headers.get_list("x-request-start") == ["t=1790001000.000"]
        assert response.headers["server-timing"] == "gateway;dur=250.0"


async def test_endings_are_told_apart() -> None:
    stage = Endings(None, Context())

    async def end(error: BaseException | None) -> None:
        async def call_next(exchange: Exchange) -> Response:
            return Response(200)

        (await stage(Exchange("GET", b"/"), call_next)).end(error)

    await end(None)
    await end(ConnectionError())
    await end(asyncio.CancelledError())

    async def gone(exchange: Exchange) -> Response:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await stage(Exchange("GET", b"/"), gone)
    assert stage.snapshot() == {"whole": 1, "broken": 1, "abandoned": 2}


@pytest.mark.parametrize(
    ("after", "seen", "identity"),
    [(AccessLog, 3, {None}), (Authentication, 2, {"ada"}), (Cache, 1, {"ada"}), (Retry, 2, {"ada"})],
    ids=["above authentication", "below authentication", "below cache", "below retry"],
)
async def test_the_place_decides_what_a_policy_sees(after: type[Any], seen: int, identity: set[str]) -> None:
    """A refusal, a miss whose first attempt fails, a hit."""
    met: list[str | None] = []

    class Spy(Nothing):
        async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
            met.append(exchange.identity)
            return await call_next(exchange)

    document = {
        "auth": {"enabled": True, "keys": [{"name": "ada", "key": "k"}]},
        "retry": {"backoff": 0.001},
    }
    async with world(document, pipeline=with_stage(Spy, after)) as w:
        w.answer = lambda request: httpx.Response(
            503 if len(w.seen) == 1 else 200, headers={"cache-control": "public, max-age=60"}
        )
        assert (await w.get("/service-a/x")).status_code == 401
        for expected in ("MISS", "HIT"):
            response = await w.get("/service-a/x", headers={"x-api-key": "k"})
            assert (response.status_code, response.headers["x-cache"]) == (200, expected)
    assert len(met) == seen
    assert set(met) == identity


def test_the_configuration_that_is_shown_loads() -> None:
    shown = [build(yaml.safe_load(block), {}) for block in blocks(PAGE, "yaml")]
    assert [settings.spike_arrest.interval for settings in shown] == [0.5, 0.1]
    assert shown[1].rate_limit.use == "own_pace:Paced"
    override = build({}, {"GATEWAY__SPIKE_ARREST__INTERVAL": "3"})
    assert override.spike_arrest.interval == 3.0


async def test_a_class_named_in_the_configuration_serves() -> None:
    async with world(yaml.safe_load(blocks(PAGE, "yaml")[1])) as w:
        assert [(await w.get("/service-a/x")).status_code for _ in range(2)] == [200, 429]
        assert w.gateway.policies.snapshot()["rate_limit"]["plugged"] is True


async def test_spike_arrest_is_a_policy_like_the_others() -> None:
    async with world({"spike_arrest": {"enabled": True, "interval": 0.5}}) as w:
        assert [(await w.get("/service-a/x")).status_code for _ in range(2)] == [200, 429]
        w.now += 0.5
        assert (await w.get("/service-a/x")).status_code == 200
        policies = (await w.admin("GET", "/admin/policies")).json()
        assert policies["spike_arrest"]["state"] == {"arrested": 1, "waiting": 1}


def own_pace() -> str:
    return Path("own_pace.py").read_text(encoding="utf-8")


async def curl(w: World, words: list[str]) -> httpx.Response:
    assert words[:3] == ["curl", "-X", "PUT"]
    assert words[4:7] == ["-H", "Authorization: Bearer $TOKEN", "--json"]
    path = words[3].removeprefix("http://127.0.0.1:8000")
    return await w.admin("PUT", path, json=json.loads(words[7]))


async def test_the_commands_that_are_shown_say_what_is_shown() -> None:
    async with world({"spike_arrest": {"enabled": True}}) as w:
        for _ in range(2):
            await w.get("/service-a/x")
        said = 0
        for words, shown in sessions(PAGE):
            if words[0] == "curl":
                response = await curl(w, words)
                assert re.fullmatch(shown, response.text), response.text
                said += 1
                w.now += 2
                assert (await w.get("/service-a/x")).status_code == 200
        assert said == 3


async def test_saved_and_put_again_the_file_is_read_afresh(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    text = own_pace()
    async with world() as w:
        for changed, expected in (("0, reset", "0"), ("7, reset", "7")):
            own.write_text(text.replace("0, reset", changed), encoding="utf-8")
            await w.admin("PUT", "/admin/policies/rate_limit", json={"use": f"{own}:Paced"})
            w.now += 60
            assert (await w.get("/service-a/x")).headers["x-ratelimit-remaining"] == expected


@pytest.mark.parametrize(("last_line", "said"), rows(PAGE, "last line"))
async def test_a_class_that_breaks_its_promise_is_refused(tmp_path: Path, last_line: str, said: str) -> None:
    *lines, last = own_pace().rstrip().splitlines()
    assert last.lstrip().startswith("return Verdict(")
    own = tmp_path / "own.py"
    own.write_text("\n".join([*lines, " " * 8 + last_line]), encoding="utf-8")
    async with world() as w:
        change = {"use": f"{own}:Paced", "options": {"limit": 60}}
        response = await w.admin("PUT", "/admin/policies/rate_limit", json=change)
        assert response.status_code == 422
        assert said in response.json()["detail"]
        assert w.gateway.policies.snapshot()["rate_limit"]["use"] == "sliding_window"


async def test_a_class_that_fails_late_is_rolled_back() -> None:
    async with world({"trusted_proxies": ["127.0.0.0/8"]}) as w:
        response = await w.admin("PUT", "/admin/policies/rate_limit", json={"use": "own_late.py:Late"})
        assert response.status_code == 200, response.text
        assert (await w.get("/service-a/x")).status_code == 200
        bad = await w.get("/service-a/x", headers={"x-forwarded-for": "192.0.2.66"})
        assert bad.status_code == 200
        (shown,) = blocks(PAGE, "json")
        assert w.events[-1] == json.loads(shown)


async def test_a_mistake_in_the_pipeline_s_own_code_is_a_500() -> None:
    class Wrong(Nothing):
        async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
            raise LookupError

    async with world(pipeline=with_stage(Wrong)) as w:
        assert (await w.get("/service-a/x")).status_code == 500


def test_the_cores_that_are_listed_are_those_there_are() -> None:
    tables = {
        "rate_limit": rate_limit.ALGORITHMS,
        "cache": cache.stage.ALGORITHMS,
        "breaker": breaker.ALGORITHMS,
        "bulkhead": bulkhead.ALGORITHMS,
        "retry": retry.ALGORITHMS,
    }
    listed = rows(PAGE, "section")
    assert {section for section, *_ in listed} == set(tables)
    for section, built_in, has, protocol in listed:
        assert set(re.findall(r"\w+", built_in)) == set(tables[section])
        name, _, path = protocol.replace("`", "").partition(" in ")
        module = Path(path).read_text(encoding="utf-8")
        body = module.partition(f"\nclass {name}(Protocol):\n")[2]
        body = re.split(r"^\S", body, flags=re.MULTILINE)[0]
        methods = set(re.findall(r"    def ([a-z_]+)\(", body))
        assert methods == set(re.findall(r"([a-z_]+)(?=`|\()", has)), section
