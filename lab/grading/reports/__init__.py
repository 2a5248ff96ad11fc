"""The formats in which verdicts are handed on: one file each, all made of the same `Verdict`.

format       for one submission      for a class
-----------  ----------------------  ------------------------
gradescope   results.json            gradescope/NAME.json
classroom    classroom.json          classroom/NAME.json
junit        junit.xml               junit.xml
csv          grades.csv              grades.csv
text         report.txt              report.txt
html         report.html             report.html
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.grading.intake import DEVICE
from lab.grading.reports import classroom, csv, gradescope, html, junit, text
from lab.grading.verdict import Class, Verdict

EACH: dict[str, tuple[str, Callable[[Verdict], dict[str, Any]]]] = {
    "gradescope": ("results.json", gradescope.document),
    "classroom": ("classroom.json", classroom.document),
}
"""Formats that have a document for each submission."""
WHOLE: dict[str, tuple[str, Callable[[Class], str]]] = {
    "junit": ("junit.xml", junit.document),
    "csv": ("grades.csv", csv.document),
    "text": ("report.txt", text.document),
    "html": ("report.html", html.document),
}
"""Formats that have one for all of them."""
FORMATS = (*EACH, *WHOLE)


def file_of(format_: str) -> str:
    """The name of the file that a format has for one submission."""
    return {**EACH, **WHOLE}[format_][0]


def write(result: Class, formats: Sequence[str], folder: Path) -> list[Path]:
    """Write the reports; the value is the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        if name in WHOLE:
            file, whole = WHOLE[name]
            written.append(save(folder / file, whole(result)))
            continue
        file, each = EACH[name]
        for verdict, safe in zip(result.verdicts, file_names(result.verdicts), strict=True):
            path = folder / file if len(result.verdicts) == 1 else folder / name / f"{safe}.json"
            path.parent.mkdir(exist_ok=True)
            written.append(save(path, json.dumps(each(verdict), indent=2, ensure_ascii=False) + "\n"))
    return written


def save(path: Path, content: str) -> Path:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    # A submission may print half of a surrogate pair, which has no UTF-8.
    partial.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
    os.replace(partial, path)
    return path


def file_names(verdicts: Sequence[Verdict]) -> list[str]:
    """A file name for each, all different on every system, whatever the submissions are called."""
    names: list[str] = []
    taken: set[str] = set()
    for verdict in verdicts:
        name = re.sub(r"[^\w. ()+@-]", "_", verdict.name)
        # File systems count bytes: 255 for a name, of which we need some for what is put around it.
        name = name.encode("utf-8", "replace")[:150].decode("utf-8", "ignore").strip(". ")
        if not name or DEVICE.match(name):
            name = f"submission {name}".strip()
        number, unique = 2, name
        while (looks := unicodedata.normalize("NFKC", unique).casefold()) in taken:
            unique, number = f"{name}~{number}", number + 1
        taken.add(looks)
        names.append(unique)
    return names
