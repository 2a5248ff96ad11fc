"""What tests all over the suite share: a free port, and child processes that never outlive their test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from lab.launcher import ports

# The same examples in every run, so that a verdict never depends on luck; to look for new ones:
# pytest --hypothesis-profile=explore
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

# What is set for whoever runs the tests is not meant for what the tests start.
MEANT_FOR_US = ("PYTEST_ADDOPTS", "WEB_CONCURRENCY", "COLUMNS", "LINES")
for name in list(os.environ):
    if name.startswith(("GATEWAY_", "LAB_", "UVICORN_")) or name in MEANT_FOR_US:
        del os.environ[name]

# Nor is their deafness: a job in the background ignores Ctrl-C, one under nohup the end of its terminal, and
# so would its children. A handler is not inherited; one that does nothing leaves the tests as deaf as before.
for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
    if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port of 127.0.0.1 on which nobody listens."""
    return ports.free_port


@pytest.fixture
def start_server() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that runs `python …` until the test ends, and returns once it listens on `port`."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: str, port: int, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        children.append(child)
        wait_until_listening(child, port)
        return child

    yield start
    for child in children:
        child.send_signal(signal.SIGTERM)
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_listening(child: subprocess.Popen[str], port: int, seconds: float = 60.0) -> None:
    """Return as soon as `port` accepts connections; fail where the child ends first or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            try:  # its end is the other thing to wait for
                child.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"{child.args} ended with status {child.returncode} before it listened on {port}")
        else:
            return
    pytest.fail(f"{child.args} does not listen on {port} after {seconds} s")
