"""What all screens share: the bars, the drawing of a new View, the smallest size."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Static

from lab.dashboard.guide import Facts, hint
from lab.dashboard.screens.table import SCREENS
from lab.dashboard.state import View
from lab.dashboard.widgets.bars import Hint, Keys, TopBar
from lab.dashboard.widgets.panel import Long

if TYPE_CHECKING:
    from lab.dashboard.app import Dashboard

SMALLEST = (60, 16)
"""Columns and rows below which only a message is shown."""


class LabScreen(Screen[None]):
    """A screen of the dashboard. Subclasses give `body()`, and `show()` where they hold more than Panels."""

    mode: ClassVar[str]
    polls: ClassVar[bool] = False
    """Whether it shows what only a snapshot has: it is then asked for once a second."""
    changes: ClassVar[set[str]] = set()
    """Actions that change something in the gateway: without control they are not there."""
    needs_stack: ClassVar[set[str]] = set()
    """Actions on processes that the dashboard must have started itself."""
    needs_trouble: ClassVar[set[str]] = set()
    """Actions that set faults or run a load."""
    tip: ClassVar[str] = ""
    """What to try on this screen, as markup: the hint of who may change something."""
    help: ClassVar[str] = ""
    """What the screen shows and how to read it, in Markdown, for the help page."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "pageup", "page(-1)", "Page up", show=False, priority=True, tooltip="Text that goes on above"
        ),
        Binding("pagedown", "page(1)", "Page down", show=False, priority=True, tooltip="… and below"),
    ]
    AUTO_FOCUS = "LiveTable"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-medium"), (46, "-tall")]  # noqa: RUF012
    DEFAULT_CSS = """
    LabScreen { layout: vertical; }
    LabScreen #body { height: 1fr; }
    LabScreen #too-small { display: none; width: 1fr; height: 1fr; content-align: center middle; }
    LabScreen.-too-small > * { display: none; }
    LabScreen.-too-small #too-small { display: block; }
    """

    @property
    def dashboard(self) -> Dashboard:
        """The app, by its own type."""
        return cast("Dashboard", self.app)

    def compose(self) -> ComposeResult:
        """Top bar, body, hint, footer."""
        yield TopBar([(entry.key, entry.mode, entry.title) for entry in SCREENS], self.mode)
        with Vertical(id="body"):
            yield from self.body()
        yield Hint()
        yield Keys()
        yield Static("", id="too-small")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for what this dashboard may not do are not there at all."""
        if action in self.changes:
            return self.dashboard.control is not None
        if action in self.needs_stack:
            return self.dashboard.stack is not None
        if action in self.needs_trouble:
            return self.dashboard.trouble is not None
        if action == "page":
            return bool(self.query(Long))
        return True

    def body(self) -> ComposeResult:
        """The widgets between the bars."""
        yield from ()

    def on_mount(self) -> None:
        """Everything has a value from the first paint on."""
        self.show(self.dashboard.view)

    def on_screen_resume(self) -> None:
        """What changed while another screen was on top."""
        self.show(self.dashboard.view)

    def on_resize(self, event: events.Resize) -> None:
        """Below the smallest size one message takes the place of everything."""
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        self.set_class(small, "-too-small")
        if small:
            have, need = f"{event.size.width}×{event.size.height}", f"{SMALLEST[0]}×{SMALLEST[1]}"
            self.query_one("#too-small", Static).update(f"Too small: {have}, at least {need} is needed.")

    def on_live_table_room_changed(self) -> None:
        """A table has room for more than it was filled with, or for less."""
        self.show(self.dashboard.view)

    def action_page(self, direction: int) -> None:
        """Scroll what is longer than its room."""
        for long in self.query(Long):
            long.page(direction)

    def show(self, view: View) -> None:
        """Hand the View to every widget that draws it."""
        for widget in self.query("Panel, OverTime"):
            if widget.display:
                widget.view = view  # type: ignore[attr-defined]
        facts = Facts.of(self.dashboard)
        fits = bool(self.tip) and view.live and facts.can_send and facts.replay is None
        self.query_one(Hint).hint = self.tip if fits else hint(view, facts)
