from __future__ import annotations

from typing import Any

import pytest

from lab.faults.model import Active, Fault, FaultError
from lab.faults.registry import FAULTS, parse


def scope(path: str = "/items/1", **headers: str) -> dict[str, Any]:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "headers": fields}


def active(**data: Any) -> Active:
    return Active("it", parse({"kind": "error", **data}), 0.0)


def struck(it: Active, count: int) -> list[int]:
    return [n for n in range(count) if it.strikes(scope())]


async def test_probability_zero_is_never_and_one_is_always() -> None:
    assert struck(active(probability=0), 10_000) == []
    assert len(struck(active(probability=1), 10_000)) == 10_000


async def test_a_probability_is_kept_on_the_average() -> None:
    assert 2700 < len(struck(active(probability=0.3, seed=1), 10_000)) < 3300


async def test_the_same_seed_strikes_the_same_requests() -> None:
    first, again, other = (struck(active(probability=0.5, seed=s), 200) for s in (7, 7, 8))
    assert first == again != other
    # How hard it strikes is drawn elsewhere, so that it does not move who is struck.
    jittery = active(kind="latency", ms=10, jitter=5, probability=0.5, seed=7)
    hits = []
    for n in range(200):
        if jittery.strikes(scope()):
            hits.append(n)
            jittery.random.uniform(0, 1)
    assert hits == first


async def test_only_the_first_matching_requests() -> None:
    it = active(first=3, path="/items/*")
    assert not it.strikes(scope("/users"))
    assert struck(it, 10) == [0, 1, 2]
    assert (it.matched, it.struck) == (3, 3)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        (None, "/items/1", True),
        (None, "/health", False),
        ("/health", "/health", True),
        ("/**", "/health", True),
        ("/items/*", "/items/1", True),
        ("/items/*", "/items/1/x", False),
        ("/items/**", "/items/1/x", True),
        ("*.json", "/a.json", False),
        ("**.json", "/a.json", True),
        ("/a.c", "/abc", False),
    ],
)
async def test_paths(glob: str | None, path: str, matches: bool) -> None:
    it = active() if glob is None else active(path=glob)
    assert it.strikes(scope(path)) is matches


async def test_header_fields() -> None:
    by_name, by_value = active(header="X-Api-Key"), active(header="X-Client: al*")
    assert by_name.strikes(scope(x_api_key="anything"))
    assert not by_name.strikes(scope(x_other="anything"))
    assert by_value.strikes(scope(x_client="alice/1"))
    assert not by_value.strikes(scope(x_client="bob"))


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_data_and_back(kind: str) -> None:
    fault = parse({"kind": kind})
    assert fault.kind == kind
    assert fault.ttl == 30
    assert fault.label
    assert parse(fault.model_dump()) == fault
    assert isinstance(FAULTS[kind].model_validate_json(fault.model_dump_json()), Fault)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "kind: missing; a fault is one of latency, "),
        ({"kind": "latenc"}, "kind: no fault is called 'latenc'; did you mean 'latency'?"),
        ({"kind": "latency", "mss": 3}, "latency: mss: unknown key; did you mean 'ms'?"),
        ({"kind": "latency", "ms": "soon"}, "latency: ms: a number was expected, got 'soon'"),
        ({"kind": "latency", "ms": 1, "jitter": 2}, "latency: jitter: at most ms (1) was expected, got 2"),
        ({"kind": "latency", "ms": "soon", "jitter": 2}, "latency: ms: a number was expected, got 'soon'"),
        ({"kind": "error", "path": "items"}, "error: path: a path such as /items/* was expected"),
        ({"kind": "error", "header": "X Key"}, "error: header: a field such as X-Api-Key, or "),
        ({"kind": "error", "header": "X-Key\n"}, "error: header: a field such as X-Api-Key, or "),
        ({"kind": "latency", "ttl": 0}, "latency: ttl: more than 0 was expected"),
        ({"kind": "latency", "ttl": 1e9}, "latency: ttl: at most 600 was expected"),
        ({"kind": "latency", "ttl": float("nan")}, "latency: ttl: "),
        ({"kind": "error", "status": 200}, "error: status: at least 400 was expected"),
        ({"kind": "error", "probability": 1.5}, "error: probability: at most 1 was expected"),
        ({"kind": "refuse", "probability": 0.5}, "refuse: probability: unknown key"),
        ({"kind": "ws_close", "code": 1006}, "a close code that may be sent was expected"),
    ],
)
def test_mistakes_are_one_line(data: dict[str, Any], message: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
