"""A submission's process where nothing of `zygote` is to be had: `python alone.py LIBRARY MODULE…`.

It loads the modules, then waits for its job on standard input, one line: {"port", "token", "home", "file",
"environment", "limits"}. It proves with the token that it is the process that the grader has started, bounds
itself as far as the system can, and runs the submission. When standard input ends, the grader is gone, and so
is this.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import jail  # type: ignore[import-not-found, unused-ignore]
    import runtime  # type: ignore[import-not-found, unused-ignore]

    sys.path.pop(0)
else:
    from lab.grading.inside import jail, runtime


def main(library: str, modules: list[str]) -> None:
    sys.path[:0] = [library]
    for name in modules:
        with contextlib.suppress(Exception):  # a library that is missing is missing for the submission too
            importlib.import_module(name)
    if hasattr(os, "setsid"):
        os.setsid()
    grader = private_input()
    job = json.loads(read_line(grader))
    sock = socket.create_connection(("127.0.0.1", job["port"]), 30)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(bytes.fromhex(job["token"]))
    threading.Thread(target=end_with, args=(grader,), daemon=True).start()
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["home"])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]
    with contextlib.suppress(ImportError):
        jail.limit(job["limits"])
    runtime.main(sock, Path(job["home"]), job["file"])


def private_input() -> int:
    """A descriptor of our own for what was standard input, which is empty from now on."""
    grader = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return grader


def read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not (chunk := os.read(descriptor, 4096)):
            os._exit(0)  # it was not needed
        line += chunk
    return line


def end_with(grader: int) -> None:
    with contextlib.suppress(OSError):
        os.read(grader, 1)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
