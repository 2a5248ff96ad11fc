"""Path globs: how the configuration names a set of paths.

    /service-a/items/*      one segment:    /service-a/items/5        not /service-a/items/5/tags
    /service-a/items/**     the whole tree: /service-a/items and everything below it
    /service-a/**/tags      any depth:      /service-a/tags, /service-a/items/5/tags

`*` stands for any characters within a segment, none too. `**` as a whole segment stands for any number of
segments, none too; at the end of the last segment it stands for any rest (`/service-a/v*/re**`); elsewhere
it is `*`. Everything else means itself, upper and lower case differ.

A glob is matched against `Exchange.path`: escapes of unreserved characters are decoded there, all others
are not, so `%2F` is no separator and a glob for `/größe` is written as it travels, `/gr%C3%B6%C3%9Fe`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Matcher = Callable[[str], object]
"""Says whether a path matches: the result is true or false in an `if`, nothing more is promised."""


def matcher(glob: str) -> Matcher:
    """The test for `glob`. It takes time in proportion to the path's length, whatever the path."""
    if glob == "/**":
        return bool  # every path, and the default: no engine is needed to say so
    return re.compile(_regex(glob), re.DOTALL).fullmatch


def _regex(glob: str) -> str:
    """The runs of segments between the `**`, each settled at the nearest place where it fits.

    The nearest is as good as any later one, and the atomic group `(?>…)` keeps the engine from trying those:
    they are what takes exponential time on a hostile path.
    """
    first, *runs = _runs(glob)
    if not runs:
        return first
    *inner, last = runs
    return (
        first + "".join(f"(?>{_ANY}{run}(?=/|\\Z))" for run in inner) + (_ANY + last if last else "(?:/.*)?")
    )


_ANY = "(?:/[^/]*)*?"
"""Any number of segments, as few as possible."""


def _runs(glob: str) -> list[str]:
    segments = glob.removeprefix("/").split("/")
    tree = len(segments[-1]) > 2 and segments[-1].endswith("**")
    runs = [""]
    for segment in segments:
        if segment == "**":
            runs.append("")
        else:
            runs[-1] += "/" + _segment(segment)
    if tree:
        runs[-1] += ".*"
    return runs


def _segment(glob: str) -> str:
    """One segment; here, too, all stars but the last are settled by the nearest match of what follows."""
    first, *pieces = re.split(r"\*+", glob)
    if not pieces:
        return re.escape(first)
    *inner, last = pieces
    return re.escape(first) + "".join(f"(?>[^/]*?{re.escape(p)})" for p in inner) + "[^/]*" + re.escape(last)
