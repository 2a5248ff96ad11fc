"""A table that is filled again and again, keeps its cursor, and changes only the cells that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.text import Text
from textual.widgets import DataTable

from lab.dashboard.text import DIM

Cell = str | tuple[str, str]
"""Text, or text and its style (one of those in `lab.dashboard.text`)."""


class LiveTable(DataTable[Text]):
    """Rows by key; `fill` takes all of them each time."""

    DEFAULT_CSS = """
    LiveTable { height: 1fr; background: transparent; overflow-x: hidden; }
    LiveTable > .datatable--header { background: transparent; color: $foreground-muted; text-style: none; }
    """

    def __init__(self, *columns: tuple[str, int], **options: Any) -> None:
        """`columns` are (title, width in cells); width 0 takes what the text needs.

        `>` before a title aligns the column right.
        """
        super().__init__(cursor_type="row", zebra_stripes=False, cell_padding=1, **options)
        self._titles = columns
        self._shown: dict[str, tuple[Cell, ...]] = {}
        self._theme = ""

    def _add_columns(self) -> None:
        # Not at mounting: the screen may have rows for us before that.
        for title, width in self._titles:
            label = Text(title.removeprefix(">"), justify="right" if title.startswith(">") else "left")
            self.add_column(label, width=width or None, key=title)

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def fill(self, rows: Mapping[str, Sequence[Cell]]) -> None:
        """Show these rows in this order."""
        if not self.columns:
            self._add_columns()
        wanted = {key: tuple(cells) for key, cells in rows.items()}
        if self._theme != self.app.theme:
            self._theme, self._shown = self.app.theme, {}
        shown, self._shown = self._shown, wanted
        old, new = list(shown), list(wanted)
        if new[: len(old)] != old or not old:
            selected, at = self.selected, self.cursor_row
            self.clear()
            old = []
            for key in new:
                self._add(key, wanted[key])
            if new:
                self.move_cursor(row=new.index(selected) if selected in wanted else min(at, len(new) - 1))
            return
        for key in old:
            for (title, _), before, now in zip(self._titles, shown[key], wanted[key], strict=True):
                if before != now:
                    self.update_cell(key, title, self._text(title, now))
        for key in new[len(old) :]:
            self._add(key, wanted[key])

    def _add(self, key: str, cells: tuple[Cell, ...]) -> None:
        texts = (self._text(title, cell) for (title, _), cell in zip(self._titles, cells, strict=True))
        self.add_row(*texts, key=key)

    def _text(self, title: str, cell: Cell) -> Text:
        content, style = (cell, "") if isinstance(cell, str) else cell
        variables = self.app.theme_variables
        words = ["dim" if w == DIM else variables.get(w.removeprefix("$"), w) for w in style.split()]
        side: Literal["right", "left"] = "right" if title.startswith(">") else "left"
        return Text(content, style=" ".join(words), justify=side, no_wrap=True, overflow="ellipsis")
