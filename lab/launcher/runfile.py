"""The run file: how `lab attach`, `lab run`, `lab load` and `lab plug` find the stack that runs.

`.lab/run.json` is written when a stack starts and removed when it stops. It holds the admin token, so only
its owner can read it. One that a killed launcher left behind is recognised and counts as none.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Run:
    """A stack that runs."""

    pid: int
    """The launcher's process."""
    started: float
    """When that process was created, Unix seconds: tells it from a later one of the same number."""
    gateway_url: str
    urls: dict[str, str]
    ports: dict[str, int]
    admin_token: str

    @property
    def alive(self) -> bool:
        return lives(self.pid, self.started)


def lives(pid: int, created: float) -> bool:
    """Whether process `pid` still runs and is the one that was created at `created`, in Unix seconds.

    One that ended without being waited for (a zombie) does not run: in a container whose first process
    collects nobody, those that were killed stay in the table for ever.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created) < 1.0
    except psutil.Error:
        return False


def home() -> Path:
    """The lab's own folder: `LAB_HOME`, or `.lab` in the clone, or in the current folder outside of one."""
    if chosen := os.environ.get("LAB_HOME"):
        return Path(chosen)
    root = Path(__file__).resolve().parents[2]
    return (root if (root / "pyproject.toml").is_file() else Path.cwd()) / ".lab"


def path(folder: Path | None = None) -> Path:
    return (folder or home()) / "run.json"


def load(folder: Path | None = None) -> Run | None:
    """What the run file says, whether that stack still runs or not; None where there is no readable one."""
    try:
        return Run(**json.loads(path(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read(folder: Path | None = None) -> Run | None:
    """The stack that runs now, or None."""
    run = load(folder)
    return run if run is not None and run.alive else None


def write(
    gateway_url: str, urls: dict[str, str], ports: dict[str, int], token: str, folder: Path | None = None
) -> bool:
    """Make this process's stack the one that is found. False where another one runs: it stays."""
    other = read(folder)
    if other is not None and other.pid != os.getpid():
        return False
    run = Run(os.getpid(), psutil.Process().create_time(), gateway_url, urls, ports, token)
    target = path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"run.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(asdict(run), file)
    os.replace(draft, target)
    return True


def remove(folder: Path | None = None) -> None:
    """Take the run file away, if it is this process's or nobody's any more."""
    run = load(folder)
    if run is None or run.pid == os.getpid() or not run.alive:
        path(folder).unlink(missing_ok=True)
