"""Exercise 12, WebSocket proxy: the worked solution."""

from __future__ import annotations

import asyncio
import contextlib
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
        """Its next message. Raises `Closed` when it has gone, after what it said before."""

    async def send(self, message: str | bytes) -> None:
        """Send it a message; returns when it has room for more. Raises `Closed` when it has gone."""

    async def close(self, code: int, reason: str = "") -> None:
        """Close it; do not count on its `receive` to raise anything afterwards."""


class Client(Peer, Protocol):
    """Whoever wants a WebSocket of the gateway. It is answered once: accepted, or refused."""

    subprotocols: list[str]

    async def accept(self, subprotocol: str | None) -> None:
        """Answer 101. Raises `Closed` when it has gone."""

    async def refuse(self, status: int) -> None:
        """Answer with an HTTP status: there is no WebSocket."""


class Service(Peer, Protocol):
    """A service that has accepted our handshake."""

    subprotocol: str | None


async def relay(client: Peer, service: Peer) -> None:
    up = asyncio.create_task(carry(client, service))
    down = asyncio.create_task(carry(service, client))
    try:
        ended, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if up in ended:
            await close_after(service, up.result(), vanished=1001)
        else:
            await close_after(client, down.result(), vanished=1011)
    except BaseException as error:
        code = 1001 if isinstance(error, asyncio.CancelledError) else 1011
        await client.close(code)
        await service.close(code)
        raise
    finally:
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def carry(source: Peer, target: Peer) -> Closed:
    """Hand messages on until `source` has gone; the value is how it went."""
    while True:
        try:
            message = await source.receive()
        except Closed as closed:
            return closed
        # A target that has gone may have said something before, which is still being carried the other way;
        # the task that does it hears of the end when it has come to it.
        with contextlib.suppress(Closed):
            await target.send(message)


async def close_after(peer: Peer, closed: Closed, *, vanished: int) -> None:
    """Close `peer` as the other side was closed; `vanished` is the code where that was without a word."""
    match closed.code:
        case 1005:
            await peer.close(1000)
        case 1006 | 1015:
            await peer.close(vanished, "the other side has vanished")
        case code:
            await peer.close(code, closed.reason)


async def proxy(client: Client, dial: Callable[[list[str]], Awaitable[Service]]) -> None:
    try:
        service = await dial(client.subprotocols)
    except Refused as refused:
        await client.refuse(refused.status)
        return
    except TimeoutError:  # before OSError, of which it is one
        await client.refuse(504)
        return
    except OSError:
        await client.refuse(502)
        return
    try:
        await client.accept(service.subprotocol)
    except Closed:
        await service.close(1001)
        return
    await relay(client, service)
