"""What a terminal or a system does to end a command, as one callback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def on_stop(callback: Callable[[str], None]) -> Iterator[None]:
    """Call `callback(name)` in the running loop for each SIGINT, SIGTERM or SIGHUP, inside the `with`.

    Only from the main thread. Works on Windows too, where SIGHUP is missing and a closed window is SIGBREAK.
    """
    loop = asyncio.get_running_loop()

    def arrived(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback, signal.Signals(number).name)

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            continue  # `nohup lab up` outlives its terminal
        before[number] = signal.signal(number, arrived)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
