"""A shadow: what is compared, what ends it, and that nothing of it gets out."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import Exchange, Response
from lab.policies.guard import Watchdog
from lab.policies.plug import PlugError
from lab.policies.shadow import PAIRS, Difference, Shadow, Shadowed, pair

LIMITS = {"limit": 2, "window": 10.0, "max_clients": 100}
SOLUTIONS = Path(__file__).parents[2] / "exercises"
REFERENCES = {
    "03_fixed_window": ("rate_limit", "fixed_window", "FixedWindow", LIMITS),
    "04_sliding_window": ("rate_limit", "sliding_window", "SlidingWindow", LIMITS),
    "05_token_bucket": ("rate_limit", "token_bucket", "TokenBucket", LIMITS),
    "06_ttl_cache": ("cache", "ttl", "TtlCache", {"ttl": 10.0, "max_entries": 3}),
    "10_circuit_breaker": (
        "breaker",
        "consecutive",
        "Consecutive",
        {"failures": 2, "open_for": 5.0, "probes": 2},
    ),
    "11_retries": ("retry", "backoff", "Backoff", {"backoff": 0.5, "backoff_max": 3.0}),
}


def shadow_of(use: str, heard: list[Difference]) -> Shadow:
    shadow = Shadow(use, Watchdog(0.5))
    shadow.differs = heard.append
    return shadow


def beside(
    section: str, serving: str, use: str, options: dict[str, Any]
) -> tuple[Any, Shadow, list[Difference]]:
    """A pair of cores, the shadow in it, and the list in which its difference ends up."""
    heard: list[Difference] = []
    shadow = shadow_of(use, heard)
    return pair(section, serving, shadow)(**options), shadow, heard


def limiters(tmp_path: Path, take: str) -> tuple[Any, Shadow, list[Difference]]:
    """The lab's fixed window, and a class whose `take` has that body; `verdict` is the lab's own."""
    path = tmp_path / "mine.py"
    body = "\n".join(f"        {line}" for line in take.splitlines())
    path.write_text(
        "from lab.policies.rate_limit import FixedWindow\n"
        "class Mine(FixedWindow):\n    def take(self, key, now):\n"
        f"        verdict = super().take(key, now)\n{body}\n",
        encoding="utf-8",
    )
    return beside("rate_limit", "fixed_window", f"{path}:Mine", LIMITS)


# -- what the lab's and the worked solutions have in common --------------------------------------------------


def solution(name: str) -> tuple[Any, Shadow, list[Difference]]:
    section, serving, cls, options = REFERENCES[name]
    return beside(section, serving, f"{SOLUTIONS / name / 'solution.py'}:{cls}", options)


@pytest.mark.parametrize("name", ["03_fixed_window", "04_sliding_window", "05_token_bucket"])
@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 12)), max_size=60))
def test_the_solutions_limit_as_the_labs_do(name: str, steps: list[tuple[str, float]]) -> None:
    core, _, heard = solution(name)
    now = 1000.0
    for key, passes in steps:
        now += passes
        core.take(key, now)
    assert heard == []


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("gpdc"), st.sampled_from([b"a", b"b", b"c", b"d"]), st.floats(0, 6))
    )
)
def test_the_solution_keeps_what_the_labs_table_keeps(steps: list[tuple[str, bytes, float]]) -> None:
    core, _, heard = solution("06_ttl_cache")
    now = 1000.0
    for what, key, passes in steps:
        now += passes
        match what:
            case "g":
                core.get(key, now)
            case "p":
                core.put(key, object(), now)
            case "d":
                core.delete(key)
            case "c":
                core.clear()
    assert heard == []


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["success", "failure", "release"]), st.floats(0, 4)), max_size=60
    )
)
def test_the_solution_breaks_as_the_labs_breaker_does(steps: list[tuple[str, float]]) -> None:
    core, _, heard = solution("10_circuit_breaker")
    now = 1000.0
    for result, passes in steps:
        now += passes
        core.state(now)
        core.retry_after(now)
        if (permission := core.acquire(now)) is not None:
            core.release(permission, now) if result == "release" else getattr(core, result)(
                permission, now, 0.1
            )
    assert heard == []


@given(retry=st.integers(1, 2000), draw=st.floats(0, 0.999))
def test_the_solution_waits_as_the_lab_does(retry: int, draw: float) -> None:
    core, _, heard = solution("11_retries")
    core.pause(retry, draw)
    assert heard == []


# -- differences ---------------------------------------------------------------------------------------------


def test_the_first_difference_is_told_once_and_ends_it(tmp_path: Path) -> None:
    core, shadow, heard = limiters(tmp_path, "verdict.admitted = True\nreturn verdict")
    asked = [core.take("ada", 100.0 + n) for n in range(6)]
    assert [verdict.admitted for verdict in asked] == [True, True, False, False, False, False], (
        "the lab's serves"
    )
    (difference,) = heard
    assert difference == shadow.difference
    assert difference.call == "take('ada', 2.000)"
    assert difference.serving == "refused, remaining 0, reset 8.000 s, retry_after 8.000 s"
    assert difference.shadow == "admitted, remaining 0, reset 8.000 s"


@pytest.mark.parametrize(
    ("take", "says"),
    [
        ("verdict.remaining -= 1\nreturn verdict", "admitted, remaining 0"),
        ("verdict.reset += 0.5\nreturn verdict", "reset 10.500 s"),
        ("verdict.limit = 3\nreturn verdict", "admitted, remaining 1"),
        ("raise LookupError('what\\nnow?')", "LookupError: what now?"),
        ("return None", "AttributeError: 'NoneType' object has no attribute 'admitted'"),
        ("while True: pass", "nothing: it held the event loop for more than 0.25 s"),
        ("raise SystemError", "SystemError"),
    ],
)
def test_what_counts_as_a_difference(tmp_path: Path, take: str, says: str) -> None:
    core, _, heard = limiters(tmp_path, take)
    assert core.take("ada", 100.0).admitted
    assert core.take("ada", 100.0).admitted
    (difference,) = heard
    assert says in difference.shadow
    assert "\n" not in str(difference)


@pytest.mark.parametrize(
    "take", ["verdict.reset += 0.0005\nreturn verdict", "verdict.retry_after = 7\nreturn verdict"]
)
def test_what_no_client_sees_is_no_difference(tmp_path: Path, take: str) -> None:
    core, _, heard = limiters(tmp_path, take)
    core.take("ada", 100.0)
    assert heard == []


def test_of_a_table_is_told_what_it_gave_and_no_query(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "class Mine(dict):\n    def __init__(self): pass\n"
        "    def get(self, key, now): return super().get(key)\n"
        "    def put(self, key, entry, now): self[key] = entry\n    delete = dict.pop\n",
        encoding="utf-8",
    )
    core, _, heard = beside("cache", "ttl", f"{path}:Mine", {"ttl": 10.0, "max_entries": 3})
    entry = object()
    assert core.get(b"/service-a/x?token=hunter2", 0.0) is None
    core.put(b"/service-a/x?token=hunter2", entry, 0.0)
    assert core.get(b"/service-a/x?token=hunter2", 9.0) is entry
    assert core.get(b"/service-a/x?token=hunter2", 11.0) is None
    (difference,) = heard
    assert difference.call == "get('/service-a/x?…', 11.000)"
    assert (difference.serving, difference.shadow) == ("nothing", "what was put")
    assert "hunter2" not in str(difference)
    core.delete(b"nothing")
    core.clear()
    assert len(core) == 0


def test_of_a_breaker_permissions_states_and_waits_are_compared(tmp_path: Path) -> None:
    source = (SOLUTIONS / "10_circuit_breaker/solution.py").read_text(encoding="utf-8")
    path = tmp_path / "mine.py"

    def opened(change: tuple[str, str]) -> list[Difference]:
        assert change[0] in source
        path.write_text(source.replace(*change), encoding="utf-8")
        options = {"failures": 2, "open_for": 5.0, "probes": 1}
        core, _, heard = beside("breaker", "consecutive", f"{path}:Consecutive", options)
        for now in (0.0, 1.0):
            core.failure(core.acquire(now), now, 0.1)
        assert core.acquire(2.0) is None
        assert core.state(2.0) == "open"
        assert core.retry_after(2.0) == 4.0
        assert core.reason == "2 failures in a row"
        probe = core.acquire(7.0)
        assert core.retry_after(7.5) == 4.5, "the solution says 5.0: nobody knows, so it is not compared"
        core.success(probe, 7.5, 0.1)
        assert core.state(7.5) == "closed"
        return heard

    assert opened(("class Consecutive", "class Consecutive")) == []
    (late,) = opened(("self._in_a_row == self.failures", "self._in_a_row > self.failures"))
    assert (late.call, late.serving, late.shadow) == ("acquire(2.000)", "a refusal", "a permission")
    (wrong,) = opened(("return self._until - now", "return self._until"))
    assert (wrong.call, wrong.serving, wrong.shadow) == ("retry_after(2.000)", "4.000 s", "6.000 s")
    (stays,) = opened(("now >= self._until", "now > self._until + 10"))
    assert (stays.call, stays.serving, stays.shadow) == ("acquire(7.000)", "a permission", "a refusal")


# -- which request it was ------------------------------------------------------------------------------------


async def test_a_difference_names_the_request_that_it_belongs_to(tmp_path: Path) -> None:
    core, shadow, heard = limiters(tmp_path, "verdict.remaining = 0\nreturn verdict")

    class Stage:
        async def __call__(self, exchange: Exchange, call_next: Callable[..., Any]) -> Response:
            if exchange.method == "POST":
                core.take("ada", 1.0)
            return Response(200)

    stage = Shadowed(Stage(), shadow)  # type: ignore[arg-type]
    for method, path in (("GET", b"/service-a/1"), ("POST", b"/service-a/2"), ("GET", b"/service-a/3")):
        exchange = Exchange(method, path, query=b"token=hunter2")
        exchange.request_id = f"id{path.decode()}"
        assert (await stage(exchange, lambda exchange: None)).status == 200  # type: ignore[arg-type, return-value]
    (difference,) = heard
    assert (difference.number, difference.method, difference.path) == (2, "POST", "/service-a/2")
    assert difference.request_id == "id/service-a/2"
    assert str(difference).startswith(
        "request 2, POST /service-a/2: take('ada', 0.000) is admitted, remaining 1"
    )
    assert shadow.snapshot()["requests"] == 3
    assert shadow.snapshot()["difference"]["call"] == "take('ada', 0.000)"


async def test_of_requests_at_the_same_time_it_is_the_right_one(tmp_path: Path) -> None:
    core, shadow, heard = limiters(tmp_path, "verdict.remaining = 0\nreturn verdict")
    go = asyncio.Event()

    class Stage:
        async def __call__(self, exchange: Exchange, call_next: Callable[..., Any]) -> Response:
            if exchange.raw_path == b"/first":
                await go.wait()
                core.take("ada", 1.0)
            return Response(200)

    stage = Shadowed(Stage(), shadow)  # type: ignore[arg-type]
    first = asyncio.create_task(stage(Exchange("GET", b"/first"), None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await stage(Exchange("GET", b"/second"), None)  # type: ignore[arg-type]
    go.set()
    await first
    assert [(found.number, found.path) for found in heard] == [(1, "/first")]


# -- what cannot be compared ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "serving", "says"),
    [
        ("auth", "", "auth: there is nothing to compare; try rate_limit, cache, breaker, retry"),
        ("rate_limit", "some.module:Class", "a shadow needs an algorithm of the lab's beside it"),
        ("cache", "http", "'http' is no table; a shadow needs 'ttl' beside it"),
    ],
)
def test_what_cannot_be_compared(section: str, serving: str, says: str) -> None:
    with pytest.raises(PlugError, match=says.replace("'", ".")):
        pair(section, serving, Shadow("fractions:Fraction"))


def test_every_pair_has_the_methods_of_its_protocol() -> None:
    protocols = {
        "rate_limit": "lab.policies.rate_limit.limiter:Limiter",
        "cache": "lab.policies.cache.core:Store",
        "breaker": "lab.policies.breaker:Breaker",
        "retry": "lab.policies.retry:Backoff",
    }
    assert set(protocols) == set(PAIRS)
    for section, where in protocols.items():
        module, _, name = where.partition(":")
        protocol = getattr(importlib.import_module(module), name)
        wanted = {
            name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")
        }
        assert wanted <= set(dir(PAIRS[section][1]))


def test_the_end_of_the_process_is_no_difference() -> None:
    heard: list[Difference] = []

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shadow_of("mine:Class", heard).compare(stop, None, "call", lambda serving, answer: True)
    assert heard == []
