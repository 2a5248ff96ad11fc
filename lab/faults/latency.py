"""Latency: the answer comes later.

client ──request──▶ ░░░ ms ± jitter ░░░ ──▶ application ──answer──▶ client
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send


class Latency(RequestFault):
    kind: Literal["latency"] = "latency"
    ms: Annotated[float, Field(ge=0, le=600_000)] = 300.0
    """Milliseconds before the application is asked."""
    jitter: Annotated[float, Field(ge=0, le=600_000)] = 0.0
    """Milliseconds by which a delay may be shorter or longer, evenly spread; at most `ms`."""

    @field_validator("jitter")
    @classmethod
    def _no_negative_delay(cls, jitter: float, info: ValidationInfo) -> float:
        ms = info.data.get("ms")  # None: that was a mistake already
        if ms is not None and jitter > ms:
            raise ValueError(f"at most ms ({ms:g}) was expected")
        return jitter

    @property
    def label(self) -> str:
        return f"latency {self.ms:g}" + (f"±{self.jitter:g}" if self.jitter else "") + " ms"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        delay = self.ms + call.active.random.uniform(-self.jitter, self.jitter)
        await call.pause(delay / 1000)
        await app(scope, receive, send)
