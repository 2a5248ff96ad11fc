"""Plugging in, with a real gateway: what it refuses, what it takes out again, what comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from lab.errors import UserError
from lab.exercises import commands, kit, plugging
from lab.exercises.catalog import Exercise, find
from lab.exercises.runner import Report
from lab.launcher import runfile
from tests.wire.wire import Gateway as Process

TOKEN = "plugging"
BEFORE = {"enabled": False, "use": "token_bucket"}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    nowhere = {"url": "http://127.0.0.1:1"}
    config = {"services": {"service-a": nowhere}, "admin": {"token": TOKEN}, "rate_limit": BEFORE}
    process = Process(config, tmp_path_factory.mktemp("gateway"))
    yield process
    process.stop()


@pytest.fixture
def gateway(process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[plugging.Gateway]:
    """The gateway as it was started, found through a run file of this test's own."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    url = f"http://127.0.0.1:{process.port}"
    assert runfile.write(url, {}, {}, TOKEN)
    with plugging.running() as gateway:
        yield gateway
        gateway.use("rate_limit", "token_bucket", enabled=False)


@pytest.fixture
def exercise(tmp_path: Path) -> Exercise:
    """Exercise 03 in a folder of its own, whose file is the solution."""
    known = find("03")
    folder = tmp_path / known.name
    folder.mkdir()
    source = known.solution.read_text(encoding="utf-8")
    (folder / "exercise.py").write_text(source, encoding="utf-8")
    return Exercise(3, folder, known.title, known.summary, known.points, known.plug)


def snapshot(gateway: plugging.Gateway) -> dict[str, object]:
    answer = httpx.get(f"{gateway.url}/admin/snapshot", headers=HEADERS, trust_env=False)
    document: dict[str, object] = answer.json()
    return document


def test_a_class_serves_and_what_was_there_comes_back(gateway: plugging.Gateway, exercise: Exercise) -> None:
    policy = plugging.plug(exercise, gateway)
    assert (policy.use, policy.enabled) == (f"{exercise.file}:FixedWindow", True)
    answer = httpx.get(f"{gateway.url}/service-a/items", trust_env=False)
    assert "ratelimit" in " ".join(answer.headers).lower()
    assert snapshot(gateway)["policies"]["rate_limit"]["plugged"] is True  # type: ignore[index]

    # A second save must not make the first one what was there before.
    plugging.plug(exercise, gateway)
    back = plugging.unplug(exercise, gateway)
    assert (back.use, back.enabled) == ("token_bucket", False)
    with pytest.raises(UserError, match="exercise 3 is not plugged in: rate_limit uses the built-in 'token_"):
        plugging.unplug(exercise, gateway)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "cannot be loaded: SyntaxError"),
        ("x = 1", "has no class 'FixedWindow'"),
        ("class FixedWindow:\n    def __init__(self, limit, window):\n        1 / 0", "ZeroDivisionError"),
        ("class FixedWindow:\n    pass", "has no method take(key, now)"),
    ],
)
def test_what_the_gateway_refuses(
    gateway: plugging.Gateway, exercise: Exercise, source: str, reason: str
) -> None:
    exercise.file.write_text(source, encoding="utf-8")
    with pytest.raises(plugging.Refused) as refused:
        plugging.plug(exercise, gateway)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert gateway.policy("rate_limit").use == "token_bucket"


def test_a_class_that_raises_later_is_taken_out_and_the_reason_told(
    gateway: plugging.Gateway,
    exercise: Exercise,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = exercise.file.read_text(encoding="utf-8")
    # The gateway tries a class before it serves; this one waits until a client of its own comes.
    later = """

original = FixedWindow.take
def take(self, key, now):
    if key == "127.0.0.1":
        raise RuntimeError("tired of this client")
    return original(self, key, now)
FixedWindow.take = take
"""
    exercise.file.write_text(source + later, encoding="utf-8")
    monkeypatch.setattr(commands, "Runner", lambda exercise, keep_spare: None)
    watch = commands.Watch(exercise, live=True, once=False)
    watch.serve()
    watch.listen()
    assert "taken out" not in capsys.readouterr().out
    answer = httpx.get(f"{gateway.url}/service-a/items", trust_env=False)
    assert answer.status_code in (502, 503), "the service is not there; the class must not make it a 500"
    assert gateway.policy("rate_limit").use == "token_bucket"
    events = snapshot(gateway)["events"]
    told = [event for event in events if event.get("action") == "rolled_back"]  # type: ignore[attr-defined]
    assert "RuntimeError: tired of this client" in json.dumps(told[-1])
    watch.listen()
    assert capsys.readouterr().out == "  taken out by the gateway: RuntimeError: tired of this client\n"
    assert not watch.serving
    with pytest.raises(UserError, match=r"no longer plugged in .*RuntimeError: tired of this client"):
        plugging.unplug(exercise, gateway)
    gateway.use("rate_limit", "token_bucket")
    assert plugging.taken_out(exercise, gateway) is None
    with pytest.raises(UserError, match="is not plugged in"):
        plugging.unplug(exercise, gateway)


def test_without_a_lab_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exercise: Exercise) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="no lab runs"):
        plugging.running()


def test_watching_live_goes_on_without_a_lab_and_with_a_class_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "empty"))
    results = [kit.Result("test_one", "passed", 1, 1)]
    monkeypatch.setattr(commands, "Runner", lambda exercise, keep_spare: None)
    monkeypatch.setattr(commands, "verdict", lambda report: "")
    monkeypatch.setattr(commands.api, "check", lambda it, runner: Report(it, it.file, results))
    watch = commands.Watch(exercise, live=True, once=False)

    def said() -> list[str]:
        watch.check()
        return capsys.readouterr().out.splitlines()

    watching = f"  watching {exercise.file}; Ctrl-C ends it"
    without = said()
    assert without[-2].startswith("  not plugged in: no lab runs")
    assert without[-1] == watching

    monkeypatch.setattr(commands, "plug_in", lambda exercise: 0)
    assert "  the gateway goes on with the last one that passed" not in said()
    results = [kit.Result("test_one", "failed", 0, 1)]
    assert said()[-2:] == ["  the gateway goes on with the last one that passed", watching]


GENEROUS = """

original = FixedWindow.take
def take(self, key, now):
    verdict = original(self, key, now)
    if key == "127.0.0.1":  # when it is tried, other clients come
        verdict.admitted = True
    return verdict
FixedWindow.take = take
"""


def test_a_shadow_is_compared_and_what_was_there_comes_back(
    gateway: plugging.Gateway, exercise: Exercise
) -> None:
    source = exercise.file.read_text(encoding="utf-8")
    for _ in range(2):
        policy = plugging.compare(exercise, gateway)
        assert (policy.use, policy.enabled) == ("fixed_window", True)
        assert policy.shadow == {"use": f"{exercise.file}:FixedWindow", "requests": 0, "difference": None}
    back = plugging.unplug(exercise, gateway)
    assert (back.use, back.enabled, back.shadow) == ("token_bucket", False, None)

    exercise.file.write_text("x = 1", encoding="utf-8")
    with pytest.raises(plugging.Refused, match="has no class 'FixedWindow'"):
        plugging.compare(exercise, gateway)
    assert (gateway.policy("rate_limit").use, gateway.policy("rate_limit").enabled) == ("token_bucket", False)
    exercise.file.write_text(source, encoding="utf-8")


@pytest.fixture
def shadowing(
    gateway: plugging.Gateway, exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Callable[[], Result]]]:
    """`lab plug 3 --shadow …`, begun in a thread; calling what it gives waits for the end."""
    monkeypatch.setattr(commands, "find", lambda name: exercise)
    threads = []

    def begin(*arguments: str) -> Callable[[], Result]:
        results: list[Result] = []

        def invoke() -> None:
            line = ["3", "--shadow", *arguments]
            results.append(CliRunner().invoke(commands.plug, line, standalone_mode=False))

        thread = threading.Thread(target=invoke)
        threads.append(thread)
        thread.start()
        end = time.monotonic() + 30
        while gateway.policy("rate_limit").shadow is None and thread.is_alive() and time.monotonic() < end:
            thread.join(0.01)

        def ended() -> Result:
            thread.join(30)
            return results[0]

        return ended

    yield begin
    for thread in threads:
        thread.join(30)


def test_the_first_request_with_different_answers_is_shown(
    gateway: plugging.Gateway, exercise: Exercise, shadowing: Callable[..., Callable[[], Result]]
) -> None:
    exercise.file.write_text(exercise.file.read_text(encoding="utf-8") + GENEROUS, encoding="utf-8")
    ended = shadowing()
    limit = gateway.policy("rate_limit").options["limit"]
    answers = [
        httpx.get(f"{gateway.url}/service-a/items?key=hunter2", trust_env=False) for _ in range(limit + 1)
    ]
    assert [answer.status_code for answer in answers][limit:] == [429]
    result = ended()
    assert result.return_value == 1
    assert f"request {limit + 1}, GET /service-a/items, is the first with different answers" in result.output
    assert "asked         take('127.0.0.1', " in result.output
    assert "fixed_window  refused, remaining 0" in result.output
    assert "yours         admitted, remaining 0" in result.output
    assert f"X-Request-ID: {answers[limit].headers['x-request-id']}" in result.output
    assert "hunter2" not in result.output
    assert gateway.policy("rate_limit").use == "token_bucket"


def test_without_a_difference_it_ends_when_it_is_told_to(
    gateway: plugging.Gateway, shadowing: Callable[..., Callable[[], Result]]
) -> None:
    result = shadowing("--for", "0")()
    assert (result.return_value, "0 requests, and never another answer" in result.output) == (0, True)
    assert gateway.policy("rate_limit").use == "token_bucket"

    result = shadowing("--for", "0", "--json")()
    document = json.loads(result.output)
    assert (document["shadow"]["requests"], document["shadow"]["difference"]) == (0, None)

    ended = shadowing()
    gateway.use("rate_limit", "sliding_window")
    result = ended()
    assert (result.return_value, "ended from elsewhere" in result.output) == (1, True)
    assert gateway.policy("rate_limit").use == "sliding_window"


def test_the_commands_say_what_happened(
    gateway: plugging.Gateway, exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.plug_in(exercise) == 0
    exercise.file.write_text("x = 1", encoding="utf-8")
    monkeypatch.setattr(commands, "find", lambda name: exercise)
    run = CliRunner()
    refused = run.invoke(commands.plug, ["3", "--force"], standalone_mode=False)
    assert refused.return_value == 1
    assert "refused by the gateway: use: " in refused.output
    assert "has no class 'FixedWindow'" in refused.output
    back = run.invoke(commands.unplug, ["3"], standalone_mode=False)
    assert (back.return_value, back.output) == (0, "  rate_limit uses 'token_bucket' again\n")
