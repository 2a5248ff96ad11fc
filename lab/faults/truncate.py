"""Truncated body: the head promises more than comes; the connection is closed in the middle.

application ──▶ Content-Length: 900 │ first bytes ✂           (or chunks without the last, empty one)
client      ◀──  a head, `keep` bytes, FIN
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.faults import wire
from lab.faults.model import ASGIApp, Call, Message, Receive, RequestFault, Scope, Send


class Truncate(RequestFault):
    kind: Literal["truncate"] = "truncate"
    keep: Annotated[int, Field(ge=0)] = 10
    """Bytes of the body that still come; of a shorter body with a Content-Length all but the last one."""

    @property
    def label(self) -> str:
        return f"truncate after {self.keep} bytes"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        left = self.keep
        cut = False

        async def cutting(message: Message) -> None:
            nonlocal left, cut
            if cut:
                return
            if message["type"] == "http.response.start":
                length = next(
                    (v for k, v in message.get("headers", ()) if k.lower() == b"content-length"), None
                )
                if length is not None:
                    left = min(left, max(int(length) - 1, 0))
                await send(message)
                return
            body = message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) <= left and more:
                left -= len(body)
                await send(message)
                return
            cut = True
            await send({"type": "http.response.body", "body": body[:left], "more_body": True})
            call.transport.close()

        await app(scope, receive, cutting)
        if cut:
            await wire.gone(receive)
