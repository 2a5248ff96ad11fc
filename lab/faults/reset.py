"""Reset: the connection breaks with a RST, as when a process dies or a firewall cuts in.

client ──request──▶ ✗   application
       ◀── RST ────┘
"""

from __future__ import annotations

from typing import Literal

from lab.faults import wire
from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send


class Reset(RequestFault):
    kind: Literal["reset"] = "reset"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        wire.reset(call.transport)
        await wire.gone(receive)
