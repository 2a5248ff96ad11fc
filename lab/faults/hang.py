"""Hang: no answer comes while the fault lasts, though the connection is accepted and the request is read.

client ──request──▶ ░░░░░░░░░░░░░░ … until it is cleared ──▶ application ──answer──▶ client
"""

from __future__ import annotations

from typing import Literal

from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send


class Hang(RequestFault):
    kind: Literal["hang"] = "hang"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await call.pause()
        await app(scope, receive, send)
