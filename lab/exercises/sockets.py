"""Real sockets around exercise 12: `python -m lab.exercises.sockets [FILE]`.

Listens on a port of its own and answers each WebSocket with the file's `proxy`, before service B. The file is
loaded anew for each of them, so what was saved serves the next client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from lab.errors import UserError
from lab.exercises.agent import Agent
from lab.exercises.catalog import find
from lab.exercises.kit import Raised
from lab.launcher import runfile

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN_TIMEOUT = 5.0
"""Seconds that the service's handshake may take."""
NEEDED = ("Closed", "Refused", "proxy")
"""What the file must have."""


class Client:
    """The client's hop: ASGI, as exercise 12 wants it. `closed_error` is the file's own `Closed`."""

    def __init__(self, scope: Message, receive: Receive, send: Send, closed_error: type[Exception]) -> None:
        self.subprotocols: list[str] = list(scope["subprotocols"])
        self.answered = False
        self._receive = receive
        self._send = send
        self._closed_error = closed_error
        self._closed: tuple[int, str] | None = None

    async def accept(self, subprotocol: str | None) -> None:
        self.answered = True
        await self._tell({"type": "websocket.accept", "subprotocol": subprotocol})

    async def refuse(self, status: int) -> None:
        self.answered = True
        self._closed = 1006, ""
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await self._send({"type": "websocket.http.response.body", "body": b""})

    async def receive(self) -> str | bytes:
        if self._closed is None:
            message = await self._receive()
            if message["type"] != "websocket.disconnect":
                text: str | None = message.get("text")
                data: bytes = message.get("bytes") or b""
                return data if text is None else text
            self._closed = self._closed or (message.get("code") or 1006, message.get("reason") or "")
        raise self._closed_error(*self._closed)

    async def send(self, message: str | bytes) -> None:
        await self._tell(
            {"type": "websocket.send", ("text" if isinstance(message, str) else "bytes"): message}
        )

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed is None:
            self._closed = code, reason
            try:
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
            except OSError:
                pass  # it has gone without waiting for it

    async def _tell(self, message: Message) -> None:
        if self._closed is not None:
            raise self._closed_error(*self._closed)
        try:
            await self._send(message)
        except OSError:
            # Why it has gone is said by `receive`, after what it said before.
            raise self._closed_error(1006, "") from None


class Service:
    """The service's hop."""

    def __init__(self, connection: ClientConnection, closed_error: type[Exception]) -> None:
        self.subprotocol: str | None = connection.subprotocol
        self._connection = connection
        self._closed_error = closed_error

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise self._error(error) from None

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise self._error(error) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._connection.close(code, reason)

    def _error(self, error: ConnectionClosed) -> Exception:
        close = error.rcvd
        return self._closed_error(close.code, close.reason) if close else self._closed_error(1006, "")


class Sockets:
    """The ASGI application. `service` is such as ws://127.0.0.1:8002; `tell` prints one line."""

    def __init__(self, file: Path, service: str, tell: Callable[[str], None]) -> None:
        self._file = file
        self._service = service
        self._tell = tell
        self._count = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await send(
                {"type": "http.response.start", "status": 426, "headers": [(b"upgrade", b"websocket")]}
            )
            await send({"type": "http.response.body", "body": b"only WebSockets here\n"})
            return
        await receive()  # websocket.connect
        self._count += 1
        name = f"{self._count} {scope['path']}"
        try:
            module = load(self._file)
        except UserError as error:
            self._tell(f"{name}  {error}")
            await Client(scope, receive, send, Exception).refuse(500)
            return
        client = Client(scope, receive, send, module.Closed)

        async def dial(subprotocols: list[str]) -> Service:
            target = scope["raw_path"].decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            return await open_service(self._service + target, subprotocols, module)

        self._tell(f"{name}  begins")
        try:
            await module.proxy(client, dial)
        except asyncio.CancelledError:
            self._tell(f"{name}  cancelled")
            raise
        except Exception as error:
            self._tell(f"{name}  proxy raised {sentence(self._file, error)}")
        else:
            self._tell(f"{name}  over")
        if not client.answered:
            self._tell(f"{name}  the client was not answered: neither accepted nor refused")
            await client.refuse(500)


async def open_service(url: str, subprotocols: list[str], module: ModuleType) -> Service:
    """What the file's `proxy` gets as `dial`: raises the file's `Refused`, TimeoutError or OSError."""
    try:
        connection = await connect(
            url,
            subprotocols=list(subprotocols) or None,  # type: ignore[arg-type]
            open_timeout=OPEN_TIMEOUT,
            compression=None,
            proxy=None,
        )
    except InvalidStatus as error:
        raise module.Refused(error.response.status_code) from None
    except InvalidHandshake as error:
        raise ConnectionError(str(error)) from None
    return Service(connection, module.Closed)


def load(file: Path) -> ModuleType:
    """The file as a module. Raises `UserError` where it cannot be loaded, or lacks what is needed."""
    agent = Agent(file)
    answer = agent.load()
    if agent.module is None:
        raise UserError(f"{file}: cannot be loaded: {Raised(answer['raised']).sentence()}")
    module = agent.module
    if missing := [name for name in NEEDED if not hasattr(module, name)]:
        raise UserError(f"{file}: has no {missing[0]}; a file of exercise 12 was expected")
    return module


def sentence(file: Path, error: Exception) -> str:
    """An exception of the file's code in one line, with the line that raised it."""
    return Raised(Agent(file)._raised(error)["raised"]).sentence()


def service_url() -> str:
    """Where service B of the running lab is; without one, where it would be."""
    run = runfile.read()
    url = run.urls.get("service-b") if run is not None else None
    return (url or "http://127.0.0.1:8002").replace("http", "ws", 1)


@click.command(help="Serve FILE's proxy (exercise 12; by default your own) with real sockets.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", default=8003, show_default=True, metavar="N", help="Where to listen.")
@click.option("--service", metavar="URL", help="What to dial; by default service B of the running lab.")
def main(file: Path | None, port: int, service: str | None) -> None:
    file = file or find("12").file
    service = (service or service_url()).rstrip("/")
    try:
        load(file)
        listener = listen(port)
    except UserError as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(2)
    with listener:
        click.echo(
            f"ws://127.0.0.1:{listener.getsockname()[1]}/…  →  {service}/…  through {file}; Ctrl-C ends it"
        )
        app = Sockets(file, service, click.echo)
        config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_level="critical")
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Raises `UserError` where the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # elsewhere it would share the port with whoever has it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"port {port}: {reason}; choose another one with --port") from None
    return listener


if __name__ == "__main__":
    main()
