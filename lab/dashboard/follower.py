"""Keeps a View up to date: the feed is folded in, what ticks leave out is asked for, silent time passes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from lab.dashboard.client import ControlError
from lab.dashboard.feed import Source
from lab.dashboard.recording import Recorder
from lab.dashboard.state import Message, View


class Follower:
    """Follows `source` into `view`, and into `recorder` where there is one.

    `fetch` asks for a snapshot, None where nobody can be asked. `changed` is called whenever there is
    something new to draw.
    """

    def __init__(
        self,
        view: View,
        source: Source | None,
        fetch: Callable[[], Awaitable[Message]] | None,
        recorder: Recorder | None = None,
        *,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.view = view
        self.source = source
        self.recorder = recorder
        self._changed = changed
        self._fetch = fetch
        self._clock = clock
        self._heard = clock()

    async def follow(self, stale: Callable[[], None]) -> None:
        """Take messages until the feed ends; `stale` is called where only a snapshot tells what changed."""
        assert self.source is not None
        async for message in self.source(self._status):
            self.view.fold(message)
            if self.recorder is not None:
                self.recorder.take(message)
            if message.get("kind") == "policy" and not self.view.whole:
                stale()
            self._heard = self._clock()
            self._changed()

    async def ask(self) -> None:
        """Take what only a snapshot has; a recording begins with one."""
        if self._fetch is None or self.view.status != "live":
            return
        try:
            snapshot = await self._fetch()
        except ControlError:
            return  # the feed tells that the gateway is away
        self.view.refresh(snapshot)
        if self.recorder is not None and not self.recorder.begun:
            self.recorder.take(snapshot)
        self._changed()

    def let_time_pass(self) -> None:
        """In silence, a second that passes is a change too."""
        silent = self._clock() - self._heard
        if self.view.status == "live" and silent > 1.0:
            self.view.advance(self.view.time + silent)
            self._heard += silent
            self._changed()

    def _status(self, state: str, reason: str) -> None:
        self.view.status, self.view.trouble = state, reason
        self._changed()
