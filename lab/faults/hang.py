"""Hang: the connection is accepted, the request is read, and no answer comes while the fault lasts.

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
