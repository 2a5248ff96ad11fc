"""A number that the last row of a room can read: digits drawn with solid blocks."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from lab.dashboard.text import BAD, DIM, GOOD, STRONG, WARN

ROWS = 5
FONT = {  # five rows of each, from the top
    "0": "### #.# #.# #.# ###",
    "1": "##. .#. .#. .#. ###",
    "2": "### ..# ### #.. ###",
    "3": "### ..# .## ..# ###",
    "4": "#.# #.# ### ..# ..#",
    "5": "### #.. ### ..# ###",
    "6": "### #.. ### #.# ###",
    "7": "### ..# ..# ..# ..#",
    "8": "### #.# ### #.# ###",
    "9": "### #.# ### ..# ###",
    ".": ". . . . #",
    "-": "... ... ### ... ...",
    "k": "#.. #.# ##. #.# #.#",
    "M": "#.# ### ### #.# #.#",
}
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}

TONES = {"": STRONG, "good": f"bold {GOOD}", "warn": f"bold {WARN}", "bad": f"bold {BAD}"}


def pixels(text: str) -> list[str]:
    """The five rows of `text`, `#` and `.`; characters without a picture are left out."""
    pictures = [FONT[letter].split() for letter in text if letter in FONT]
    return [".".join(picture[row] for picture in pictures) for row in range(ROWS)]


def draw(text: str, width: int, height: int) -> list[str]:
    """Lines of `text`: five rows high where that fits, three rows else."""
    rows = pixels(text)
    if height >= ROWS and 2 * len(rows[0]) <= width:
        return ["".join("██" if pixel == "#" else "  " for pixel in row) for row in rows]
    rows.append("." * len(rows[0]))
    return [
        "".join(HALVES[(upper == "#", lower == "#")] for upper, lower in zip(*rows[at : at + 2], strict=True))
        for at in range(0, ROWS, 2)
    ]


class Big(Widget):
    """A large number in a frame that has its name; in its tone unless it is zero, or nothing is known."""

    DEFAULT_CSS = """
    Big {
        border: round $foreground 30%; border-title-color: $foreground-muted; border-title-align: center;
        height: 1fr; text-wrap: nowrap; content-align: center middle; text-align: center;
    }
    """

    value: reactive[str] = reactive("")

    def __init__(self, title: str, tone: str = "") -> None:
        super().__init__()
        self.border_title = title
        self._tone = tone

    def render(self) -> Content:
        """The number."""
        width, height = self.content_size
        something = any(digit in self.value for digit in "123456789")
        style = TONES[self._tone] if something else DIM
        return Content("\n").join(Content.styled(row, style) for row in draw(self.value, width, height))
