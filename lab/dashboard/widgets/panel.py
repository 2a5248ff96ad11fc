"""The base of most widgets: lines of text drawn from the View."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from lab.dashboard.state import View


class Panel(Widget):
    """Draws `lines(view, width, height)`; setting `view` draws again, also when it is the same object."""

    DEFAULT_CSS = "Panel { text-wrap: nowrap; text-overflow: clip; }"

    view: reactive[View | None] = reactive(None, always_update=True)

    def render(self) -> Content:
        """The lines, cut to the widget's height."""
        width, height = self.content_size
        if self.view is None or not width or not height:
            return Content("")
        return Content("\n").join(self.lines(self.view, width, height)[:height])

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """What to draw: at most `height` lines of at most `width` cells."""
        raise NotImplementedError
