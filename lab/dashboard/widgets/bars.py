"""The bars at the edges of every screen: tabs and the state of the feed at the top, hint and keys below."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.markup import escape
from textual.reactive import reactive
from textual.widgets import Static

from lab.dashboard import text
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets.panel import Panel

STATUS = {
    "live": ("● live", GOOD),
    "connecting": ("◌ waiting", WARN),
    "lost": ("○ lost", BAD),
    "refused": ("✖ refused", BAD),
    "replay": ("▶ replay", ACCENT),
    "frozen": ("‖ frozen", WARN),
}

Tab = tuple[str, str, str]
"""Key, mode, title."""


class TopBar(Panel):
    """The screens by key, in two rows, for clicks too. At the right the feed's state, and what is done."""

    DEFAULT_CSS = """
    TopBar { height: 2; background: $panel; link-style: none; link-style-hover: bold; }
    """

    def __init__(self, tabs: Sequence[Tab], current: str) -> None:
        super().__init__()
        half = len(tabs) // 2
        self._rows = (tabs[:half], tabs[half:])
        self._current = current

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """Both rows; where there is no room for the titles, only the screen that is shown has its one."""
        status = (self._feed(view), self._doing(view))
        longest = max(self._tabs(row, True).cell_length for row in self._rows)
        full = longest + status[0][-1].cell_length <= width
        rows = []
        for tabs, right in zip(self._rows, status, strict=True):
            left = self._tabs(tabs, full)
            room = max(width - left.cell_length, 0)
            shown = next((each for each in right if each.cell_length <= room), right[-1].truncate(room))
            rows.append(left.truncate(width - shown.cell_length, pad=True) + shown)
        return rows

    def _tabs(self, tabs: Sequence[Tab], full: bool) -> Content:
        parts = []
        for key, mode, title in tabs:
            here = mode == self._current
            name = f" {title} " if full or here else " "
            look, letter = ("[b reverse]", key) if here else ("[$foreground-muted]", f"[b]{key}[/]")
            parts.append(f"[@click=app.jump('{mode}')]{look} {letter}{name}[/][/]")
        return Content.from_markup("".join(parts))

    def _feed(self, view: View) -> list[Content]:
        """`● live 0:42 `, and shorter."""
        still = self.app.frozen is not None  # type: ignore[attr-defined]
        state = line(STATUS.get("frozen" if still else view.status, STATUS["lost"]))
        up = line((f" {text.span(view.uptime)} ", DIM)) if view.live else line(" ")
        return [state + up, state + " "]

    def _doing(self, view: View) -> list[Content]:
        """`● rec ▲ latency 800 ms `, and shorter."""
        recording = self.app.follower.recorder is not None  # type: ignore[attr-defined]
        rec = line(("● rec ", f"bold {BAD}")) if recording else line()
        running = [band.label or band.kind for band in view.running]
        more = f"+{len(running) - 1} " if len(running) > 1 else ""
        said = [f"▲ {running[-1][:cells]} {more}" for cells in (28, 20, 12, 8)] if running else [""]
        return [rec + line((words, f"bold {WARN}")) for words in said]


class Hint(Static):
    """One line that says what to try next."""

    DEFAULT_CSS = (
        "Hint { height: 1; padding: 0 1; background: $boost; text-wrap: nowrap; text-overflow: ellipsis; }"
    )

    hint: reactive[str] = reactive("")

    def watch_hint(self, hint: str) -> None:
        """Draw the new hint; keys stand in square brackets in bold."""
        self.update(Content.from_markup(f"[{ACCENT}]▸[/] {hint}"))


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
            if width[id(one)] > room:
                break  # the rest follow in the order in which they matter
            room -= width[id(one)]
            parts.append(one)
        return Content.from_markup(
            "".join(
                f"[@click=app.simulate_key('{a.binding.key}')] "
                f"[b $footer-key-foreground]{escape(names[id(a)])}[/] {a.binding.description} [/]"
                for a in parts + always
            )
        )
