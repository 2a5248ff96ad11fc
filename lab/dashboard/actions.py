"""What the keys do, whatever the screen: traffic, service A down and up, jumping, help."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from lab.dashboard.client import ControlError
from lab.dashboard.state import View
from lab.errors import UserError

if TYPE_CHECKING:
    from lab.dashboard.client import Control
    from lab.dashboard.feed import Source
    from lab.dashboard.follower import Follower
    from lab.dashboard.recording import Replay
    from lab.dashboard.traffic import Traffic
    from lab.dashboard.trouble import Trouble
    from lab.launcher.stack import Stack

NEEDS = {
    "send": "traffic",
    "steady": "traffic",
    "rate": "traffic",
    "burst": "traffic",
    "echo": "traffic",
    "service_a": "stack",
    "pause": "replay",
    "step": "replay",
    "speed": "replay",
    "record": "source",
    "panic": "traffic",
    "fault": "trouble",
    "switch_policy": "control",
}
"""Action → what the dashboard must have been given for it; without it the key is not there."""


class Acting(App[None]):
    """An app that can act on a gateway, with what it was given: each may be None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "send", "Send", tooltip="One request for item 1 from your own address"),
        Binding("t", "steady", "Traffic", tooltip="Steady traffic of many clients, on or off"),
        Binding("plus", "rate(1)", "Faster", key_display="+", show=False, tooltip="More steady traffic"),
        Binding("minus", "rate(-1)", "Slower", key_display="-", show=False, tooltip="Less steady traffic"),
        Binding("equals_sign", "rate(1)", show=False),  # the + of many a keyboard, without shift
        Binding("b", "burst", "Burst", tooltip="Twenty requests at once from one client"),
        Binding("d", "service_a", "Service A", tooltip="Take service A down, or up again"),
        Binding("w", "echo", "Echo", tooltip="One WebSocket message to service B and back"),
        Binding("space", "pause", "Pause", tooltip="Pause the recording, or go on"),
        Binding("full_stop", "step", "Step", key_display=".", tooltip="The recording's next second"),
        Binding("plus", "speed(1)", "Faster", key_display="+", tooltip="Play faster"),
        Binding("minus", "speed(-1)", "Slower", key_display="-", tooltip="Play slower"),
        Binding("equals_sign", "speed(1)", show=False),
        Binding("f", "freeze_picture", "Freeze", tooltip="Hold the picture still, and let it go on"),
        Binding("ctrl+r", "record", "Record", tooltip="Record what is shown, or stop recording"),
        Binding("ctrl+s", "picture", "Picture", tooltip="Save this screen as an SVG picture", priority=True),
        Binding("ctrl+l", "light", "Light/dark", tooltip="Light or dark colours"),
        Binding("l", "fault('latency')", "Latency", show=False, tooltip="Service A slow, or no more"),
        Binding("e", "fault('error')", "Errors", show=False, tooltip="Service A answers 500, or no more"),
        Binding("h", "fault('hang')", "Hang", show=False, tooltip="Service A answers nothing, or again"),
        Binding("r", "fault('refuse')", "Refuse", show=False, tooltip="Service A's port closed, or open"),
        Binding("k", "fault('kill')", "Kill", show=False, tooltip="Kill service A; it comes back"),
        Binding("A", "switch_policy('auth')", "Auth", show=False, tooltip="API keys wanted, or not"),
        Binding("L", "switch_policy('rate_limit')", "Limit", show=False, tooltip="Rate limit on or off"),
        Binding("C", "switch_policy('cache')", "Cache", show=False, tooltip="Cache on or off"),
        Binding("B", "switch_policy('breaker')", "Breaker", show=False, tooltip="Circuit breaker on or off"),
        Binding("R", "switch_policy('retry')", "Retry", show=False, tooltip="Retries on or off"),
        Binding(
            "exclamation_mark",
            "panic",
            "Panic",
            key_display="!",
            priority=True,
            tooltip="Undo every fault, stop every load and all traffic, let every process run",
        ),
    ]

    follower: Follower
    replay: Replay | None
    frozen: View | None
    """What the picture holds still, None while it moves."""
    control: Control | None
    traffic: Traffic | None
    trouble: Trouble | None
    stack: Stack | None

    @property
    def view(self) -> View:
        """What is shown."""
        return self.follower.view if self.frozen is None else self.frozen

    @property
    def source(self) -> Source | None:
        """Where it comes from."""
        return self.follower.source

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for what this dashboard may not do are not there at all."""
        return action not in NEEDS or getattr(self, NEEDS[action], None) is not None

    def touch(self) -> None:
        """Something besides the feed changed: draw it with the next frame."""

    def show_now(self) -> None:
        """Draw what is to be shown, whether it moves or not."""

    async def let_go(self) -> None:
        """Stop the traffic and close connections and files, once the screen is gone."""
        if self.follower.recorder is not None:
            self.follower.recorder.close()
        if self.traffic is not None:
            await self.traffic.aclose()
        if self.trouble is not None:
            await self.trouble.aclose()
        if self.control is not None:
            await self.control.aclose()

    def complain(self, message: str) -> None:
        """Say that something did not work."""
        self.notify(message, severity="error", timeout=8, markup=False)

    def act(self, call: Awaitable[object], done: str = "") -> None:
        """Run a control call beside the screen; say `done`, or why it did not work."""

        async def run() -> None:
            try:
                await call
            except (ControlError, UserError) as error:
                self.complain(str(error))
            else:
                if done:
                    self.notify(done, timeout=3, markup=False)
            self.touch()

        self.run_worker(run(), group="act")

    def action_jump(self, mode: str) -> None:
        """Show another screen."""
        self.switch_mode(mode)

    def action_help(self) -> None:
        """Explain the screen."""
        from lab.dashboard.screens.help import explain

        explain(self)

    def action_send(self) -> None:
        """One request."""
        if self.traffic:
            self.traffic.one()

    def action_burst(self) -> None:
        """Twenty at once."""
        if self.traffic:
            self.traffic.burst()

    def action_steady(self) -> None:
        """Steady traffic on or off."""
        if self.traffic:
            self.traffic.toggle()
            self.touch()

    def action_rate(self, step: int) -> None:
        """Steady traffic faster or slower."""
        if self.traffic:
            self.traffic.change_rate(step)
            self.notify(f"steady traffic: {self.traffic.rate} requests a second", timeout=2)
            self.touch()

    def action_pause(self) -> None:
        """Hold the recording, or go on."""
        if self.replay:
            self.replay.pause()
            self.touch()

    def action_step(self) -> None:
        """The recording's next second."""
        if self.replay:
            self.replay.step()

    def action_speed(self, step: int) -> None:
        """Play faster or slower."""
        if self.replay:
            self.replay.change_speed(step)
            self.touch()

    def action_record(self) -> None:
        """Begin a recording in the current folder, or end it."""
        if (recorder := self.follower.recorder) is not None:
            recorder.close()
            self.saved(recorder.path)
            self.follower.recorder = None
        else:
            from lab.dashboard.recording import Recorder

            try:
                self.follower.recorder = Recorder(Path(time.strftime("recording-%Y%m%d-%H%M%S.jsonl")))
            except UserError as error:
                self.complain(str(error))
            else:
                self.fetch_soon()
        self.touch()

    def fetch_soon(self) -> None:
        """Ask for a snapshot, for a recording to begin with."""

    def action_freeze_picture(self) -> None:
        """Hold the picture still while everything goes on, or let it go on too."""
        self.frozen = deepcopy(self.view) if self.frozen is None else None
        self.show_now()

    def action_picture(self) -> None:
        """Save the screen as SVG in the current folder, without the messages that lie over it."""
        self.clear_notifications()
        self.call_after_refresh(self._save_picture)

    def _save_picture(self) -> None:
        path = Path(time.strftime("dashboard-%Y%m%d-%H%M%S.svg"))
        try:
            path.write_text(self.export_screenshot(), encoding="utf-8")
        except OSError as error:
            self.complain(f"{path}: cannot be written: {error.strerror}")
        else:
            self.saved(path)

    def saved(self, path: Path) -> None:
        """Say which file was written, and in which folder."""
        self.notify(f"saved {path.name}\nin {path.resolve().parent}", timeout=4, markup=False)

    def action_light(self) -> None:
        """Light colours, or dark ones."""
        self.theme = "textual-dark" if self.current_theme.dark is False else "textual-light"

    def action_echo(self) -> None:
        """A WebSocket message there and back."""

        async def run(echo: Awaitable[str]) -> None:
            self.notify(await echo, timeout=4, markup=False)

        if self.traffic:
            self.run_worker(run(self.traffic.echo()), group="act")

    def action_fault(self, kind: str) -> None:
        """One of the commonest faults on the first service, or its end."""
        if self.trouble:
            self.act(self.trouble.toggle(kind))

    def action_switch_policy(self, name: str) -> None:
        """A policy off, or on again."""
        if self.control:
            on = not self.follower.view.policies.get(name, {}).get("enabled", False)
            self.act(self.control.policy(name, enabled=on), f"{name} is {'on' if on else 'off'}")

    def action_panic(self) -> None:
        """Undo every fault, stop every load and all traffic, break off a scenario, let every process run."""
        if self.traffic and self.traffic.steady:
            self.traffic.toggle()
        self.workers.cancel_group(self, "scenario")
        if self.trouble:
            self.act(self.trouble.panic(), "everything is undone")
        if self.stack:
            for name, process in self.stack.processes.items():
                if process.paused:
                    self.act(self.stack.resume_process(name))
                elif process.state == "stopped":
                    self.act(self.stack.start_process(name))

    def action_service_a(self) -> None:
        """Take service A down, or up again."""

        if self.stack:
            down = self.stack.processes["service-a"].state in ("stopped", "crashed")
            self.act(self.stack.start_process("service-a") if down else self.stack.stop_process("service-a"))
