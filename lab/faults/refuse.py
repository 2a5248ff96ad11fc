"""Refused connections: the port is closed, as if the process were not there.

    client ──SYN──▶ ✗ (RST)          :8001 bound, but not listening
    curl   ───────▶ control          the side door, see listener.py

New connections are refused by the kernel (ECONNREFUSED). Kept-alive ones that wait for a request are closed,
those in the middle of one finish it. Open WebSockets stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lab.faults.model import Active, ProcessFault

if TYPE_CHECKING:
    from lab.faults.target import Target


class Refuse(ProcessFault):
    kind: Literal["refuse"] = "refuse"

    @property
    def label(self) -> str:
        return "refused connections"

    async def begin(self, target: Target, active: Active) -> None:
        await target.listener.close(target.control)

    async def end(self, target: Target, active: Active) -> None:
        await target.listener.open()
