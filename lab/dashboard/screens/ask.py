"""A question with one line for an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label


class Ask(ModalScreen[str | None]):
    """Ends with the answer, or with None on escape."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask Vertical { width: 90%; max-width: 100; height: auto; padding: 0 1; }
    Ask Vertical { background: $surface; border: round $primary; }
    """

    def __init__(self, question: str, answer: str = "", known: Iterable[str] = ()) -> None:
        super().__init__()
        self._question = question
        self._answer = answer
        self._known = list(known)

    def compose(self) -> ComposeResult:
        """Question and line."""
        with Vertical():
            yield Label(self._question, markup=False)
            suggester = SuggestFromList(self._known) if self._known else None
            yield Input(self._answer, suggester=suggester, select_on_focus=False)
            yield Label("enter: apply   escape: leave as it is", classes="dim")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The answer."""
        self.dismiss(event.value)
