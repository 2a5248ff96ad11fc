"""The dashboard's app: holds the View and what may change it, and lets the screens do the rest."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer

from lab.dashboard.actions import Acting
from lab.dashboard.feed import Source
from lab.dashboard.follower import Follower
from lab.dashboard.screens import table
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

SOON = 1.0
"""Seconds from the start to the preparations for the first keys: the first paint comes before."""
FRAME = 0.14
"""Seconds from one frame to the next, at least: every tick of the feed has its frame, and none has two."""


class Dashboard(Acting):
    """Shows a gateway. `control`, `traffic`, `trouble` and `stack` are None where it may only look."""

    TITLE = "Gateway Lab"
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[dict[str, Any]] = {entry.mode: entry.make for entry in SCREENS}
    DEFAULT_MODE = SCREENS[0].mode
    CSS = """
    Toast { padding: 0 1; }
    ToastRack { margin-bottom: 2; }
    * {
        scrollbar-color: $foreground 25%; scrollbar-color-hover: $foreground 40%;
        scrollbar-color-active: $primary; scrollbar-background: $background;
        scrollbar-background-hover: $background; scrollbar-background-active: $background;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(e.key, f"jump('{e.mode}')", e.title, show=False) for e in SCREENS),
        Binding("question_mark", "help", "Help", tooltip="Explain the screen that is shown"),
        Binding(
            App.COMMAND_PALETTE_BINDING,
            "command_palette",
            "Palette",
            priority=True,
            tooltip="Every screen and every action by its name",
        ),
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
        self.follower = Follower(
            View() if view is None else view,
            source if replay is None else replay,
            fetch,
            recorder,
            changed=self.touch,
            clock=clock,
        )
        self._dirty = True
        self._drawn = -FRAME
        self._due: Timer | None = None
        self.replay = replay
        self.control = control
        self.traffic = traffic
        self.trouble = trouble
        self.stack = stack
        self.wall = wall
        self.frozen = None
        self.keys: deque[str] = deque(maxlen=8)
        """The last keys that were pressed, for the room to follow."""
        self.failure = ""
        """Why the app gave up, one line."""

    def on_mount(self) -> None:
        """Paint first; then reach for the stack and the feed."""
        if self.follower.source is not None:
            self.run_worker(self.follower.follow(self.fetch_soon), exclusive=True, group="feed")
            self.set_interval(1.0, self._second)
            self.set_timer(SOON, self._make_ready)
        if self.stack is not None:
            self.run_worker(self._start_stack(), group="stack")

    async def on_event(self, event: events.Event) -> None:
        """Note the keys on their way to whoever they are for."""
        if isinstance(event, events.Key) and not event.is_forwarded and isinstance(self.screen, LabScreen):
            self.keys.append(self.get_key_display(Binding(event.key, "")))
            self.touch()
        await super().on_event(event)

    @work(group="ready")
    async def _make_ready(self) -> None:
        """Import and open what the first keys would else wait for."""
        await asyncio.to_thread(table.load)
        if self.trouble is not None:
            await self.trouble.prepare()
            self.touch()

    async def _start_stack(self) -> None:
        assert self.stack is not None
        try:
            await self.stack.start()
        except UserError as error:  # a port that was free a moment ago
            self.failure = str(error)
            self.exit()

    def _second(self) -> None:
        """Time passes also in silence; while a screen shows what only a snapshot has, that is asked for."""
        self.follower.let_time_pass()
        if getattr(self.screen, "polls", False) and not self.view.whole:
            self.fetch_soon()

    def fetch_soon(self) -> None:
        """Ask for a snapshot beside whatever goes on."""
        self.run_worker(self.follower.ask(), group="poll", exclusive=True)

    def touch(self) -> None:
        """Something changed: a frame is due, at once or `FRAME` seconds after the last one."""
        self._dirty = True
        if self._due is None and self.is_running:
            rest = self._drawn + FRAME - time.monotonic()
            self._due = self.set_timer(max(rest, 0.001), self.frame)  # Textual knows no timer of 0 seconds

    def frame(self) -> None:
        """Draw what changed."""
        if self._due is not None:
            self._due.stop()
            self._due = None
        screen = self.screen if self.is_running else None
        # A screen that was only just switched to has no widgets yet; it shows itself once it is mounted.
        if self._dirty and self.frozen is None and isinstance(screen, LabScreen) and screen.is_mounted:
            self._dirty = False
            self._drawn = time.monotonic()
            screen.show(self.view)

    def show_now(self) -> None:
        """Draw the screen, also while the picture stands still."""
        if isinstance(self.screen, LabScreen):
            self.screen.show(self.view)

    def processes(self) -> Mapping[str, Process]:
        """The processes that this dashboard started."""
        return {} if self.stack is None else self.stack.processes

    def get_key_display(self, binding: Binding) -> str:
        """Enter by its name, as the texts call it; its sign is missing in many fonts."""
        return "enter" if binding.key == "enter" else super().get_key_display(binding)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every screen and every action is in the palette, and the themes."""
        yield SystemCommand("Theme", "Choose other colours", self.action_change_theme)
        for entry in SCREENS:
            yield SystemCommand(
                f"Screen: {entry.title}", f"key {entry.key}", lambda e=entry: self.action_jump(e.mode)
            )
        for active in screen.active_bindings.values():  # not the app's own: those are the palette's now
            binding = active.binding
            if active.enabled and binding.tooltip and binding.action != "command_palette":
                yield SystemCommand(
                    binding.description,
                    f"key {self.get_key_display(binding)}: {binding.tooltip}",
                    lambda a=active: self.call_later(self.run_action, a.binding.action, a.node),
                )
