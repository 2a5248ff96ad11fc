"""WebSocket cut: the connection ends without a close frame, as when a process is killed.

client ◀══ messages ══▶ ✂ application          the client sees 1006: abnormal closure
"""

from __future__ import annotations

from typing import Literal

from lab.faults.model import Active, SocketFault
from lab.faults.socket import Session


class WsCut(SocketFault):
    kind: Literal["ws_cut"] = "ws_cut"

    def strike(self, session: Session, active: Active) -> None:
        session.cut()
