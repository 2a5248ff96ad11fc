"""Which submissions look like each other, or like the reference, whatever their names are.

A source becomes a sequence of tokens from its syntax tree, in which every name is just "name": comments,
layout, docstrings, annotations and renaming make no difference. Of all runs of `K` tokens some are chosen as
fingerprints by winnowing (Schleimer, Wilkerson, Aiken: Winnowing, SIGMOD 2003), so that any common run of
`K + WINDOW - 1` tokens is found. What is in the starter counts for nobody.

This is advice: it says where a person should look, not what happened.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.grading.intake import parsed

K = 12
"""Tokens of a run: shorter common runs are noise."""
WINDOW = 6
"""Of so many runs in a row at least one is a fingerprint."""
ALIKE = 0.8
"""The share of the smaller one's fingerprints from which on two are named."""
FEWEST = 8
"""Fingerprints of one's own: with fewer, everybody's solution looks like everybody's."""


@dataclass(frozen=True)
class Pair:
    """Two that are alike."""

    first: str
    second: str
    share: float
    """How much of the smaller one is in the other, 0 to 1."""


def tokens(source: str) -> list[str]:
    """The syntax tree in order, without names. Empty where it cannot be parsed."""
    tree = parsed(source)
    try:
        return list(walk(tree)) if tree is not None else []
    except RecursionError:
        return []


def walk(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom() | ast.Pass():
            return
        case ast.Constant():
            yield f"constant {type(node.value).__name__}"
            return
        case ast.AnnAssign(value=None) | ast.expr_context():
            return
        case ast.AnnAssign():  # with its type or without: the same assignment
            yield "Assign"
            yield from walk(node.target)
            if node.value is not None:
                yield from walk(node.value)
            return
        case ast.arg():
            yield "arg"
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield type(node).__name__
            yield from walk(node.args)
            for statement in node.body:
                yield from walk(statement)
            return
    yield type(node).__name__
    for child in ast.iter_child_nodes(node):
        yield from walk(child)


def fingerprints(source: str) -> frozenset[int]:
    """The chosen hashes: of each window the smallest, of equal ones the last."""
    sequence = tokens(source)
    hashes = [digest(sequence[at : at + K]) for at in range(len(sequence) - K + 1)]
    chosen = set()
    for at in range(max(1, len(hashes) - WINDOW + 1)) if hashes else ():
        window = hashes[at : at + WINDOW]
        smallest = min(window)
        chosen.add(hashes[at + len(window) - 1 - window[::-1].index(smallest)])
    return frozenset(chosen)


def digest(run: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b("\n".join(run).encode(), digest_size=8).digest(), "big")


def similar(sources: Mapping[str, str], known: Mapping[str, str], starter: str) -> list[Pair]:
    """The pairs among `sources`, and of these with `known` ones (the reference), that are alike.

    All are name → Python text. Ordered by how much they share, then by name.
    """
    common = fingerprints(starter)
    own = {name: fingerprints(source) - common for name, source in sources.items()}
    reference = {name: fingerprints(source) - common for name, source in known.items()}
    pairs = []
    names = sorted(own)
    for at, first in enumerate(names):
        others = [(name, own[name]) for name in names[at + 1 :]] + sorted(reference.items())
        for second, prints in others:
            smaller = min(len(own[first]), len(prints))
            if smaller < FEWEST:
                continue
            share = len(own[first] & prints) / smaller
            if share >= ALIKE:
                pairs.append(Pair(first, second, round(share, 2)))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.first, pair.second))
