"""Exercise 12 with real sockets: its solution between a client and service B."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import service_b
from lab.errors import UserError
from lab.exercises import sockets
from lab.exercises.catalog import find
from lab.exercises.serving import Server

SOLUTION = find("12").solution.read_text(encoding="utf-8")
PATIENCE = 60.0


class Told(list[str]):
    """The lines that were printed."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._more:
            self.append(line)
            self._more.notify_all()

    def wait_for(self, part: str) -> str:
        with self._more:
            assert self._more.wait_for(lambda: any(part in line for line in self), PATIENCE), (part, self)
            return next(line for line in self if part in line)


class Place:
    """A student's file, served."""

    def __init__(self, file: Path, told: Told, port: int) -> None:
        self.file = file
        self.told = told
        self.port = port

    def connect(self, path: str, **options: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, **options)

    def refused(self, path: str = "/ws") -> int:
        with pytest.raises(InvalidStatus) as caught:
            self.connect(path)
        return caught.value.response.status_code


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = Server(service_b.app)
    server.start()
    yield f"ws://127.0.0.1:{server.port}"
    server.stop()


Serve = Callable[[str], Place]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers = []

    def serve(service: str) -> Place:
        file = tmp_path / "exercise.py"
        file.write_text(SOLUTION, encoding="utf-8")
        told = Told()
        server = Server(sockets.Sockets(file, service, told))
        server.start()
        servers.append(server)
        return Place(file, told, server.port)

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def place(serve: Serve, service: str) -> Place:
    return serve(service)


def test_messages_go_to_the_service_and_come_back(place: Place) -> None:
    with place.connect("/ws", subprotocols=["soap", "echo.v1"]) as client:
        assert client.subprotocol == "echo.v1"
        for message in ("größer", b"\x00\xff", "", b""):
            client.send(message)
            assert client.recv(PATIENCE) == message
    assert place.told.wait_for("over") == "1 /ws  over"


def test_path_query_code_and_reason_cross(place: Place) -> None:
    with place.connect("/ws/close/4001?reason=enough") as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "enough")


def test_what_the_service_refuses_is_refused(place: Place) -> None:
    assert place.refused("/ws/refuse/418") == 418


def test_a_client_that_closes_is_told_to_the_service(place: Place) -> None:
    with place.connect("/ws/ticker?every=0.01&count=100000") as client:
        assert client.recv(PATIENCE) == "tick 1"
        client.close(4002, "seen enough")
    place.told.wait_for("over")


def test_where_nobody_listens_it_is_502(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        assert serve(f"ws://127.0.0.1:{taken.getsockname()[1]}").refused() == 502


def test_what_was_saved_serves_the_next_client(place: Place) -> None:
    with place.connect("/ws") as client:
        place.file.write_text(SOLUTION.replace("refused.status", "499"), encoding="utf-8")
        assert place.refused("/ws/refuse/418") == 499
        client.send("still the old one")
        assert client.recv(PATIENCE) == "still the old one"


def test_what_goes_wrong_is_told_in_one_line_each(place: Place) -> None:
    at = SOLUTION.index("async def proxy")
    place.file.write_text(SOLUTION[:at] + "async def proxy(client, dial):\n    1 / 0\n", encoding="utf-8")
    assert place.refused() == 500
    line = SOLUTION[:at].count("\n") + 2
    raised = f"1 /ws  proxy raised ZeroDivisionError: division by zero (line {line}: 1 / 0)"
    assert place.told.wait_for("raised") == raised
    assert "not answered" in place.told.wait_for("not answered")
    place.file.write_text("def proxy(:", encoding="utf-8")
    assert place.refused() == 500
    assert "SyntaxError" in place.told.wait_for("cannot be loaded")


def test_another_file_and_a_taken_port_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "exercise.py"
    file.write_text("class Closed(Exception): pass\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no Refused; a file of exercise 12 was expected"):
        sockets.load(file)
    result = CliRunner().invoke(sockets.main, [str(file)])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    file.write_text(SOLUTION, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(sockets.main, [str(file), "--port", str(port)])
    assert result.exit_code == 2
    assert result.output.startswith(f"lab: port {port}: ")
