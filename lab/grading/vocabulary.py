"""What of the lab's own package exists in a sandbox: the vocabulary that the exercises speak, and no more.

A starter that says `from lab.policies.rate_limit.limiter import Verdict` must find a `Verdict`, but not the
reference limiters that live in the same package, sometimes in the same file. So the names that starters and
solutions import are cut out of the lab's modules, with what they need themselves; nothing else is there.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
AGENT = ("__init__", "agent", "plain", "serving", "program", "warm")
WHOLE = ("__init__", "model", *(f"exercises/{name}" for name in AGENT))
"""What stands in a sandbox as it is: the words of the gateway, and the agent that runs a submission."""

PROTOCOLS = (
    "from lab.policies.rate_limit.limiter import Limiter, Verdict",
    "from lab.policies.cache.core import Store",
    "from lab.policies.breaker import Breaker",
    "from lab.policies.retry import Backoff",
)
"""What a class that is plugged in has to satisfy; a submission may name it as its base."""


def write(folder: Path, sources: Iterable[str]) -> list[str]:
    """Write the package `lab` into `folder`, cut down to what the Python texts `sources` import of it.

    The value is the names of all modules that these import at their top, for loading them ahead.
    """
    for name in WHOLE:
        target = folder / "lab" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / f"{name}.py", target)
    cuts: dict[str, Cut] = {}
    modules: set[str] = set()
    for source in (*PROTOCOLS, *sources):
        tree = ast.parse(source)
        if source not in PROTOCOLS:
            modules.update(imported_modules(tree))
        for module, name in imported_names(tree):
            take(module, name, cuts)
    for module, cut in cuts.items():
        path = folder.joinpath(*module.split("."))
        path = path / "__init__.py" if cut.is_package else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(cut.text(), encoding="utf-8")
    for path in list((folder / "lab").rglob("*.py")):
        for parent in path.relative_to(folder).parents:
            if parent != Path("."):
                (folder / parent / "__init__.py").touch()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the grader's umask: sandboxes read it
    return sorted(modules)


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The pairs (module, name) of every `from lab.… import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and ours(node.module):
            yield from ((node.module or "", alias.name) for alias in node.names)


def ours(module: str | None) -> bool:
    return module is not None and (module == "lab" or module.startswith("lab."))


def take(module: str, name: str, cuts: dict[str, Cut]) -> None:
    """Cut `name` out of `module`, and whatever it needs out of others."""
    if module.removeprefix("lab.").replace(".", "/") in WHOLE or not (found := find(module)):
        return
    if module not in cuts:
        cuts[module] = Cut(found)
    for needed_module, needed in cuts[module].keep(name):
        take(needed_module, needed, cuts)


def find(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


class Cut:
    """One module, cut down."""

    def __init__(self, path: Path) -> None:
        self.is_package = path.name == "__init__.py"
        self._body = ast.parse(path.read_text("utf-8")).body
        self._kept: dict[int, set[str]] = {}
        """Position of a statement → which of the names that it binds are wanted."""

    def keep(self, name: str) -> Iterator[tuple[str, str]]:
        """Keep `name` and what it needs of this module; yields what it needs of other modules of ours."""
        for at, node in enumerate(self._body):
            if name not in bound(node) or name in self._kept.get(at, ()):
                continue
            self._kept.setdefault(at, set()).add(name)
            if isinstance(node, ast.ImportFrom):
                if ours(node.module):
                    original = next(a.name for a in node.names if (a.asname or a.name) == name)
                    yield node.module or "", original
                continue
            if isinstance(node, ast.Import):
                continue
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    yield from self.keep(inner.id)

    def text(self) -> str:
        lines = ["from __future__ import annotations"]
        for at, names in sorted(self._kept.items()):
            node = self._body[at]
            if isinstance(node, ast.Import | ast.ImportFrom):
                node.names = [
                    alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in names
                ]
            lines.append(ast.unparse(node))
        return "\n".join(lines) + "\n"


def bound(node: ast.stmt) -> set[str]:
    """The names that a statement at a module's top binds."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return {node.name}
        case ast.Import():
            return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        case ast.ImportFrom() if node.module != "__future__":
            return {alias.asname or alias.name for alias in node.names}
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return {
                inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)
            }
    return set()
