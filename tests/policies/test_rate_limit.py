"""The stage: who is counted where, and what is told. The algorithms are tested in rate_limit/."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest

from lab.model import Exchange, Headers, Response
from lab.policies import Context, plug
from lab.policies.rate_limit import ALGORITHMS, FixedWindow, RateLimit, Verdict, whole_seconds
from lab.settings import RateLimitSettings, RouteLimit

OWN = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A `call_next` that counts, and answers with the header fields it was given."""

    def __init__(self, status: int = 200, headers: Headers | None = None) -> None:
        self.calls = 0
        self.status = status
        self.headers = headers or []

    async def __call__(self, exchange: Exchange) -> Response:
        self.calls += 1
        await asyncio.sleep(0)
        return Response(self.status, self.headers)


def stage(clock: Clock | None = None, *, core: Any = None, **options: Any) -> RateLimit:
    context = Context(clock=clock or Clock(), wall=lambda: 1_790_000_000.0)
    return RateLimit(RateLimitSettings(**options), context, core=core)


def ask(path: str = "/service-a/items/5", client: str = "192.0.2.1", identity: str | None = None) -> Exchange:
    exchange = Exchange("GET", path.encode(), client=client, service="service-a")
    exchange.identity = identity
    return exchange


def told(response: Response) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in response.headers if name.decode() in OWN}


@pytest.mark.parametrize("use", ALGORITHMS)
async def test_exactly_limit_of_a_thousand_concurrent_requests_are_forwarded(use: str) -> None:
    limiter, service = stage(use=use, limit=10), Service()
    exchanges = [ask() for _ in range(1000)]
    responses = await asyncio.gather(*(limiter(exchange, service) for exchange in exchanges))
    assert service.calls == 10
    assert sorted(r.status for r in responses) == [200] * 10 + [429] * 990
    assert [e.limited for e in exchanges].count(False) == 10
    assert [e.limited for e in exchanges].count(True) == 990


async def test_the_fields_on_an_admitted_response() -> None:
    response = await stage(limit=10, window=60)(ask(), Service())
    assert told(response) == {
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "9",
        "x-ratelimit-reset": "60",
        "ratelimit-policy": '"default";q=10;w=60',
        "ratelimit": '"default";r=9;t=60',
    }


async def test_a_refusal_says_when_to_come_back() -> None:
    clock, service = Clock(), Service()
    limiter = stage(clock, limit=1, window=60)
    await limiter(ask(), service)
    clock.now += 12.5
    response = await limiter(ask(), service)
    assert service.calls == 1
    assert response.status == 429
    assert response.header(b"retry-after") == b"48"
    assert told(response)["x-ratelimit-reset"] == "48"
    assert told(response)["ratelimit"] == '"default";r=0;t=48'
    body = json.loads(response.content)
    assert body.items() >= {"status": 429, "retry_after": 48, "service": "service-a"}.items()
    assert body["detail"] == "More than 1 requests in 60 seconds."
    clock.now += 48
    assert (await limiter(ask(), service)).status == 200


@pytest.mark.parametrize("status", [101, 304, 404, 502])
async def test_every_response_that_the_limiter_saw_has_the_fields(status: int) -> None:
    response = await stage()(ask(), Service(status))
    assert (response.status, set(told(response))) == (status, set(OWN))


async def test_the_services_own_fields_are_replaced_and_its_list_is_not_touched() -> None:
    theirs: Headers = [(b"x-ratelimit-limit", b"5000"), (b"etag", b'"1"'), (b"ratelimit", b'"burst";r=1;t=1')]
    service = Service(headers=theirs)
    response = await stage(limit=7)(ask(), service)
    names = [name.decode() for name, _ in response.headers]
    assert sorted(names) == sorted([*OWN, "etag"])
    assert response.header(b"x-ratelimit-limit") == b"7"
    assert len(theirs) == 3  # a cache may hold that very list


async def test_each_address_counts_for_itself_and_a_key_wherever_it_comes_from() -> None:
    limiter, service = stage(limit=1), Service()
    statuses = [
        (await limiter(ask(client=client, identity=identity), service)).status
        for client, identity in [
            ("192.0.2.1", None),
            ("192.0.2.2", None),
            ("192.0.2.1", None),
            ("192.0.2.1", "demo"),
            ("192.0.2.3", "demo"),
            ("2001:db8::1", None),
            ("2001:db8::2", None),
        ]
    ]
    assert statuses == [200, 200, 429, 200, 429, 200, 200]


async def test_the_first_route_that_matches_counts_and_each_for_itself() -> None:
    limiter = stage(
        limit=3,
        routes=[
            RouteLimit(match="/service-a/items/*", limit=1, window=2.5),
            RouteLimit(match="/service-a/**", limit=2, window=60),
        ],
    )

    async def remaining(path: str) -> tuple[int, str]:
        response = await limiter(ask(path), Service())
        return response.status, told(response)["ratelimit-policy"]

    items, users, other = ("/service-a/items/5", "/service-a/users", "/service-b/x")
    assert await remaining(items) == (200, '"route-1";q=1;w=3')
    assert await remaining(items) == (429, '"route-1";q=1;w=3')
    assert [await remaining(users) for _ in range(3)] == [(s, '"route-2";q=2;w=60') for s in (200, 200, 429)]
    assert [await remaining(other) for _ in range(4)] == [
        (s, '"default";q=3;w=60') for s in (200, 200, 200, 429)
    ]


async def test_what_then_fails_has_counted() -> None:
    async def broken(exchange: Exchange) -> Response:
        raise asyncio.CancelledError

    limiter = stage(limit=1)
    with pytest.raises(asyncio.CancelledError):
        await limiter(ask(), broken)
    assert (await limiter(ask(), Service())).status == 429


class Strict:
    """A student's class: it knows no limit but its own, and little else."""

    def __init__(self) -> None:
        self.keys: list[Hashable] = []

    def take(self, key: Hashable, now: float) -> Verdict:
        self.keys.append(key)
        return Verdict(len(self.keys) < 3, 2, max(0, 2 - len(self.keys)), 0.0, 0.2)


async def test_a_class_of_ones_own_decides_and_the_fields_tell_its_limit() -> None:
    core = Strict()
    limiter = stage(core=core, limit=10)
    responses = [await limiter(ask(), Service()) for _ in range(3)]
    assert [r.status for r in responses] == [200, 200, 429]
    assert told(responses[0])["ratelimit-policy"] == '"default";q=2;w=60'
    assert told(responses[0])["x-ratelimit-limit"] == "2"
    assert told(responses[0])["x-ratelimit-reset"] == "1"
    assert responses[2].header(b"retry-after") == b"1"
    assert core.keys == ["192.0.2.1"] * 3
    assert limiter.snapshot()["entries"][0]["clients"] is None


async def test_routes_beside_a_core_are_made_of_what_use_names() -> None:
    core = Strict()
    limiter = stage(core=core, use="fixed_window", routes=[RouteLimit(match="/service-a/x", limit=1)])
    assert [(await limiter(ask("/service-a/x"), Service())).status for _ in range(2)] == [200, 429]
    assert core.keys == []


def test_a_wrong_name_is_told_in_one_line() -> None:
    with pytest.raises(plug.PlugError, match="did you mean 'sliding_window'"):
        stage(use="sliding_windw")


async def test_the_snapshot_shows_the_entries_and_the_busiest_clients() -> None:
    clock = Clock()
    limiter = stage(clock, limit=2, routes=[RouteLimit(match="/service-a/x", limit=5, window=1)])
    for client, requests in [("192.0.2.1", 1), ("192.0.2.2", 4)]:
        for _ in range(requests):
            await limiter(ask(client=client), Service())
        clock.now += 10
    assert limiter.snapshot() == {
        "admitted": 3,
        "limited": 2,
        "entries": [
            {"name": "route-1", "match": "/service-a/x", "limit": 5, "window": 1.0, "clients": 0},
            {"name": "default", "match": "/**", "limit": 2, "window": 60.0, "clients": 2},
        ],
        "clients": [
            {"client": "192.0.2.2", "admitted": 2, "limited": 2, "last": 1_790_000_000.0 - 10},
            {"client": "192.0.2.1", "admitted": 1, "limited": 0, "last": 1_790_000_000.0 - 20},
        ],
    }
    json.dumps(limiter.snapshot())


async def test_what_the_snapshot_keeps_is_bounded_and_the_busy_stay() -> None:
    limiter = stage(limit=5, max_clients=10)
    for _ in range(5):
        await limiter(ask(client="busy"), Service())
    for i in range(5000):
        await limiter(ask(client=f"198.51.100.{i}"), Service())
        if i % 100 == 0:
            await limiter(ask(client="busy"), Service())
    snapshot = limiter.snapshot()
    assert len(snapshot["clients"]) == 20
    assert snapshot["clients"][0] == {"client": "busy", "admitted": 5, "limited": 50, "last": 1_790_000_000.0}
    assert snapshot["entries"][0]["clients"] == 10
    assert len(limiter._tally._clients) == 1000


async def test_a_successor_goes_on_where_glob_and_algorithm_are_the_same() -> None:
    def options(limit: int, *matches: str) -> dict[str, Any]:
        return {"limit": limit, "routes": [RouteLimit(match=match, limit=1) for match in matches]}

    old = stage(use="fixed_window", **options(2, "/service-a/x", "/service-a/y"))
    for path in ("/service-a/x", "/service-a/items", "/service-a/items"):
        await old(ask(path), Service())
    new = stage(use="fixed_window", **options(3, "/service-a/z", "/service-a/x"))
    new.adopt(old)
    paths = ("/service-a/x", "/service-a/z", "/service-a/items", "/service-a/items")
    assert [(await new(ask(path), Service())).status for path in paths] == [429, 200, 200, 429]
    assert new.snapshot()["admitted"] == 5

    other = stage(use="token_bucket", limit=3)
    other.adopt(new)
    assert (await other(ask(), Service())).status == 200
    assert other.snapshot()["limited"] == 2


async def test_a_class_that_cannot_adopt_starts_afresh() -> None:
    old, new = stage(core=Strict()), stage(core=Strict())
    await old(ask(), Service())
    new.adopt(old)
    assert (await new(ask(), Service())).header(b"x-ratelimit-remaining") == b"1"


async def test_the_constructor_gets_what_it_names() -> None:
    limiter = stage(use="fixed_window", limit=4, window=7, max_clients=9)
    core = limiter._default.limiter
    assert isinstance(core, FixedWindow)
    assert (core.limit, core.window, core.max_clients) == (4, 7.0, 9)


@pytest.mark.parametrize(
    ("wait", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (6.0000000001, 6), (6.001, 7), (59.9, 60)]
)
def test_seconds_are_rounded_up_and_rounding_errors_down(wait: float, whole: int) -> None:
    assert whole_seconds(wait) == whole


async def test_the_class_in_the_docs_works_as_it_stands(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/policies/rate_limit.md"
    [code] = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "alternate.py"
    file.write_text(code, encoding="utf-8")
    limiter = stage(use=f"{file}:Alternate")
    assert [(await limiter(ask(), Service())).status for _ in range(4)] == [200, 429, 200, 429]


# -- a class on probation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ALGORITHMS)
@pytest.mark.parametrize("limit", [1, 3, 1_000_000])
def test_the_built_in_classes_keep_the_promises(use: str, limit: int) -> None:
    RateLimit.prove(RateLimitSettings(use=use, limit=limit, window=0.5), Context())


class Mute:
    def give(self, key: Hashable, now: float) -> None: ...


class Silent(FixedWindow):
    def take(self, key: Hashable, now: float) -> Any:
        return super().take(key, now).admitted


class Endless(FixedWindow):
    def take(self, key: Hashable, now: float) -> Verdict:
        return Verdict(True, self.limit, 0, float("inf"))


class Vague(FixedWindow):
    def take(self, key: Hashable, now: float) -> Verdict:
        return Verdict(True, self.limit, -1, 1.0)


class Closed(FixedWindow):
    def take(self, key: Hashable, now: float) -> Verdict:
        return Verdict(False, self.limit, 0, 1.0, 1.0)


class Generous(FixedWindow):
    def __init__(self, limit: int, window: float) -> None:
        super().__init__(limit + 1, window)


class Shared(FixedWindow):
    def take(self, key: Hashable, now: float) -> Verdict:
        return super().take("everybody", now)


class Final(FixedWindow):
    def __init__(self, limit: int, window: float) -> None:
        super().__init__(limit, 2 * window + 0.1)


class Picky(FixedWindow):
    def __init__(self, limit: int, window: float) -> None:
        if limit > 50:
            raise ValueError("50 at most")
        super().__init__(limit, window)


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Mute, "Mute has no method take(key, now)"),
        (Silent, "take() returned True; a Verdict with a number of at least 0 for admitted was expected"),
        (
            Endless,
            "take() returned Verdict(admitted=True, limit=50, remaining=0, reset=inf, retry_after=0.0); "
            "a Verdict with a number of at least 0 for reset was expected",
        ),
        (
            Vague,
            "take() returned Verdict(admitted=True, limit=50, remaining=-1, reset=1.0, retry_after=0.0); "
            "a Verdict with a number of at least 0 for remaining was expected",
        ),
        (Closed, "take() refuses the first request of a client"),
        (Generous, "take() admits more than 50 requests at once, the limit it was given"),
        (Shared, "one client's requests count for another one"),
        (Final, "take() still refuses after two windows of 60 s"),
        (Picky, "Picky cannot be made: ValueError: 50 at most"),
    ],
)
def test_a_broken_promise_is_named(monkeypatch: pytest.MonkeyPatch, cls: type[Any], complaint: str) -> None:
    monkeypatch.setattr(plug, "find", lambda use, built_in: cls)
    with pytest.raises(plug.PlugError) as caught:
        RateLimit.prove(RateLimitSettings(use="mine:Class", limit=60), Context())
    assert str(caught.value).removeprefix("use: mine:Class: ") == complaint
