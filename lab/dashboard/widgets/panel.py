"""The base of most widgets: lines of text drawn from the View, bare, in a frame, or with more below."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from lab.dashboard.state import View
from lab.dashboard.text import DIM, line


class Panel(Widget):
    """Draws `lines(view, width, height)`; setting `view` draws again, also when it is the same object."""

    DEFAULT_CSS = "Panel { text-wrap: nowrap; text-overflow: clip; }"

    view: reactive[View | None] = reactive(None, always_update=True)

    def render(self) -> Content:
        """The lines, cut to the widget's height."""
        width, height = self.content_size
        if self.view is None or not width or not height:
            return Content("")
        return Content("\n").join(self.cut(self.lines(self.view, width, height), height))

    def cut(self, rows: list[Content], height: int) -> list[Content]:
        """Those of the lines for which there is room."""
        return rows[:height]

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """What to draw, each line of at most `width` cells; what is below `height` is not seen."""
        raise NotImplementedError


class Framed(Panel):
    """A Panel in a frame with a title, like those of the charts."""

    DEFAULT_CSS = """
    Framed {
        border: round $foreground 30%; border-title-color: $foreground; border-title-style: bold;
        padding: 0 1; text-overflow: ellipsis;
    }
    """


class Long(Framed):
    """A framed Panel that may have more to say than it has room for: page keys and wheel move it."""

    tail = False
    """Whether it rests at its end, as what goes on does; else at its beginning."""
    _moved = 0

    def cut(self, rows: list[Content], height: int) -> list[Content]:
        """The part that it was moved to; the last row says how much is below."""
        most = max(len(rows) - height, 0)
        rest = most if self.tail else 0
        top = min(max(rest + self._moved, 0), most)
        self._moved = top - rest
        below = most - top
        shown = rows[top : top + height]
        return [*shown[:-1], line((f"▼ {below + 1} more: page down", DIM))] if below else shown

    def rest(self) -> None:
        """Back to where it rests: there is something else to say."""
        self._moved = 0

    def page(self, direction: int) -> None:
        """Almost its height up (-1) or down (1)."""
        self.move(direction * max(self.content_size.height - 2, 1))

    def move(self, rows: int) -> None:
        """So many rows down, or up."""
        self._moved += rows
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel."""
        self.move(2)
        event.stop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel."""
        self.move(-2)
        event.stop()
