"""One WebSocket of the service, so that faults can reach it while the application talks over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lab.faults.model import Active, ASGIApp, Message, Receive, Scope, Send


class Session:
    """Stands between uvicorn and the application for the life of one WebSocket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        # uvicorn's `receive` belongs to the connection's protocol.
        self._protocol: Any = getattr(receive, "__self__", None)
        self._frozen_by: set[Active] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.ended = False
        """A fault has closed or cut it: the application can send no more."""
        self._closing: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp, accepted: Callable[[Session], None]) -> None:
        """The application's whole talk; `accepted(self)` is called once the handshake is answered."""

        async def receive() -> Message:
            await self._thawed.wait()
            message = await self._receive()
            while self._frozen_by:
                self._pause()  # taking a message made uvicorn read on
                await self._thawed.wait()
            return message

        async def send(message: Message) -> None:
            await self._thawed.wait()
            if self.ended:
                raise OSError("a fault has ended this connection")  # as ASGI wants it of a server
            await self._send(message)
            if message["type"] == "websocket.accept":
                accepted(self)

        try:
            await app(self.scope, receive, send)
        except Exception:
            if not self.ended:  # else the application may well stumble over what we did to it
                raise
        finally:
            if self._closing is not None:  # to uvicorn the application's end is the connection's
                await self._closing

    def close(self, code: int, reason: str) -> None:
        """Begin to close with this code, whatever the application is doing. Nobody waits for the other end's
        part in it: it may never come.
        """
        if not self.ended:
            self.ended = True
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            pass  # the other end or the application was faster: it is closed

    def cut(self) -> None:
        """End the connection without a close frame."""
        self.ended = True
        self._protocol.transport.abort()

    def freeze(self, by: Active) -> None:
        """Stop reading and writing; uvicorn's own pings too, as in a process that does not run."""
        self._frozen_by.add(by)
        self._thawed.clear()
        self._pause()
        if hasattr(self._protocol, "stop_keepalive"):
            self._protocol.stop_keepalive()

    def thaw(self, by: Active) -> None:
        """Go on where `freeze` stopped, unless another fault holds it too."""
        if by not in self._frozen_by:
            return
        self._frozen_by.discard(by)
        if self._frozen_by:
            return
        self._thawed.set()
        transport = self._protocol.transport
        if not transport.is_closing():
            if not getattr(self._protocol, "read_paused", False):
                transport.resume_reading()
            if hasattr(self._protocol, "start_keepalive"):
                self._protocol.start_keepalive()

    def _pause(self) -> None:
        if not self._protocol.transport.is_closing():
            self._protocol.transport.pause_reading()
