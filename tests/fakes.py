"""Stand-ins that tests share: a server that follows a script byte by byte, and loops to run a test on.

Nothing in here sleeps; whoever waits, waits for a condition, and not for ever.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

try:
    import uvloop

    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
except ImportError:  # Windows
    LOOPS = {"asyncio": asyncio.new_event_loop}

PATIENCE = 60.0
"""Seconds after which a wait fails; only a failing test ever waits so long."""


def on_every_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test once on asyncio's own event loop and once on uvloop, where there is one.

    The test fails, too, where a callback or a forgotten task fails unseen.
    """

    @pytest.mark.parametrize("loop_factory", list(LOOPS.values()), ids=list(LOOPS))
    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        unseen: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
            async with asyncio.timeout(2 * PATIENCE):
                await test(**arguments)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(watched())
        gc.collect(1)  # a forgotten task complains when it is collected; the oldest generation is too dear
        assert unseen == []

    signature = inspect.signature(test)
    first = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), first]
    )
    return run


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition()` is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (the condition is anything; there is no event to wait for)
            await asyncio.sleep(0)


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self.number = number
        """0 for the server's first connection, then 1, …"""
        self.gone = False
        """True once `left` has seen the client close."""

    async def head(self) -> bytes:
        """A request's head, the empty line included. Raises `asyncio.IncompleteReadError` at the end."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def exactly(self, n: int) -> bytes:
        return await self._reader.readexactly(n)

    async def some(self) -> bytes:
        """Whatever comes next; empty at the end."""
        return await self._reader.read(65_536)

    async def until(self, mark: bytes) -> bytes:
        return await self._reader.readuntil(mark)

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def left(self) -> bytes:
        """Wait until the client closes or resets; gives what it still sent."""
        rest = b""
        try:
            while data := await self._reader.read(65_536):
                rest += data
        except ConnectionError:
            pass
        self.gone = True
        return rest

    def end(self) -> None:
        """Close the sending half (FIN) and go on reading."""
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close with a reset (RST)."""
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """A TCP server on a free port of 127.0.0.1 that runs `script` once for each connection.

    async def script(peer):
        assert (await peer.head()).startswith(b"GET ")
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with ScriptedServer(script) as server: ...

    When the script returns, the connection is closed. A script that the client leaves in the middle of a read
    or write just ends; any other error it raises comes out at the end of the `async with`.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._script = script
        self._tls = tls
        self._host = host
        self._running: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self.peers: list[Peer] = []
        """Every connection so far."""

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls, limit=2**20)
        self.port: int = self._server.sockets[0].getsockname()[1]
        name = "localhost" if self._tls else self._host
        self.url = f"{'https' if self._tls else 'http'}://{name}:{self.port}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()
        if self._errors and exception[0] is None:
            raise self._errors[0]

    async def stop(self) -> None:
        """Close the port and every connection."""
        self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        task = asyncio.get_running_loop().create_task(self._follow(peer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _follow(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            peer._writer.close()


def always(response: bytes) -> Script:
    """A script that answers every request head with the same bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(response)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
"""The smallest answer with a body."""
