"""The processes of the stack: state, consumption, logs."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

import psutil
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from lab.dashboard import text
from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import BAD, DIM, GOOD, line
from lab.dashboard.widgets.panel import Long
from lab.dashboard.widgets.table import Cell, LiveTable

DOWN = ("stopped", "crashed")


class Processes(LabScreen):
    """The two services and the gateway as processes."""

    mode = "processes"
    tip = "[b]k[/] kills the selected process, it comes back; [b]z[/] freezes it: up, and silent"
    help = """
The dashboard started these processes and stops them when it ends. One that crashes is started again, with a
growing pause. **s** stops the selected one or starts it again, **r** restarts it, **k** kills it without
warning (it comes back like after a crash), **z** freezes it and lets it go on: a frozen service takes
connections and answers nothing. Below is the output of the selected process.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop_start", "Stop/start", tooltip="Stop the selected process, or start it again"),
        Binding("r", "restart", "Restart", tooltip="Restart the selected process"),
        Binding("k", "kill", "Kill", tooltip="Kill the selected process without warning"),
        Binding("z", "freeze", "Freeze", tooltip="Freeze the selected process, or let it go on"),
    ]
    needs_stack: ClassVar[set[str]] = {"stop_start", "restart", "kill", "freeze"}

    DEFAULT_CSS = """
    Processes LiveTable { height: auto; max-height: 6; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._usage = Usage()

    def body(self) -> ComposeResult:
        """Table and output."""
        yield LiveTable(
            *(("process", 10), ("state", 12), (">pid", 7), (">port", 5), (">for", 8)),
            *((">CPU", 5), (">memory", 8), (">restarts", 8), ("", 0)),
        )
        yield Output()

    def on_mount(self) -> None:
        """Measure once a second."""
        super().on_mount()
        self.set_interval(1.0, self._measure)

    def _measure(self) -> None:
        if self.is_current:
            self._usage.measure([p.pid for p in self.dashboard.processes().values() if p.pid])
            self.dashboard.touch()

    def show(self, view: View) -> None:
        """Fill the table."""
        processes = self.dashboard.processes()
        rows = {}
        for name, process in processes.items():
            shape, style = text.PROCESS.get(process.state, ("?", DIM))
            cpu, memory = self._usage.of(process.pid)
            rows[name] = (
                (name, "bold"),
                (f"{shape} {process.state}", style),
                (f"{process.pid or ''}", ""),
                f"{process.port}",
                (f"{text.span(self.dashboard.wall() - process.since)}", DIM),
                ("" if cpu is None else f"{cpu:.0f}%", ""),
                (f"{text.size(memory)}", ""),
                (f"{process.restarts}", "" if process.restarts else DIM),
                (process.detail, DIM),
            )
        table = self.query_one(LiveTable)
        table.fill(rows or seen_from_outside(view))
        output = self.query_one(Output)
        selected = processes.get(table.selected or "")
        output.lines_to_show = (
            list(selected.log) if selected else ["What they write is seen where they were started, with lab."]
        )
        detail = f" · {selected.detail}" if selected and selected.detail else ""
        output.border_title = f"output of {selected.name}{detail}" if selected else "output"
        super().show(view)

    def action_stop_start(self) -> None:
        """Stop, or start."""
        if (name := self._selected()) and (stack := self.dashboard.stack):
            down = stack.processes[name].state in DOWN
            self.dashboard.act(stack.start_process(name) if down else stack.stop_process(name))

    def action_restart(self) -> None:
        """Stop and start."""
        if (name := self._selected()) and (stack := self.dashboard.stack):
            self.dashboard.act(stack.restart_process(name))

    def action_kill(self) -> None:
        """Kill."""
        if (name := self._selected()) and (stack := self.dashboard.stack):
            self.dashboard.act(stack.kill_process(name))

    def action_freeze(self) -> None:
        """SIGSTOP, or SIGCONT."""
        if (name := self._selected()) and (stack := self.dashboard.stack):
            frozen = stack.processes[name].paused
            self.dashboard.act(stack.resume_process(name) if frozen else stack.pause_process(name))

    def _selected(self) -> str | None:
        return self.query_one(LiveTable).selected


def seen_from_outside(view: View) -> dict[str, tuple[Cell, ...]]:
    """What the gateway itself tells of the processes, for who did not start them."""
    shape, word, style = ("●", "healthy", GOOD) if view.live else ("○", "away", BAD)
    up = text.span(view.uptime) if view.live else ""
    gateway = ((f"{shape} {word}", style), f"{view.pid or ''}", "", (up, DIM))
    rows: dict[str, tuple[Cell, ...]] = {"gateway": (("gateway", "bold"), *gateway, "", "", "", "")}
    for name, service in view.services.items():
        health = str(service.get("health") or "unknown")
        shape, style = text.HEALTH.get(health, text.HEALTH["unknown"])
        port = f"{urlsplit(str(service.get('url', ''))).port or ''}"
        rows[name] = ((name, "bold"), (f"{shape} {health}", style), "", port, "", "", "", "", "")
    return rows


class Usage:
    """CPU (percent of one core, since the last measuring) and memory (bytes, resident) of processes."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}
        self._figures: dict[int, tuple[float, int]] = {}

    def measure(self, pids: list[int]) -> None:
        """Look at these processes; what has gone is forgotten."""
        self._known = {pid: known for pid, known in self._known.items() if pid in pids}
        self._figures = {}
        for pid in pids:
            try:
                process = self._known.setdefault(pid, psutil.Process(pid))
                with process.oneshot():
                    self._figures[pid] = (process.cpu_percent(), process.memory_info().rss)
            except psutil.Error:
                continue

    def of(self, pid: int | None) -> tuple[float | None, int | None]:
        """The figures of one process, None where there are none."""
        return self._figures.get(pid or 0, (None, None))


class Output(Long):
    """The end of a process's output."""

    DEFAULT_CSS = "Output { height: 1fr; }"
    BORDER_TITLE = "output"

    tail = True

    lines_to_show: list[str] = []  # noqa: RUF012 - replaced, never changed

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """The newest lines that fit."""
        return [line(text) for text in self.lines_to_show]
