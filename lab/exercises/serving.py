"""Serves a submission's ASGI application on a free port of 127.0.0.1, in a thread."""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn

START = 10.0
"""Seconds until the application must be listening (its lifespan's start-up included)."""


class Server:
    """`start` returns once it listens, `stop` once it is gone."""

    host = "127.0.0.1"

    def __init__(self, app: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind((self.host, 0))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            proxy_headers=False,
            loop="asyncio",
        )
        self._server = uvicorn.Server(config)
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
        self._server.should_exit = True
        self._thread.join(3)
        self._socket.close()
