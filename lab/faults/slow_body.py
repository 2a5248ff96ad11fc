"""Slow body: the head comes at once, the body drips.

application ──▶ ████████████
client      ◀── head ▪ ▪ ▪ ▪ ▪ ▪ ▪ ▪ ▪ ▪ ▪ ▪      `rate` bytes a second
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.faults.model import ASGIApp, Call, Message, Receive, RequestFault, Scope, Send

TICK = 0.05
"""Seconds between two pieces, where a piece is a byte or more."""


class SlowBody(RequestFault):
    kind: Literal["slow_body"] = "slow_body"
    rate: Annotated[float, Field(gt=0)] = 100.0
    """Bytes a second."""

    @property
    def label(self) -> str:
        return f"slow body {self.rate:g} B/s"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        piece = max(int(self.rate * TICK), 1)

        async def dripping(message: Message) -> None:
            body = message.get("body", b"")
            while body and not call.over and not call.gone:
                part, body = body[:piece], body[piece:]
                await call.pause(len(part) / self.rate)
                await send(
                    {**message, "body": part, "more_body": bool(body) or message.get("more_body", False)}
                )
                if not body:
                    return
            await send({**message, "body": body} if "body" in message else message)

        await app(scope, receive, dripping)
