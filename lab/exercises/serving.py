"""Serves a submission's ASGI application on a free port of 127.0.0.1, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import uvicorn

START = 10.0
"""Seconds until the application must be listening (its lifespan's start-up included)."""


DRAIN = 1.0
"""Seconds that answers under way get when it stops."""


class _Server(uvicorn.Server):
    """uvicorn's own looks ten times a second whether it is to end, and whether it has; this one is told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)  # makes the Date field
        if not self.should_exit:
            await self._end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if under_way := set(self.server_state.tasks):
            _, late = await asyncio.wait(under_way, timeout=DRAIN)
            for task in late:
                task.cancel()
        await self.lifespan.shutdown()

    def end(self) -> None:
        """May be called from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._end.set)


class Server:
    """`start` returns once it listens, `stop` once it is gone."""

    host = "127.0.0.1"

    def __init__(self, app: Any) -> None:
        # asyncio switches Nagle's algorithm off only where the protocol is named: 40 ms for each answer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind((self.host, 0))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            loop="asyncio",
        )
        self._server = _Server(config)
        self._listening = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="submission", daemon=True)

    def start(self) -> None:
        """Raises what kept the application from starting."""
        startup = self._server.startup

        async def announced(sockets: Any = None) -> None:
            await startup(sockets)
            self._listening.set()

        self._server.startup = announced  # type: ignore[method-assign]
        self._thread.start()
        if not self._listening.wait(START):
            raise TimeoutError(f"the application was not ready after {START:g} seconds")
        if self._error is not None:
            raise self._error
        if not self._server.started:
            raise RuntimeError("the application's start-up failed")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:
            self._error = error
        finally:
            self._listening.set()

    def stop(self) -> None:
        self._server.end()
        self._thread.join(3)
        self._socket.close()
