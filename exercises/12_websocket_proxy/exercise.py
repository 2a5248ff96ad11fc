"""Exercise 12, WebSocket proxy: carry messages both ways until one side ends. README.md has the task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol


class Closed(Exception):
    """A peer has gone, with this close code and reason (RFC 6455 §7.1.5 and §7.1.6).

    The code is 1005 where its close frame had none, and 1006 where it vanished without a close frame.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The service answered the handshake with an HTTP status, such as 403, and did not accept it."""

    def __init__(self, status: int) -> None:
        self.status = status


class Peer(Protocol):
    """What is at the other end of an open WebSocket."""

    async def receive(self) -> str | bytes:
        """Its next message: text is str, binary is bytes. Raises `Closed` when it has gone.

        What it said before it went comes first. After that every call raises.
        """

    async def send(self, message: str | bytes) -> None:
        """Send it a message; returns when it has room for more. Raises `Closed` when it has gone."""

    async def close(self, code: int, reason: str = "") -> None:
        """Close it, with a code that may be sent. One that has gone already can be closed, to no effect.

        A frozen peer does not answer: do not count on its `receive` to raise anything afterwards.
        """


class Client(Peer, Protocol):
    """Whoever wants a WebSocket of the gateway. It is answered once: accepted, or refused."""

    subprotocols: list[str]
    """What it offers to speak, the dearest first."""

    async def accept(self, subprotocol: str | None) -> None:
        """Answer 101, with the subprotocol that is to be spoken. Raises `Closed` when it has gone."""

    async def refuse(self, status: int) -> None:
        """Answer with an HTTP status: there is no WebSocket."""


class Service(Peer, Protocol):
    """A service that has accepted our handshake."""

    subprotocol: str | None
    """What it chose among those that it was offered, if it did."""


async def relay(client: Peer, service: Peer) -> None:
    """Carry messages between two open peers until one of them has gone, then close the other.

    Returns when both are closed and nothing that was started here is still running.
    """
    # TODO
    raise NotImplementedError


async def proxy(client: Client, dial: Callable[[list[str]], Awaitable[Service]]) -> None:
    """Answer the client's handshake with what the service says to it, then relay.

    `await dial(subprotocols)` does the handshake with the service. It raises `Refused`, `TimeoutError` where
    the service does not answer in time, or another `OSError` where it cannot be reached.
    """
    # TODO
    raise NotImplementedError
