"""What tests of processes share: whether one has ended."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil


def ended(process: psutil.Process) -> bool:
    """Whether it runs no more. Where the first process collects nobody, as in some containers, orphans stay
    as zombies: `psutil.Process.wait` would wait for them for ever."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def survivors(processes: Iterable[psutil.Process], seconds: float = 60.0) -> list[psutil.Process]:
    """Those of `processes` that still run after `seconds`; an empty list as soon as all have ended."""
    deadline = time.monotonic() + seconds
    while (left := [each for each in processes if not ended(each)]) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.02)
    return left
