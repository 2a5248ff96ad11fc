"""A table that is filled again and again, keeps its cursor, and changes only the cells that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.text import Text
from textual.message import Message
from textual.widgets import DataTable

from lab.dashboard.text import DIM, Part

Cell = Part | list[Part]

PADDING = 1
"""Cells at each side of a column."""
KEPT = 500
"""Cells that are kept drawn; a table's own ten thousand are twenty megabytes where they change often."""
SHORTEST = 8
"""Cells that the column which takes the rest has at least."""


class LiveTable(DataTable[Text]):
    """Rows by key; `fill` takes all of them each time."""

    DEFAULT_CSS = """
    LiveTable { height: 1fr; background: transparent; overflow-x: hidden; scrollbar-size-vertical: 1; }
    LiveTable:focus { background-tint: transparent; }
    LiveTable > .datatable--header { background: transparent; color: $foreground-muted; text-style: none; }
    LiveTable:focus > .datatable--header { background-tint: transparent; }
    LiveTable > .datatable--cursor { background: $foreground 8%; text-style: none; }
    LiveTable:focus > .datatable--cursor { background: $primary 40%; text-style: none; }
    """

    class RoomChanged(Message):
        """The column that takes the rest has another width."""

    def __init__(self, *columns: tuple[str, int], cursor: bool = True, **options: Any) -> None:
        """`columns` are (title, width in cells); the one of width 0 takes the room that is left.

        `>` before a title aligns the column right. Without a `cursor` no row is selected.
        """
        super().__init__(
            cursor_type="row" if cursor else "none",
            cell_padding=PADDING,
            cursor_foreground_priority="renderable",
            **options,
        )
        self.can_focus = cursor
        self._cell_render_cache.maxsize = KEPT
        for rows in (self._row_render_cache, self._row_renderable_cache, self._line_cache):
            rows.maxsize = KEPT // 5
        self._titles = columns
        self._shown: dict[str, tuple[Cell, ...]] = {}
        self._theme = ""
        self.rest = 0
        """The width of the column that takes the room that is left."""

    def on_resize(self) -> None:
        """Another width leaves another rest."""
        if self.columns and self.rest != self._room():
            selected, shown, self._shown = self.selected, self._shown, {}
            self.clear(columns=True)
            self.fill(shown)
            if selected in shown:
                self.move_cursor(row=list(shown).index(selected))
            self.post_message(self.RoomChanged())

    def _room(self) -> int:
        taken = sum(width + 2 * PADDING for _, width in self._titles)
        return max(self.scrollable_content_region.width - taken, SHORTEST)

    def _add_columns(self) -> None:
        # Not at mounting: the screen may have rows for us before that.
        self.rest = self._room()
        for title, width in self._titles:
            label = Text(title.removeprefix(">"), justify="right" if title.startswith(">") else "left")
            self.add_column(label, width=width or self.rest, key=title)

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
        side: Literal["right", "left"] = "right" if title.startswith(">") else "left"
        text = Text(justify=side, no_wrap=True, overflow="ellipsis")
        for part in cell if isinstance(cell, list) else [cell]:
            words, style = (part, "") if isinstance(part, str) else part
            text.append(words, " ".join(self._colour(word) for word in style.split()))
        return text

    def _colour(self, word: str) -> str:
        return "dim" if word == DIM else self.app.theme_variables.get(word.removeprefix("$"), word)
