"""A served application: how it ends, with what is still going on in it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lab.exercises import serving
from lab.exercises.serving import Server

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers after `go`, and notes how each request and its lifespan ended."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.ends: list[str] = []
        self._may_answer = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def go(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._may_answer.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            self.ends.append("lifespan")
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked.set()
        try:
            await self._may_answer.wait()
            self.ends.append("answered")
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    server = Server(app)
    server.start()
    yield server
    server.stop()


def asks(server: Server) -> socket.socket:
    client = socket.create_connection((server.host, server.port), timeout=20)
    client.sendall(GET)
    return client


def rest(client: socket.socket) -> bytes:
    """What still comes, to the end of the connection."""
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def test_an_idle_connection_is_closed(app: App, server: Server) -> None:
    app.go()
    with asks(server) as client:
        received = b""
        while not received.endswith(b"ok"):
            received += client.recv(65536)
        server.stop()
        assert rest(client) == b""
    assert app.ends == ["answered", "lifespan"]
    with pytest.raises(ConnectionRefusedError):
        asks(server)


def test_an_answer_under_way_is_finished(app: App, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown = serving._Server.shutdown

    async def answered_meanwhile(self: Any, sockets: Any = None) -> None:
        asyncio.get_running_loop().call_soon(app.go)  # when the shutdown waits for the first time
        await shutdown(self, sockets)

    monkeypatch.setattr(serving._Server, "shutdown", answered_meanwhile)
    with asks(server) as client:
        assert app.asked.wait(20)
        server.stop()
        assert rest(client).endswith(b"ok")
    assert app.ends == ["answered", "lifespan"]


def test_what_never_ends_is_cancelled(app: App, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "DRAIN", 0.01)
    with asks(server) as client:
        assert app.asked.wait(20)
        server.stop()
        assert not rest(client).endswith(b"ok")
    assert app.ends[0] == "cancelled"
    assert "lifespan" in app.ends
