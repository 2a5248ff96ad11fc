"""The help page: the keys that apply, and what the screen below shows."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Markdown, Static

from lab.dashboard.screens.base import LabScreen
from lab.dashboard.text import ACCENT, STRONG, line

TRAFFIC = """
## The traffic

**space** sends one request for the same item from your own address: first a miss, then hits, and from the
eleventh within a minute on a 429. **t** is the traffic of many visitors, each within the limit of ten a
minute; every other request asks for something that the cache cannot have. **b** is one greedy client.
The visitors are invented: the dashboard names them in `X-Forwarded-For`, as a load balancer would, and the
gateway that it started believes that header from this machine (`trusted_proxies`). A gateway that trusts
nobody, such as one you started yourself, counts all of it as one client.
"""


Key = tuple[str, str]
"""A key, and what it does."""


class Page(ModalScreen[None]):
    """A text to read, in Markdown. Closes with escape, `?` or `q`."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q", "dismiss", "Close")]

    DEFAULT_CSS = """
    Page { align: center middle; }
    Page VerticalScroll {
        width: 90%; max-width: 110; height: 90%; padding: 0 2; background: $surface;
        border: round $primary; border-title-style: bold; border-subtitle-color: $foreground-muted;
        scrollbar-size-vertical: 1; scrollbar-background: $surface;
    }
    Page Markdown { margin: 0; padding: 0 1 0 0; }
    Page MarkdownH2 { margin: 1 0 0 0; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a frame, scrollable."""
        with VerticalScroll() as page:
            page.border_title = self._title
            page.border_subtitle = "↑ ↓ moves · escape closes"
            yield from self.body()

    def body(self) -> ComposeResult:
        """What stands in the frame."""
        yield Markdown(self._text, open_links=False)


class Help(Page):
    """What a screen shows, the keys that work there, and where the traffic comes from."""

    def __init__(self, title: str, text: str, keys: dict[str, list[Key]], more: str = "") -> None:
        super().__init__(title, text)
        self._keys = keys
        self._more = more

    def body(self) -> ComposeResult:
        """Text, keys, more text."""
        yield from super().body()
        yield Static(self._table())
        yield Markdown(self._more)

    def _table(self) -> Content:
        rows = []
        for title, keys in self._keys.items():
            rows += [line(), line((title, STRONG))]
            rows += [line((f"{key:>9}  ", f"bold {ACCENT}"), what) for key, what in keys]
        return Content("\n").join(rows)


def explain(app: App[Any]) -> None:
    """Open the help of the screen that is shown, with the keys that work there."""
    screen = app.screen
    if not isinstance(screen, LabScreen):
        return
    keys: dict[str, list[Key]] = {"On this screen": [], "Everywhere": []}
    seen = set()
    for active in app.active_bindings.values():
        binding = active.binding
        what = binding.tooltip or binding.description
        wanted = (binding.tooltip or binding.show) and binding.key != "ctrl+q"  # q is enough
        if active.enabled and wanted and binding.action not in seen:
            seen.add(binding.action)
            where = "Everywhere" if active.node is app else "On this screen"
            keys[where].append((app.get_key_display(binding), what))
    more = TRAFFIC if app.check_action("send", ()) else ""
    shown = {title: some for title, some in keys.items() if some}
    app.push_screen(Help(type(screen).__name__, screen.help, shown, more))
