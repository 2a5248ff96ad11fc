"""Which gateway is watched, and what is said where there is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.dashboard.reach import knock, where
from lab.errors import UserError
from lab.launcher import runfile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))


def test_the_stack_of_this_machine_is_found() -> None:
    runfile.write("http://127.0.0.1:9000", {}, {}, "t0ken")
    assert where(None, None) == ("http://127.0.0.1:9000", "t0ken")
    assert where("localhost:9000", None) == ("http://localhost:9000", "t0ken")
    assert where("127.0.0.1:9000/", "mine") == ("http://127.0.0.1:9000", "mine")
    with pytest.raises(UserError, match="--token"):
        where("http://127.0.0.1:9001", None)


class Asked(BaseHTTPRequestHandler):
    """200 for the right token, 401 for others, 404 for other paths."""

    def do_GET(self) -> None:
        right = self.headers["Authorization"] == "Bearer t0ken"
        self.send_response(404 if self.path != "/admin/snapshot" else 200 if right else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Time:
    """Passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1


def test_a_gateway_that_lets_the_token_in_is_there(gateway: str) -> None:
    knock(gateway, "t0ken")


@pytest.mark.parametrize(
    ("path", "token", "said"),
    [("", "wrong", "token is wrong"), ("/elsewhere", "t0ken", "no gateway of the lab: 404")],
)
def test_a_refusal_is_told_at_once(gateway: str, path: str, token: str, said: str) -> None:
    time = Time()
    with pytest.raises(UserError, match=said):
        knock(gateway + path, token, clock=lambda: time.now, sleep=time.sleep)
    assert time.slept == 0


def test_a_gateway_without_a_token_says_how_to_start_it(
    gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.dashboard.reach._ask", lambda *asked: 403)
    with pytest.raises(UserError, match="GATEWAY_ADMIN_TOKEN"):
        knock(gateway, "t0ken")


def test_a_dead_port_is_tried_for_some_seconds_and_then_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    time = Time()
    with pytest.raises(UserError, match=r"nobody answers at .*tried for 3 s: connection refused.*lab up"):
        knock(url, "t0ken", clock=lambda: time.now, sleep=time.sleep)
    assert time.slept > 10
    assert time.now <= 3.0


def test_the_stack_of_this_machine_may_still_be_starting_and_is_waited_for_aloud() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    runfile.write(url, {}, {}, "t0ken")
    time, said = Time(), list[str]()
    with pytest.raises(UserError, match="tried for 20 s"):
        knock(url, "t0ken", say=said.append, clock=lambda: time.now, sleep=time.sleep)
    assert said == [f"waiting for the gateway at {url} …"]


def test_a_gateway_that_comes_up_meanwhile_is_found(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    time, answers = Time(), iter([ConnectionRefusedError(111, "Connection refused"), 200])

    def ask(*asked: object) -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("lab.dashboard.reach._ask", ask)
    knock(gateway, "t0ken", clock=lambda: time.now, sleep=time.sleep)
    assert time.slept == 1


def test_what_does_not_speak_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(UserError, match="does not speak HTTP"):
            knock(f"http://127.0.0.1:{listener.getsockname()[1]}", "t0ken")
        thread.join()
