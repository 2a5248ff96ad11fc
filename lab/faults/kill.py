"""Killed: the process is gone at once, without a last word (SIGKILL).

service ▓▓▓▓▓✝            the launcher starts it again; a plain `uvicorn` stays down
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Literal

from lab.faults.model import Active, ProcessFault

if TYPE_CHECKING:
    from lab.faults.target import Target


class Kill(ProcessFault):
    kind: Literal["kill"] = "kill"

    @property
    def label(self) -> str:
        return "killed"

    async def answered(self, target: Target, active: Active) -> None:
        # On Windows, os.kill ends a process without asking whatever the number is.
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
