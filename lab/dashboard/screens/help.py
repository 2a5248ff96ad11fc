"""The help page: the keys that apply, and what the screen below shows."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Markdown

from lab.dashboard.screens.base import LabScreen

KEYS = """
## Keys

| key | |
|---|---|
"""

TRAFFIC = """
## The traffic

**space** sends one request for the same item from your own address: first a miss, then hits, and from the
eleventh within a minute on a 429. **t** is the traffic of many visitors, each within the limit of ten a
minute; every other request asks for something that the cache cannot have. **b** is one greedy client.
The visitors are invented: the dashboard names them in `X-Forwarded-For`, as a load balancer would, and the
gateway that it started believes that header from this machine (`trusted_proxies`). A gateway that trusts
nobody, such as one you started yourself, counts all of it as one client.
"""


class Help(ModalScreen[None]):
    """Closes with escape, `?` or `q`."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q", "dismiss", "Close")]

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help VerticalScroll { width: 90%; max-width: 100; height: 90%; padding: 0 1; }
    Help VerticalScroll { background: $surface; border: round $primary; }
    Help Markdown { margin: 0; }
    """

    def __init__(self, title: str, text: str, keys: list[tuple[str, str]]) -> None:
        super().__init__()
        rows = "".join(f"| `{key}` | {what} |\n" for key, what in keys)
        self._text = f"# {title}\n{text}\n{KEYS}{rows}{TRAFFIC}"

    def compose(self) -> ComposeResult:
        """The text, scrollable."""
        with VerticalScroll():
            yield Markdown(self._text)
        yield Footer(compact=True, show_command_palette=False)


def explain(app: App[Any]) -> None:
    """Open the help of the screen that is shown, with the keys that work there."""
    screen = app.screen
    if isinstance(screen, LabScreen):
        keys = [
            (app.get_key_display(active.binding), active.binding.tooltip or active.binding.description)
            for active in app.active_bindings.values()
            if active.enabled
            and (active.binding.tooltip or active.binding.show or "jump(" in active.binding.action)
        ]
        app.push_screen(Help(type(screen).__name__, screen.help, keys))
