"""Machine-made wrong solutions: `python -m tests.exercises.mutants [NN …]`. Do the checks reject them?

Each mutant is the solution with one small change: a comparison, an operator, a constant, a branch, or a
statement. Those that the checks let through must stand in `survivors.txt` with the reason why that is right.
Exit status 1 where one does not, where an entry there fits nothing any more, or where fewer than 95 of 100
are rejected.

The idea and its usual operators: DeMillo, Lipton and Sayward, "Hints on Test Data Selection", 1978.
"""

from __future__ import annotations

import ast
import copy
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.exercises.catalog import Exercise, exercises
from lab.exercises.kit import Result
from lab.exercises.runner import Runner

SURVIVORS = Path(__file__).with_name("survivors.txt")
WANTED = 0.95

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
DELETED = (ast.Expr, ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)


Place = tuple[ast.AST, str, int | None]
"""Where a node hangs: its parent, the parent's field, and the number in it where that is a list."""


@dataclass(frozen=True)
class Mutant:
    """`name` says what was changed, without line numbers, so that it outlives changes elsewhere."""

    name: str
    tree: ast.Module
    place: Place
    original: ast.AST
    changed: ast.AST

    @property
    def source(self) -> str:
        _put(self.place, self.changed)
        try:
            return ast.unparse(ast.fix_missing_locations(self.tree))
        finally:
            _put(self.place, self.original)


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, in its order, under names of their own."""
    seen: Counter[str] = Counter()
    found = []
    tree = ast.parse(source)
    for where, place, node in _nodes(tree):
        for changed in _variants(node):
            before, after = _told(node, changed)
            name = f"{where}: {before} -> {after}"
            seen[name] += 1
            if seen[name] > 1:
                name += f" #{seen[name]}"
            found.append(Mutant(name, tree, place, node, changed))
    return found


def _nodes(parent: ast.AST, where: str = "module") -> Iterator[tuple[str, Place, ast.AST]]:
    """Every node that runs, with the function it is in; annotations change nothing."""
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns"):
            continue
        nodes = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for number, node in nodes:
            if not isinstance(node, ast.AST):
                continue
            inside = where
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = node.name if where == "module" else f"{where}.{node.name}"
            yield inside, (parent, name, number), node
            yield from _nodes(node, inside)


def _put(place: Place, node: ast.AST) -> None:
    parent, name, number = place
    if number is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[number] = node


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:80]


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand instead of `node`."""
    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                if type(op) in SWAPS:
                    changed = copy.deepcopy(node)
                    changed.ops[at] = SWAPS[type(op)]()  # type: ignore[assignment]
                    yield changed
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            changed = copy.deepcopy(node)
            changed.op = SWAPS[type(op)]()  # type: ignore[assignment, attr-defined]
            yield changed
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.If() | ast.While() | ast.IfExp():
            changed = copy.deepcopy(node)
            changed.test = ast.UnaryOp(ast.Not(), changed.test)  # type: ignore[attr-defined]
            yield changed
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Return(value=ast.AST() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(None)
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, DELETED) and not docstring:
        yield ast.Pass()


def _told(node: ast.AST, other: ast.AST) -> tuple[str, str]:
    """Both in one line each; of a branch its test says enough."""
    if isinstance(node, ast.If | ast.While):
        word = type(node).__name__.lower()
        return f"{word} {_short(node.test)}", f"{word} {_short(other.test)}"  # type: ignore[attr-defined]
    return _short(node), _short(other)


def survivors() -> dict[str, dict[str, str]]:
    """Exercise → name of a mutant → why it is no mistake; in the file the reason follows, indented."""
    known: dict[str, dict[str, str]] = {}
    exercise = name = ""
    for line in SURVIVORS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith("["):
            exercise = line.strip("[]")
        elif line.startswith(" "):
            reason = known[exercise][name]
            known[exercise][name] = f"{reason} {line.strip()}".strip()
        else:
            name = line.strip()
            known.setdefault(exercise, {})[name] = ""
    return known


class Hangs(Exception):
    """Ends a run: each further check of an endless mutant would take its whole time too."""


def hanging(result: Result) -> None:
    if result.status == "hung":
        raise Hangs


def rejected(runner: Runner, mutant: Mutant, folder: Path) -> bool:
    path = folder / "mutant.py"
    path.write_text(mutant.source, encoding="utf-8")
    try:
        return not runner.run(path, each=hanging).passed
    except Hangs:
        return True


def report(exercise: Exercise) -> tuple[int, int, bool]:
    """Run all mutants of an exercise and print what survives without a reason.

    How many there are, how many survive, and whether each of these has its reason.
    """
    made = mutants(exercise.solution.read_text(encoding="utf-8"))
    known = survivors().get(exercise.name, {})
    with tempfile.TemporaryDirectory() as folder, Runner(exercise, reuse=True) as runner:
        alive = [mutant.name for mutant in made if not rejected(runner, mutant, Path(folder))]
    share = 1 - len(alive) / len(made)
    print(f"{exercise.name}: {len(made)} mutants, {share:.1%} rejected, {len(alive)} survive", flush=True)
    new = [name for name in alive if name not in known]
    stale = [name for name in known if name not in alive]
    for word, names in (("survives", new), ("no longer survives", stale)):
        for name in names:
            print(f"  {word}  {name}", flush=True)
    return len(made), len(alive), not new and not stale


if __name__ == "__main__":
    chosen = [e for e in exercises() if not sys.argv[1:] or f"{e.number:02}" in sys.argv[1:]]
    made, alive, explained = zip(*(report(exercise) for exercise in chosen), strict=True)
    share = 1 - sum(alive) / sum(made)
    print(f"{sum(made)} mutants, {share:.1%} rejected, {WANTED:.0%} wanted")
    sys.exit(0 if share >= WANTED and all(explained) else 1)
