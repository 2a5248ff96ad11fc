"""What each of the lab's processes runs: uvicorn, tied to the life of the launcher that started it.

`python -m lab.launcher.child --name gateway --app gateway:app --port 8000 --parent 4711 --log FILE`

The launcher holds the other end of this process's standard input, so the end of that file means that the
launcher is gone, however it went. Linux also kills this process then by itself, which works even while it is
stopped or busy. Elsewhere a process stopped by SIGSTOP is woken by the kernel when its launcher dies (its
process group is orphaned: POSIX `_exit`), and then reads the end of file. Windows has no SIGSTOP.
"""

from __future__ import annotations

import _thread
import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Where `gateway.py` and the services are, in a clone."""
LOG_SIZE = 2_000_000
"""Bytes of a log file before it is renamed to `….1`, in the place of the one before."""


def die_with(parent: int) -> None:
    """Linux: be killed when the launcher's thread that started this process ends (prctl(2))."""
    if sys.platform != "linux":
        return
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before the call above


def follow() -> None:
    """Exit when standard input ends. A line on it is a request to stop, for Windows, which has no SIGTERM."""
    while os.read(0, 1024):
        _thread.interrupt_main(signal.SIGTERM)
    os._exit(1)  # at once: the port must be free two seconds after the launcher's death


def bound_log(path: Path, size: int = LOG_SIZE, every: float = 1.0) -> None:
    """Start a new log file whenever the present one has `size` bytes; looks `every` so many seconds."""
    while True:
        time.sleep(every)
        if os.fstat(2).st_size >= size:
            rotate(path)


def rotate(path: Path) -> None:
    try:
        os.replace(path, f"{path}.1")
    except PermissionError:  # Windows renames no open file: the older half is lost
        os.ftruncate(2, 0)
        return
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.launcher.child")
    parser.add_argument("--name", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument(
        "--drain", type=int, default=1, help="seconds that requests in flight get after SIGTERM"
    )
    options = parser.parse_args()

    die_with(options.parent)
    threading.Thread(target=follow, daemon=True).start()
    threading.Thread(target=bound_log, args=(options.log,), daemon=True).start()
    sys.path.insert(0, str(ROOT))

    import uvicorn

    uvicorn.run(
        options.app,
        host="127.0.0.1",
        port=options.port,
        http="httptools",
        access_log=False,  # the gateway writes its own; the services count in /stats
        use_colors=False,
        timeout_graceful_shutdown=options.drain,
    )


if __name__ == "__main__":
    main()
