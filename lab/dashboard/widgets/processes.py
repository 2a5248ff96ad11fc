"""The processes of the stack: state, address, restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from textual.content import Content

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import DIM, STRONG, line
from lab.dashboard.widgets.panel import Panel

if TYPE_CHECKING:
    from lab.launcher.stack import Process


class ProcessLines(Panel):
    """One line per process. Empty, and of no height, where the dashboard started none."""

    DEFAULT_CSS = "ProcessLines { height: auto; padding: 0 1; }"

    def __init__(self, processes: Callable[[], Mapping[str, Process]]) -> None:
        super().__init__()
        self._processes = processes

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As many rows as there are processes."""
        return len(self._processes())

    def on_mount(self) -> None:
        """No processes, no space for them."""
        self.display = bool(self._processes())

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """`gateway    ● healthy   127.0.0.1:8000   pid 4711   2 restarts`"""
        return [describe(process, width) for process in self._processes().values()]


def describe(process: Process, width: int) -> Content:
    """One process in one line, and where it is in trouble, why."""
    shape, style = text.PROCESS.get(process.state, ("?", DIM))
    pid = f"pid {process.pid}" if process.pid else ""
    restarts = f"{process.restarts} restart{'s' * (process.restarts != 1)}" if process.restarts else ""
    trouble = "" if process.state in ("healthy", "starting") else process.detail
    if process.state == "crashed" and process.exit_status is not None:
        trouble = trouble or f"exit status {process.exit_status}"
    return line(
        (f"{process.name:<11}", STRONG),
        (f"{shape} {process.state:<11}", style),
        (f":{process.port:<7}{pid:<11}{restarts:<12}", DIM),
        (trouble, style),
    )
