"""The target's listening sockets under uvicorn: how they are closed and opened again, and the side door.

    127.0.0.1:8001   the service              closed by 'refuse', dead air while 'stop'
    127.0.0.2:8001   the side door            only then, and only `/_faults`     (macOS: [::1]:8001)

Whoever closes the front door needs another way in to open it early. The side door is the same port on a
neighbouring loopback address, so that everybody knows where it is without asking: no file, no second number.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from lab.faults.model import ASGIApp, FaultError

if TYPE_CHECKING:
    import uvicorn

SIDE_HOST = "::1" if sys.platform == "darwin" else "127.0.0.2"
"""macOS answers at 127.0.0.1 and ::1 alone; Linux and Windows at all of 127.0.0.0/8."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BIND_WITHIN = 2.0
"""Seconds in which a closed socket's port must be free for us again."""


def side_door(url: str) -> str | None:
    """The side door of the service at `url`; None where that is on another machine."""
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK or parts.port is None:
        return None
    host = f"[{SIDE_HOST}]" if ":" in SIDE_HOST else SIDE_HOST
    return urlunsplit(("http", f"{host}:{parts.port}", "", "", ""))


class Listener:
    """The listening sockets of the uvicorn that runs with `config`."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._config = config
        self._server: Any = None
        self._held: list[socket.socket] = []
        self._side: asyncio.Server | None = None

    @property
    def server(self) -> Any:
        """uvicorn's server. It tells the application its configuration but not itself, so it is looked up."""
        import uvicorn

        if self._server is None:
            found = (o for o in gc.get_objects() if issubclass(type(o), uvicorn.Server))
            self._server = next((o for o in found if o.config is self._config), None)
        if self._server is None or not self._server.servers:
            raise FaultError("uvicorn's listening sockets are not to be found")
        return self._server

    def _addresses(self) -> list[tuple[Any, ...]]:
        """Where the service listens, or did until it was closed."""
        if self._held:
            return [sock.getsockname() for sock in self._held]
        sockets = [sock for server in self.server.servers for sock in server.sockets]
        if any(sock.family not in (socket.AF_INET, socket.AF_INET6) for sock in sockets):
            raise FaultError("this needs a service that listens on a TCP port")
        return [sock.getsockname() for sock in sockets]

    def side_door_socket(self) -> socket.socket:
        """A socket that listens at the side door."""
        family = socket.AF_INET6 if ":" in SIDE_HOST else socket.AF_INET
        door = socket.socket(family)
        try:
            if sys.platform != "win32":
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = self._addresses()[0][1]
            door.bind((SIDE_HOST, port))
            door.listen()
        except OSError as error:
            door.close()
            raise FaultError(
                f"the side door {SIDE_HOST} on the service's port cannot be opened ({error.strerror}); "
                "is the service started with --host 127.0.0.1?"
            ) from None
        return door

    async def close(self, control: ASGIApp) -> None:
        """Stop listening but keep the ports; answer with `control` at the side door. Raises `FaultError`."""
        if self._config.should_reload or self._config.workers > 1:
            raise FaultError("connections cannot be refused under --reload or --workers: others listen too")
        addresses = self._addresses()
        servers = self.server.servers
        for server in servers:
            server.close()
        servers.clear()
        self._held = [await _bind(address) for address in addresses]
        try:
            await self._open_side_door(control)
        except BaseException:
            await self.open()
            raise
        for connection in list(self.server_state.connections):
            if hasattr(connection, "cycle"):  # HTTP, not a WebSocket; closes what is idle
                connection.shutdown()

    @property
    def server_state(self) -> Any:
        return self._server.server_state

    async def open(self) -> None:
        """Listen again on the same ports."""
        loop, config = asyncio.get_running_loop(), self._config

        def protocol() -> Any:
            factory: Any = config.http_protocol_class
            state = self._server.lifespan.state
            return factory(config=config, server_state=self.server_state, app_state=state)

        held, self._held = self._held, []
        for sock in held:
            server = await loop.create_server(protocol, sock=sock, backlog=config.backlog, ssl=config.ssl)
            self._server.servers.append(server)
        side, self._side = self._side, None
        if side is not None:
            side.close()

    async def _open_side_door(self, control: ASGIApp) -> None:
        import uvicorn
        from uvicorn.server import ServerState

        config = uvicorn.Config(
            control, log_config=None, lifespan="off", ws="none", access_log=False, proxy_headers=False
        )
        config.load()
        state = ServerState()

        def protocol() -> Any:
            factory: Any = config.http_protocol_class
            return factory(config=config, server_state=state, app_state={})

        self._side = await asyncio.get_running_loop().create_server(protocol, sock=self.side_door_socket())


async def _bind(address: tuple[Any, ...]) -> socket.socket:
    """A socket bound to `address`, which keeps the port ours but refuses connections: it does not listen."""
    sock = socket.socket(socket.AF_INET6 if len(address) == 4 else socket.AF_INET)
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        async with asyncio.timeout(BIND_WITHIN):
            while True:
                try:
                    sock.bind(address)
                    break
                except OSError:
                    await asyncio.sleep(0.005)  # the loop closes the listening socket in a later round
        undo.pop_all()
    return sock
