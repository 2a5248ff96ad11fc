"""WebSocket frozen: the connection stays open and nothing moves, neither messages nor pings.

client ══▶ ░░░░ │ ░░░░ ◀══ application          all of it arrives when the fault is over
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lab.faults.model import Active, SocketFault
from lab.faults.socket import Session

if TYPE_CHECKING:
    from lab.faults.target import Target


class WsFreeze(SocketFault):
    kind: Literal["ws_freeze"] = "ws_freeze"

    def strike(self, session: Session, active: Active) -> None:
        session.freeze(active)

    async def end(self, target: Target, active: Active) -> None:
        for session in target.sessions:
            session.thaw(active)
