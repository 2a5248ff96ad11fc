"""The bars at the edges of every screen: the tabs and the state of the feed at the top, the hint below."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.markup import escape
from textual.reactive import reactive
from textual.widgets import Static

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets.panel import Panel

STATUS = {
    "live": ("●", GOOD),
    "connecting": ("◌", WARN),
    "lost": ("○", BAD),
    "refused": ("✖", BAD),
    "replay": ("▶", ACCENT),
}


class Tabs(Static):
    """The screens by number; a click jumps. Where they do not fit, only the current one has its name."""

    DEFAULT_CSS = "Tabs { width: 1fr; height: 1; link-style: none; link-style-hover: bold; }"

    current: reactive[str] = reactive("")

    def __init__(self, tabs: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self._tabs = tabs
        """(key, mode, title)"""

    def render(self) -> Content:
        """`1 Overview  2 Clients …`"""
        full = sum(len(key) + len(title) + 3 for key, _, title in self._tabs) <= self.size.width
        parts = []
        for key, mode, title in self._tabs:
            name = f" {key} {title} " if full or mode == self.current else f" {key} "
            style = "[b reverse]" if mode == self.current else "[$foreground-muted]"
            parts.append(f"[@click=app.jump('{mode}')]{style}{name}[/][/]")
        return Content.from_markup("".join(parts))


class Status(Panel):
    """Whether the figures are live, and what is being done to the system right now."""

    DEFAULT_CSS = "Status { width: auto; height: 1; min-width: 22; text-align: right; }"

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """`rec  ● live 0:42`"""
        shape, style = STATUS.get(view.status, STATUS["lost"])
        bands = [band.label or band.kind for band in view.bands if band.end is None or band.end > view.time]
        parts = [line((f"{label[:12]} ", f"bold {WARN}")) for label in bands[-1:]]
        if self.app.recorder is not None:  # type: ignore[attr-defined]
            parts.append(line(("● rec  ", f"bold {BAD}")))
        up = f" {text.span(view.uptime)}" if view.live else ""
        return [Content("").join([*parts, line((f"{shape} {view.status}", style), (up + " ", DIM))])]


class TopBar(Horizontal):
    """Tabs and status in one row."""

    DEFAULT_CSS = "TopBar { height: 1; background: $panel; }"

    def __init__(self, tabs: list[tuple[str, str, str]], current: str) -> None:
        super().__init__()
        self._tabs = tabs
        self._current = current

    def compose(self) -> ComposeResult:
        """The two halves."""
        tabs = Tabs(self._tabs)
        tabs.current = self._current
        yield tabs
        yield Status()


class Hint(Static):
    """One line that says what to try next."""

    DEFAULT_CSS = (
        "Hint { height: 1; padding: 0 1; background: $boost; text-wrap: nowrap; text-overflow: ellipsis; }"
    )

    hint: reactive[str] = reactive("")

    def watch_hint(self, hint: str) -> None:
        """Draw the new hint; keys stand in square brackets in bold."""
        self.update(Content.from_markup(hint))


class Line(Static):
    """One line of text above a table."""

    DEFAULT_CSS = "Line { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    words: reactive[Content] = reactive(Content(""))

    def watch_words(self, content: Content) -> None:
        """Draw it."""
        self.update(content)


class Keys(Static):
    """The keys that apply, in one line: those of the screen first, help and quit always, others as they fit.

    A click on one presses it.
    """

    DEFAULT_CSS = "Keys { height: 1; background: $panel; link-style: none; link-style-hover: bold; }"

    def on_mount(self) -> None:
        """Draw again whenever other keys apply."""
        self.screen.bindings_updated_signal.subscribe(self, lambda screen: self.refresh())

    def render(self) -> Content:
        """`o Open  c Close …  ? Help  q Quit`"""
        active = [a for a in self.screen.active_bindings.values() if a.enabled and a.binding.show]
        active.sort(key=lambda a: a.node is self.app)
        always = [a for a in active if a.binding.action in ("panic", "help", "quit")]
        shown = [a for a in active if a not in always]
        names = {id(a): self.app.get_key_display(a.binding) for a in active}
        width = {id(a): len(names[id(a)]) + len(a.binding.description) + 3 for a in active}
        room = self.size.width - sum(width[id(a)] for a in always)
        parts = []
        for one in shown:
            room -= width[id(one)]
            if room >= 0:
                parts.append(one)
        return Content.from_markup(
            "".join(
                f"[@click=app.simulate_key('{a.binding.key}')] "
                f"[b $footer-key-foreground]{escape(names[id(a)])}[/] {a.binding.description} [/]"
                for a in parts + always
            )
        )
