"""WebSocket closed: the service says goodbye with a code, as when it restarts or does not like a message.

client ◀══ messages ══▶ application
       ◀── close 1011 ── fault
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lab.faults.model import Active, SocketFault
from lab.faults.socket import Session


class WsClose(SocketFault):
    kind: Literal["ws_close"] = "ws_close"
    code: Annotated[int, Field(ge=1000, le=4999)] = 1011
    reason: Annotated[str, Field(max_length=100)] = ""

    @field_validator("code")
    @classmethod
    def _may_be_sent(cls, code: int) -> int:
        if code in (1004, 1005, 1006) or 1015 <= code < 3000:
            raise ValueError("a close code that may be sent was expected (RFC 6455 §7.4)")
        return code

    @property
    def label(self) -> str:
        return f"ws close {self.code}"

    def strike(self, session: Session, active: Active) -> None:
        session.close(self.code, self.reason)
