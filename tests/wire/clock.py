"""`gateway:app` in a process whose wall clock is off by what a file says: for a clock that is set back."""

import os
import time
from pathlib import Path

_time = time.time
_file = Path(os.environ["WIRE_CLOCK"])


def wrong() -> float:
    return _time() + float(_file.read_text() or 0)


time.time = wrong

from gateway import app  # noqa: E402

__all__ = ["app"]
