"""Real services on free ports, and a client that sees bytes, ends and resets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from lab.launcher import ports
from tests.conftest import wait_until_listening

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds after which something that should have happened counts as not happening."""


@contextlib.contextmanager
def running(app: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`app` under plain uvicorn: its address and its process."""
    port = ports.free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    child = subprocess.Popen(command, cwd=ROOT, text=True)
    try:
        wait_until_listening(child, port)
        yield f"http://127.0.0.1:{port}", child
    finally:
        if hasattr(signal, "SIGCONT"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.wait()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go on until something is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is nothing that would set an event
            await asyncio.sleep(0)


class Raw:
    """A client that sees bytes, ends and resets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def ask(self, path: str, *fields: str, method: str = "GET") -> None:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *fields])
        self.writer.write(head.encode() + b"\r\n\r\n")

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of one answer that ends by its length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.partition(": ") for line in head[1:] if line)
            fields = {name.lower(): value for name, _, value in pairs}
            return (
                int(head[0].split()[1]),
                fields,
                await self.reader.readexactly(int(fields["content-length"])),
            )

    async def rest(self) -> bytes:
        """All bytes until the end; raises ConnectionResetError for a RST."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


async def get(url: str, path: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
    async with Raw.to(url) as client:
        client.ask(path, *fields)
        return await client.answer()
