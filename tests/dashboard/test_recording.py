"""Recordings: bounded in size, whole in what matters, and played again without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.dashboard.app import Dashboard
from lab.dashboard.feed import Status
from lab.dashboard.recording import FORMAT, Recorder, Replay, read
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import Message, View
from lab.dashboard.widgets.bars import Keys
from lab.errors import UserError

from .fakes import POLICIES, FakeGateway, request


def record(path: Path, messages: list[Message]) -> Recorder:
    recorder = Recorder(path)
    for message in messages:
        recorder.take(message)
    recorder.close()
    return recorder


def some_seconds(gateway: FakeGateway, seconds: int = 20, requests: int = 20) -> list[Message]:
    """What a gateway under load sends: seven ticks a second, full of requests, and a breaker that opens."""
    messages = [gateway.snapshot()]
    for second in range(seconds):
        if second == seconds // 2:
            messages.append(gateway.breaker("service-a", "open", "5 failures in a row"))
        for _ in range(7):
            gateway.count(requests=100, s2xx=100)
            large = {"policies": POLICIES | {"more": "x" * 9000}, "clients": [], "paths": []}
            told = [request(200, "HIT")] * requests
            messages.append(gateway.tick(1 / 7, requests=told, skipped=80, **large))
    return messages


def test_ten_minutes_stay_below_five_megabytes(gateway: FakeGateway, tmp_path: Path) -> None:
    recorder = record(tmp_path / "r.jsonl", some_seconds(gateway, 600))
    assert recorder.left_out == 0
    assert (tmp_path / "r.jsonl").stat().st_size == recorder.bytes < 5_000_000


def test_a_flood_of_events_stays_below_it_too(gateway: FakeGateway, tmp_path: Path) -> None:
    messages = [gateway.snapshot()]
    for _ in range(20_000):
        gateway.time += 0.03
        messages.append(gateway.event("note", text="x" * 1000))
    recorder = record(tmp_path / "r.jsonl", messages)
    assert recorder.bytes < 5_000_000
    assert recorder.left_out > 0


def test_a_replay_ends_in_the_same_figures(gateway: FakeGateway, tmp_path: Path) -> None:
    messages = some_seconds(gateway)
    record(tmp_path / "r.jsonl", messages)
    live, again = View(), View()
    for message in messages:
        live.fold(message)
    for message in read(tmp_path / "r.jsonl"):
        again.fold(message)
    assert again.totals["requests"] == pytest.approx(live.totals["requests"], rel=0.1)
    assert again.history.last("requests", 1)[0] == pytest.approx(live.history.last("requests", 1)[0])
    assert again.history.end == live.history.end
    assert again.ribbons == live.ribbons
    assert list(again.events) == list(live.events)


def test_every_second_of_a_recording_has_its_figures(gateway: FakeGateway, tmp_path: Path) -> None:
    messages = [gateway.snapshot()]
    for _ in range(200):
        gateway.count(requests=1, s2xx=1)
        messages.append(gateway.tick(0.19))  # some seconds have five ticks, others six
    record(tmp_path / "r.jsonl", messages)
    again = View()
    for message in read(tmp_path / "r.jsonl"):
        again.fold(message)
    rates = list(again.history.series["requests"])
    assert len(rates) >= 36
    assert None not in rates


@pytest.mark.parametrize(
    "line",
    ["[1, 2]", '{"type": "tick"}', '{"type": "tick", "time": "x"}', '{"time": NaN}', '{"type": "note"}'],
)
def test_what_is_no_message_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(FORMAT)}\n{line}\n")
    with pytest.raises(UserError, match="line 2 is no message"):
        list(read(tmp_path / "r.jsonl"))


async def test_the_pace_is_that_of_the_recording_divided_by_the_speed(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    record(tmp_path / "r.jsonl", some_seconds(gateway, 8))
    replay = Replay(tmp_path / "r.jsonl", sleep=sleep)
    replay.change_speed(1)
    heard = []
    types = [m["type"] async for m in replay(lambda *s: heard.append(s))]
    assert types[0] == "snapshot"
    assert sum(slept) * 4 == pytest.approx(7, abs=1.2)
    assert heard == [("replay", ""), ("replay", "the end")]


async def test_pause_and_step(gateway: FakeGateway, tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None: ...

    record(tmp_path / "r.jsonl", some_seconds(gateway, 5))
    replay = Replay(tmp_path / "r.jsonl", sleep=sleep)
    messages = replay(lambda *s: None)
    await anext(messages)
    replay.pause()
    replay.step()
    assert (await anext(messages))["type"] == "tick"
    assert replay.paused
    following = asyncio.ensure_future(anext(messages))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not following.done()
    replay.step()
    assert (await following)["type"] == "tick"
    replay.pause()
    assert not replay.paused
    assert [m async for m in messages]


async def test_the_dashboard_shows_a_recording(gateway: FakeGateway, tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None: ...

    record(tmp_path / "r.jsonl", some_seconds(gateway, 5))
    app = Dashboard(replay=Replay(tmp_path / "r.jsonl", sleep=sleep))
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete([w for w in app.workers if w.group == "feed"])
        app.frame()
        await pilot.pause()
        assert app.view.totals["requests"] > 2500
        assert isinstance(app.screen, LabScreen)
        await pilot.resize_terminal(200, 40)
        await pilot.pause()
        keys = app.screen.query_one(Keys).render().plain
        assert keys.count("Faster") == keys.count("Palette") == keys.count("Help") == 1
        assert keys.index("Step") < keys.index("Freeze") < keys.index("Quit")
        await pilot.press("space")
        assert app.replay is not None
        assert app.replay.paused
        await pilot.press("plus")
        assert app.replay.speed == 4


async def test_recording_by_a_key(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def source(status: Status) -> AsyncIterator[Message]:
        yield gateway.snapshot()
        await asyncio.Future()

    app = Dashboard(source)
    async with app.run_test() as pilot:
        await pilot.press("ctrl+r")
        assert app.follower.recorder is not None
        path = app.follower.recorder.path
        app.follower.recorder.take(gateway.snapshot())
        await pilot.press("ctrl+r")
        assert app.follower.recorder is None
        await pilot.press("ctrl+s")
    assert [m["type"] for m in read(path)] == ["snapshot"]
    assert len(list(tmp_path.glob("dashboard-*.svg"))) == 1  # noqa: ASYNC240


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n", json.dumps(FORMAT) + "\n{broken\n"])
def test_what_is_no_recording_is_told_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"r\.jsonl"):
        list(read(tmp_path / "r.jsonl"))


def test_a_recording_that_was_cut_off_can_be_read(gateway: FakeGateway, tmp_path: Path) -> None:
    record(tmp_path / "r.jsonl", some_seconds(gateway, 3))
    text = (tmp_path / "r.jsonl").read_text()
    (tmp_path / "r.jsonl").write_text(text[:-30])
    assert list(read(tmp_path / "r.jsonl"))


def test_no_recording_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("mine")
    with pytest.raises(UserError, match="cannot be made"):
        Recorder(tmp_path / "r.jsonl")
