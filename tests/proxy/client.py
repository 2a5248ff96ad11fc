"""What the wire tests share: a real uvicorn in this loop on a free port, and a client that speaks bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from lab.proxy import server
from lab.settings import LimitsSettings

PATIENCE = 60.0
"""Seconds after which something that should have happened counts as not happening."""


CERTIFICATE = Path(__file__).with_name("localhost.pem")  # self-signed, for localhost, from 2000 to 2126


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to pytest


def lifespan(app: Any, limits: LimitsSettings | None = None) -> Any:
    """`app`, put behind the gateway's protocol at start as `gateway:app` does it."""

    async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            raise AssertionError("uvicorn still calls the application that it loaded")
        await receive()
        server.install(receive, app, limits or LimitsSettings())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return with_lifespan


class Running:
    def __init__(self, uvicorn_server: Server, port: int, task: asyncio.Task[None]) -> None:
        self.server = uvicorn_server
        self.port = port
        self.task = task
        self.clients: list[Client] = []

    @property
    def state(self) -> Any:
        return self.server.server_state

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def ask(self, raw: bytes) -> Answer:
        """The answer to `raw` on a connection of its own."""
        client = await self.client()
        await client.send(raw)
        return await client.answer()


@contextlib.asynccontextmanager
async def serving(app: Any, limits: LimitsSettings | None = None, **config: Any) -> AsyncIterator[Running]:
    """`app` under uvicorn's defaults (and `config`) with the gateway's protocol installed."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    uvicorn_server = Server(uvicorn.Config(lifespan(app, limits), log_config=None, **config))
    task = asyncio.create_task(uvicorn_server.serve(sockets=[sock]))
    await until(lambda: uvicorn_server.started or task.done())
    if task.done():
        task.result()
    running = Running(uvicorn_server, sock.getsockname()[1], task)
    try:
        yield running
    finally:
        for client in running.clients:
            client.abort()
        uvicorn_server.should_exit = True
        uvicorn_server.config.timeout_graceful_shutdown = 0
        await asyncio.wait_for(task, PATIENCE)


async def until(condition: Any) -> None:
    """Wait for `condition()`, in turns of the loop, for `PATIENCE` seconds at most."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Answer:
    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __getitem__(self, name: bytes) -> bytes:
        [value] = self.all(name)
        return value

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A connection on which bytes are bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def head(self) -> Answer:
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        first, *lines = raw[:-4].split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines]
        return Answer(int(first.split(b" ")[1]), [(name, value) for name, value in fields], b"")

    async def answer(self, *, head_only: bool = False) -> Answer:
        """One response, framed by its Content-Length, its chunks or the connection's end."""
        answer = await self.head()
        if head_only or answer.status in (204, 304) or answer.status < 200:
            return answer
        if answer.all(b"transfer-encoding"):
            while size := int(await asyncio.wait_for(self.reader.readline(), PATIENCE), 16):
                answer.body += (await self.exactly(size + 2))[:-2]
            await self.exactly(2)
        elif answer.all(b"content-length"):
            answer.body = await self.exactly(int(answer[b"content-length"]))
        else:
            answer.body = await self.rest()
        return answer

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)

    async def closed(self) -> bool:
        """True once the server has closed without another byte."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()
