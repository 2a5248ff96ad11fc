"""Garbage: something answers, but it does not speak HTTP.

client ──request──▶ ✗   application
       ◀── 0x15 0x03 …, then FIN
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.faults import wire
from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send

ALERT = bytes([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x0A])
"""A TLS alert, which is what a client that expects HTTP really gets from a port that speaks TLS."""


class Garbage(RequestFault):
    kind: Literal["garbage"] = "garbage"
    bytes: Annotated[int, Field(ge=1, le=1_048_576)] = 64
    """How many bytes come before the connection is closed."""

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        noise = ALERT + call.active.random.randbytes(self.bytes)
        call.transport.write(noise[: self.bytes])
        call.transport.close()
        await wire.gone(receive)
