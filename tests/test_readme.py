"""The README, taken at its word.

A `console` block is a session: each line after `$ ` is run as it stands there, in one shell environment a
block, and the lines below it must come out. `…` in them stands for anything. `uvicorn` runs in the
background; a second one on the same port takes the first one's place. Ports 8000 to 8002 are swapped for free
ones. A block of another kind (`sh`) is not run: it needs a terminal, minutes, or a machine of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import cli
from lab.bootstrap import ROOT
from lab.settings import load

README = (ROOT / "README.md").read_text(encoding="utf-8")
FreePort = Callable[[], int]
StartServer = Callable[..., subprocess.Popen[str]]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


def session(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a `console` block, each with the output that is shown for it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        while not complete(command):
            more, _, shown = shown.partition("\n")
            command += "\n" + more
        yield command, shown


def complete(command: str) -> bool:
    """False while a quote is open."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def as_pattern(shown: str) -> str:
    return r"\s*".join(
        ".*".join(map(re.escape, line.split("…"))) for line in shown.splitlines() if line.strip()
    )


class Reader:
    """Does what the README says, on ports of its own."""

    def __init__(self, free_port: Callable[[], int], start_server: StartServer) -> None:
        self.ports = {str(port): str(free_port()) for port in (8000, 8001, 8002)}
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.start_server = start_server
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "no_proxy": "localhost,127.0.0.1",  # curl would ask a proxy, where who runs this is behind one
            "GATEWAY__SERVICES__SERVICE_A__URL": f"http://127.0.0.1:{self.ports['8001']}",
            "GATEWAY__SERVICES__SERVICE_B__URL": f"http://127.0.0.1:{self.ports['8002']}",
        }

    def type(self, command: str) -> str:
        """Run one command and return what it prints."""
        command = re.sub(r"\b800[012]\b", lambda match: self.ports[match[0]], command)
        if command.startswith("uvicorn "):
            arguments = shlex.split(command)
            port = arguments[-1]
            if running := self.servers.get(port):
                running.terminate()
                running.wait(20)
            self.servers[port] = self.start_server("-m", *arguments, port=int(port), env=self.env)
            return ""
        if command.startswith("lab "):
            command = f"{shlex.quote(sys.executable)} -m {command}"
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ran.stdout + ran.stderr


@pytest.mark.skipif(
    not shutil.which("bash") or not shutil.which("curl"), reason="the README uses bash and curl"
)
def test_every_session_goes_as_it_is_shown(free_port: FreePort, start_server: StartServer) -> None:
    """In one go, from top to bottom, as a reader would: later blocks rely on what earlier ones started."""
    reader = Reader(free_port, start_server)
    typed = 0
    for block in blocks("console"):
        for command, shown in session(block):
            output = reader.type(command)
            assert re.search(as_pattern(shown), output), f"$ {command}\n{output}"
            typed += 1
    assert typed >= 10


def test_every_command_that_is_named_exists_or_is_planned() -> None:
    named = set(re.findall(r"(?:`|^\$ |^)lab ([a-z]+)\b", README, re.MULTILINE))
    assert named <= set(cli.COMMANDS)
    assert set(cli.COMMANDS) - {"dashboard", "fault", "test"} <= named


def test_every_link_within_the_repository_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert {link for link in links if not (ROOT / link).exists()} <= {"docs/dashboard.svg"}
    assert "docs/dashboard.svg" in links


def test_the_configuration_that_is_shown_loads(tmp_path: Path) -> None:
    (example,) = blocks("yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(example, encoding="utf-8")
    settings = load({"GATEWAY_CONFIG": str(path)})
    assert settings.services["service-a"].health == "/health"
    assert settings.services["orders"].url == "http://127.0.0.1:9000"


def test_the_access_log_line_that_is_shown_has_the_fields_of_a_real_one(
    free_port: FreePort, tmp_path: Path
) -> None:
    (example,) = blocks("json")
    script = """
import asyncio, httpx, gateway
async def main():
    async with gateway.app.router.lifespan_context(gateway.app):
        transport = httpx.ASGITransport(gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/service-a/items/1")
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "GATEWAY__SERVICES__SERVICE_A__URL": f"http://127.0.0.1:{free_port()}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("{")]
    shown, real = json.loads(example), json.loads(line)
    assert list(shown) == list(real)
    assert isinstance(shown["ts"], type(real["ts"]))
    assert len(shown["request_id"]) == len(real["request_id"])
    for value in ("event", "client", "method", "path", "service", "limited"):
        assert shown[value] == real[value]
