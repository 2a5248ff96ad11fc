"""Error: the service answers with a status of failure; the application is never asked.

client ──request──▶ ✗   application
       ◀── 503 ────┘
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field

from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send


class Error(RequestFault):
    kind: Literal["error"] = "error"
    status: Annotated[int, Field(ge=400, le=599)] = 503
    retry_after: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Seconds for a Retry-After field; None is no such field."""

    @property
    def label(self) -> str:
        return f"error {self.status}"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"" if scope.get("method") == "HEAD" else json.dumps({"fault": self.label}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        # A WebSocket's handshake is refused by an ordinary answer (ASGI: websocket.http.response).
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        await send({"type": f"{prefix}.response.start", "status": self.status, "headers": headers})
        await send({"type": f"{prefix}.response.body", "body": body})
