"""`lab dashboard` and `lab attach`: what they say before a screen is opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lab.cli import main
from lab.dashboard import commands
from lab.errors import UserError
from lab.launcher import runfile


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


def test_attach_finds_the_stack_of_this_machine() -> None:
    runfile.write("http://127.0.0.1:9000", {}, {}, "t0ken")
    assert commands.where(None, None) == ("http://127.0.0.1:9000", "t0ken")
    assert commands.where("localhost:9000", None) == ("http://localhost:9000", "t0ken")
    assert commands.where("127.0.0.1:9000/", "mine") == ("http://127.0.0.1:9000", "mine")
    with pytest.raises(UserError, match="--token"):
        commands.where("http://127.0.0.1:9001", None)


@pytest.mark.usefixtures("terminal")
def test_what_is_no_recording_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nothing.jsonl" in complaint(capsys, "attach", "--replay", str(tmp_path / "nothing.jsonl"))
