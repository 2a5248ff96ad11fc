from __future__ import annotations

import asyncio
import json
from typing import Any

from lab.control.feed import BACKLOG, Feed, Viewer


class Socket:
    """The server side of a WebSocket, as far as the feed uses it."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.stuck: asyncio.Event | None = None
        self.gone = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    async def send_text(self, text: str) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        self.sent.put_nowait(json.loads(text))

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "websocket.disconnect"}

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class World:
    def __init__(self) -> None:
        self.feed = Feed(lambda: 1_790_000_000.0)
        self.ticks = 0
        self.tasks: list[asyncio.Task[None]] = []

    def tick(self) -> dict[str, Any]:
        self.ticks += 1
        return {"in_flight": self.ticks}

    def watch(self) -> Socket:
        socket = Socket()

        async def serve() -> None:
            viewer = self.feed.join(self.tick)
            try:
                await self.feed.serve(viewer, {"type": "snapshot"}, socket)  # type: ignore[arg-type]
            finally:
                self.feed.leave(viewer)

        self.tasks.append(asyncio.ensure_future(serve()))
        return socket


async def next_of(socket: Socket, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (message := await socket.sent.get())["type"] != kind:
            pass
        return message


async def test_a_snapshot_first_then_events_at_once_and_ticks() -> None:
    world = World()
    socket = world.watch()
    assert (await socket.sent.get())["type"] == "snapshot"
    world.feed.emit("breaker", service="service-a", **{"from": "closed", "to": "open"})
    event = await next_of(socket, "event")
    assert event["kind"] == "breaker"
    assert event["to"] == "open"
    tick = await next_of(socket, "tick")
    assert tick["seq"] > event["seq"]
    assert tick["in_flight"] >= 1
    socket.gone.set()
    await asyncio.gather(*world.tasks)


async def test_transitions_that_follow_each_other_are_all_seen_and_in_order() -> None:
    world = World()
    socket = world.watch()
    await next_of(socket, "snapshot")
    for i in range(300):
        world.feed.emit("breaker", number=i)
    seen = [(await next_of(socket, "event"))["number"] for _ in range(300)]
    assert seen == list(range(300))
    socket.gone.set()
    await asyncio.gather(*world.tasks)


async def test_without_viewers_nothing_is_made() -> None:
    world = World()
    socket = world.watch()
    await next_of(socket, "tick")
    socket.gone.set()
    await asyncio.gather(*world.tasks)
    assert world.feed._ticker is None
    assert not world.feed._viewers


async def test_a_stopped_viewer_keeps_one_tick_and_a_bounded_list_of_events() -> None:
    world = World()
    slow, quick = world.watch(), world.watch()
    await next_of(slow, "snapshot")
    slow.stuck = asyncio.Event()
    for _ in range(3):
        await next_of(quick, "tick")
    (viewer,) = (v for v in world.feed._viewers if v.tick is not None or v.events)
    for _ in range(BACKLOG * 2):
        world.feed.emit("note")
    assert len(viewer.events) <= BACKLOG
    assert viewer.lost
    slow.stuck.set()
    async with asyncio.timeout(10):
        await world.tasks[0]
    assert slow.closed is not None
    assert slow.closed[0] == 1013
    quick.gone.set()
    await asyncio.gather(*world.tasks)


def test_events_are_kept_for_the_snapshot_but_not_for_ever() -> None:
    feed = Feed(lambda: 1.0)
    for i in range(1000):
        feed.emit("note", number=i)
    assert len(feed.events) == 200
    assert feed.events[-1]["number"] == 999


async def test_an_event_does_not_wait_for_a_tick() -> None:
    feed = Feed(lambda: 1.0)
    viewer = Viewer()
    feed._viewers.add(viewer)  # without `join`, so that no tick ever comes
    messages = viewer.messages()
    waiting = asyncio.ensure_future(anext(messages))
    await asyncio.sleep(0)
    feed.emit("note", number=1)
    async with asyncio.timeout(10):
        assert json.loads(await waiting)["number"] == 1
    assert feed.seq == 1
    await messages.aclose()


async def test_what_a_viewer_says_is_read_and_ignored() -> None:
    world = World()
    socket = world.watch()
    said = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not said.is_set():
            said.set()
            return {"type": "websocket.receive", "text": "hello?"}
        await socket.gone.wait()
        return {"type": "websocket.disconnect"}

    socket.receive = receive  # type: ignore[method-assign]
    await next_of(socket, "tick")
    assert said.is_set()
    world.feed.emit("note", number=7)
    assert (await next_of(socket, "event"))["number"] == 7
    socket.gone.set()
    await asyncio.gather(*world.tasks)
