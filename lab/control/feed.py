"""The live feed: one snapshot, then events at once and figures at a fixed rate, for any number of viewers.

A viewer costs the gateway the sending of a few messages a second and nothing else: a tick is made once for
all, and what a slow viewer did not take is overwritten by the next one. Events are never left out: a viewer
that is a thousand of them behind is cut off and may come again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.websockets import WebSocket

from lab.model import Clock

TICK = 0.15
"""Seconds between two ticks."""

BACKLOG = 1000
"""Events that may wait for a slow viewer."""


class Viewer:
    """What one viewer has not been sent yet."""

    __slots__ = ("_wake", "closed", "events", "lost", "tick")

    def __init__(self) -> None:
        self.events: deque[str] = deque()
        self.tick: str | None = None
        self.lost = False
        self.closed = False
        self._wake = asyncio.Event()

    def put_event(self, text: str) -> None:
        if len(self.events) >= BACKLOG:
            self.lost = True
        else:
            self.events.append(text)
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    def put_tick(self, text: str) -> None:
        self.tick = text
        self._wake.set()

    async def messages(self) -> AsyncIterator[str]:
        """Events in order, then the newest tick, whenever there are any; ends when the viewer is lost."""
        while not self.lost and not self.closed:
            await self._wake.wait()
            self._wake.clear()
            while self.events and not self.lost and not self.closed:
                yield self.events.popleft()
            if self.tick is not None:
                text, self.tick = self.tick, None
                yield text


class Feed:
    """Takes events from everywhere in the gateway and hands them to the viewers."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._seq = itertools.count(1)
        self._viewers: set[Viewer] = set()
        self._ticker: asyncio.Task[None] | None = None
        self.seq = 0
        self.events: deque[dict[str, Any]] = deque(maxlen=200)

    def emit(self, kind: str, **data: Any) -> None:
        """Record an event and send it to each viewer at once (an `Emit`)."""
        self.seq = next(self._seq)
        event = {"type": "event", "seq": self.seq, "time": round(self._wall(), 3), "kind": kind, **data}
        self.events.append(event)
        if self._viewers:
            text = json.dumps(event)
            for viewer in self._viewers:
                viewer.put_event(text)

    def join(self, tick: Callable[[], dict[str, Any]]) -> Viewer:
        """A new viewer; `tick` makes the figures as long as there is anyone to send them to."""
        viewer = Viewer()
        self._viewers.add(viewer)
        if self._ticker is None:
            self._ticker = asyncio.ensure_future(self._tick(tick))
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers and self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def serve(self, viewer: Viewer, snapshot: dict[str, Any], socket: WebSocket) -> None:
        """Send `snapshot` and then the viewer's messages until it goes away."""
        await socket.send_text(json.dumps(snapshot))
        gone = asyncio.ensure_future(_until_closed(socket))
        gone.add_done_callback(lambda _: viewer.close())
        try:
            async for text in viewer.messages():
                await socket.send_text(text)
            if viewer.lost:
                await socket.close(1013, "too slow: connect again")
        finally:
            gone.cancel()

    async def _tick(self, tick: Callable[[], dict[str, Any]]) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.seq = next(self._seq)
            text = json.dumps({"type": "tick", "seq": self.seq, "time": round(self._wall(), 3), **tick()})
            for viewer in self._viewers:
                viewer.put_tick(text)


async def _until_closed(socket: WebSocket) -> None:
    """A viewer has nothing to say; what it sends is read so that its close is seen."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
