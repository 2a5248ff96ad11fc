"""The dashboard's app: holds the View and what may change it, and lets the screens do the rest."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from lab.dashboard.actions import Acting
from lab.dashboard.client import ControlError
from lab.dashboard.feed import Source
from lab.dashboard.guide import Facts
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import Message, View
from lab.errors import UserError

if TYPE_CHECKING:
    from lab.dashboard.client import Control
    from lab.dashboard.recording import Recorder, Replay
    from lab.dashboard.traffic import Traffic
    from lab.dashboard.trouble import Trouble
    from lab.launcher.stack import Process, Stack

FRAMES = 5
"""Frames a second, at most."""


class Dashboard(Acting):
    """Shows a gateway. `control`, `traffic` and `stack` are None where it may only look."""

    TITLE = "Gateway Lab"
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[dict[str, Any]] = {entry.mode: entry.make for entry in SCREENS}
    DEFAULT_MODE = SCREENS[0].mode
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(e.key, f"jump('{e.mode}')", e.title, show=False) for e in SCREENS),
        Binding("question_mark", "help", "Help", tooltip="Explain the screen that is shown"),
        Binding("q", "quit", "Quit", tooltip="Stop everything that was started here, and leave"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self,
        source: Source | None = None,
        *,
        control: Control | None = None,
        traffic: Traffic | None = None,
        trouble: Trouble | None = None,
        stack: Stack | None = None,
        replay: Replay | None = None,
        recorder: Recorder | None = None,
        fetch: Callable[[], Awaitable[Message]] | None = None,
        view: View | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.source = source if replay is None else replay
        self.replay = replay
        self.recorder = recorder
        self.control = control
        self.traffic = traffic
        self.trouble = trouble
        self.stack = stack
        self.view = View() if view is None else view
        self.fetch = fetch
        """Asks for a snapshot."""
        self.wall = wall
        self._clock = clock
        self._heard = clock()
        self._dirty = True
        self.frozen = False
        self.keys: deque[str] = deque(maxlen=8)
        """The last keys that were pressed, for the room to follow."""
        self.failure = ""
        """Why the app gave up, one line."""

    def on_mount(self) -> None:
        """Paint first; then reach for the stack and the feed."""
        if self.source is not None:
            self.run_worker(self._follow(self.source), exclusive=True, group="feed")
            self.set_interval(1 / FRAMES, self.frame)
        if self.fetch is not None:
            self.set_interval(1.0, self._poll)
        if self.stack is not None:
            self.run_worker(self._start_stack(), group="stack")

    async def on_event(self, event: events.Event) -> None:
        """Note the keys on their way to whoever they are for."""
        if isinstance(event, events.Key) and not event.is_forwarded and isinstance(self.screen, LabScreen):
            self.keys.append(self.get_key_display(Binding(event.key, "")))
            self._dirty = True
        await super().on_event(event)

    async def _follow(self, source: Source) -> None:
        async for message in source(self._status):
            self.view.fold(message)
            if self.recorder is not None:
                self.recorder.take(message)
            if message.get("kind") == "policy" and not self.view.whole:
                self._poll(always=True)  # the drawing shows settings, which ticks do not carry
            self._heard = self._clock()
            self._dirty = True

    async def _start_stack(self) -> None:
        assert self.stack is not None
        try:
            await self.stack.start()
        except UserError as error:  # a port that was free a moment ago
            self.failure = str(error)
            self.exit()

    def _poll(self, always: bool = False) -> None:
        """Ask for what only a snapshot has, while a screen shows it."""
        wanted = always or (getattr(self.screen, "polls", False) and not self.view.whole)
        if self.view.status == "live" and wanted:
            self.run_worker(self._take_snapshot(), group="poll", exclusive=True)

    def fetch_soon(self) -> None:
        """A recording begins with a snapshot."""
        self._poll(always=True)

    async def _take_snapshot(self) -> None:
        if self.fetch is not None:
            try:
                snapshot = await self.fetch()
            except ControlError:
                return  # the feed tells that the gateway is away
            self.view.refresh(snapshot)
            if self.recorder is not None and not self.recorder.begun:
                self.recorder.take(snapshot)
            self._dirty = True

    def _status(self, state: str, reason: str) -> None:
        self.view.status, self.view.trouble = state, reason
        self._dirty = True

    def frame(self) -> None:
        """Draw what changed; in silence, a second that passes is a change too."""
        silent = self._clock() - self._heard
        if self.view.status == "live" and silent > 1.0:
            self.view.advance(self.view.time + silent)
            self._heard += silent
            self._dirty = True
        screen = self.screen
        # A screen that was only just switched to has no widgets yet; it shows itself once it is mounted.
        if self._dirty and not self.frozen and isinstance(screen, LabScreen) and screen.is_mounted:
            self._dirty = False
            screen.show(self.view)

    def touch(self) -> None:
        """Something besides the feed changed: draw it with the next frame."""
        self._dirty = True

    def tabs(self) -> list[tuple[str, str, str]]:
        """Key, mode and title of every screen."""
        return [(entry.key, entry.mode, entry.title) for entry in SCREENS]

    def processes(self) -> Mapping[str, Process]:
        """The processes that this dashboard started."""
        return {} if self.stack is None else self.stack.processes

    def facts(self) -> Facts:
        """What the hints depend on."""
        service = self.processes().get("service-a")
        return Facts(
            can_send=self.traffic is not None,
            owns_stack=self.stack is not None,
            steady=self.traffic is not None and self.traffic.steady,
            rate=self.traffic.rate if self.traffic else 0,
            replay=None if self.replay is None else (self.replay.paused, self.replay.speed),
            service_a=service.state if service else "healthy",
        )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every screen and every action is in the palette too."""
        yield from super().get_system_commands(screen)
        for entry in SCREENS:
            yield SystemCommand(
                f"Screen: {entry.title}", f"key {entry.key}", lambda e=entry: self.action_jump(e.mode)
            )
        for binding in self.active_bindings.values():
            if binding.enabled and binding.binding.tooltip:
                action = binding.binding.action
                yield SystemCommand(
                    binding.binding.description,
                    f"key {binding.binding.key}: {binding.binding.tooltip}",
                    lambda a=action: self.call_later(self.run_action, a),
                )
