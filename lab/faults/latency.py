"""Latency: the answer comes later.

client ──request──▶ ░░░ ms ± jitter ░░░ ──▶ application ──answer──▶ client
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lab.faults.model import ASGIApp, Call, Receive, RequestFault, Scope, Send


class Latency(RequestFault):
    kind: Literal["latency"] = "latency"
    ms: Annotated[float, Field(ge=0, le=600_000)] = 300.0
    """Milliseconds before the application is asked."""
    jitter: Annotated[float, Field(ge=0, le=600_000)] = 0.0
    """Milliseconds by which a delay may be shorter or longer, evenly spread; at most `ms`."""

    @model_validator(mode="after")
    def _no_negative_delay(self) -> Latency:
        if self.jitter > self.ms:
            raise ValueError(f"a jitter of at most ms ({self.ms:g}) was expected")
        return self

    @property
    def label(self) -> str:
        return f"latency {self.ms:g}" + (f"±{self.jitter:g}" if self.jitter else "") + " ms"

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        delay = self.ms + call.active.random.uniform(-self.jitter, self.jitter)
        await call.pause(delay / 1000)
        await app(scope, receive, send)
