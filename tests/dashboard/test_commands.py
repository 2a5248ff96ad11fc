"""`lab dashboard` and `lab attach`: what they say before a screen is opened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import main
from lab.dashboard import commands, reach


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.delenv("GATEWAY_ADMIN_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "need_terminal", lambda: None)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_without_a_terminal_it_names_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lab demo" in complaint(capsys, "dashboard")


@pytest.mark.usefixtures("terminal")
def test_a_port_in_use_is_one_line_instead_of_a_broken_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.Dashboard, "run_async", None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # service A's, and the first that is looked at
        assert f"port {port}" in complaint(capsys, "dashboard", "--port-base", str(port - 1))


@pytest.mark.usefixtures("terminal")
def test_a_broken_configuration_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("rate_limt: {limit: 1}")
    said = complaint(capsys, "dashboard", "--port-base", "0", "--config", str(tmp_path / "c.yaml"))
    assert "rate_limit" in said


def test_attach_without_a_stack_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no stack runs here" in complaint(capsys, "attach")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("more", [[], ["--web"]])
def test_attach_to_a_dead_port_says_what_was_tried_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr(commands, "knock", lambda url, token, say: reach.knock(url, token, patience=0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"127.0.0.1:{listener.getsockname()[1]}"
    said = complaint(capsys, "attach", url, "--token", "t", *more)
    assert f"nobody answers at http://{url}" in said
    assert "lab up" in said


@pytest.mark.usefixtures("terminal")
def test_attach_to_what_is_no_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'foo bar'" in complaint(capsys, "attach", "foo bar", "--token", "t")


def test_who_visits_by_browser_waits_and_looks_the_token_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Server:
        def __init__(self, command: str, **options: object) -> None:
            started.append(command)

        def serve(self) -> None: ...

    monkeypatch.setattr("textual_serve.server.Server", Server)
    assert commands.serve("http://127.0.0.1:9000", None, False, 0) == 0
    assert "attach http://127.0.0.1:9000 --patient" in started[0]
    assert "GATEWAY_ADMIN_TOKEN" not in os.environ


def test_a_browsers_viewer_draws_without_a_terminal() -> None:
    """As textual-serve starts it: pipes for a terminal, and a driver of its own."""
    size = {"COLUMNS": "100", "ROWS": "30"}
    driver = {"TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    viewer = subprocess.Popen(
        [sys.executable, "-m", "lab", "attach", url, "--patient"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | size | driver | {"GATEWAY_ADMIN_TOKEN": "t"},
    )
    try:
        assert viewer.stdout is not None
        painted = b""
        while b"Overview" not in painted and (more := os.read(viewer.stdout.fileno(), 65_536)):
            painted += more
    finally:
        viewer.kill()
        viewer.communicate()
    assert b"Overview" in painted


@pytest.mark.usefixtures("terminal")
def test_what_is_no_recording_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nothing.jsonl" in complaint(capsys, "attach", "--replay", str(tmp_path / "nothing.jsonl"))
