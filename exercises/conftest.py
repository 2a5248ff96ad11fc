"""Plain pytest runs the checks of the exercises as `lab check` does: see lab/exercises/plugin.py."""

import importlib.util
import os
import sys

NEEDED = ("httpx", "psutil", "pydantic", "uvicorn", "websockets")

if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    # Where .venv has not been activated a shell may find the pytest of another Python.
    activate = r".venv\Scripts\activate" if os.name == "nt" else "source .venv/bin/activate"
    print(
        f"exercises: {sys.executable} has no {', '.join(missing)}; "
        f"python3 -m lab makes an environment that has, and `{activate}` chooses it",
        file=sys.stderr,
    )
    raise SystemExit(2)

pytest_plugins = ["lab.exercises.plugin", "lab.grading.plugin"]
