"""`python -m tests.wire.broken [ROW…]`: break a copy of the gateway, row by row, and see the row's test fail.

Exit status 0 where every test noticed. A variant whose text is no longer in the file is an error, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.wire.broken.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[3]


def broken(row: int) -> str:
    """`noticed`, or what went wrong."""
    test, *edits = VARIANTS[row]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("lab", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("gateway.py", "pyproject.toml"):
            shutil.copy(ROOT / name, tree / name)
        for file, old, new in edits:
            path = tree / "lab" / file
            text = path.read_text(encoding="utf-8")
            if old not in text:
                return f"{file} has no {old!r}"
            path.write_text(text.replace(old, new), encoding="utf-8")
        start = subprocess.run(
            [sys.executable, "-c", "import gateway"], cwd=tree, capture_output=True, text=True
        )
        if start.returncode != 0:
            return f"it does not even start:\n{start.stderr[-2000:]}"
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "tests/wire", "-k", test],
            cwd=tree,
            env={**os.environ, "WIRE_PATIENCE": "3"},
            capture_output=True,
            text=True,
        )
        if "FAILED tests/wire/" not in run.stdout or f"::test_row_{row}_" not in run.stdout:
            return f"no test of it failed:\n{run.stdout[-2000:]}"
        return "noticed"


def main(arguments: list[str]) -> int:
    rows = [int(argument) for argument in arguments] or sorted(VARIANTS)
    unnoticed = 0
    for row in rows:
        outcome = broken(row)
        unnoticed += outcome != "noticed"
        print(f"row {row}: {outcome}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
