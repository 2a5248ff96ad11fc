from __future__ import annotations

import asyncio

import pytest

from lab import notes
from lab.notes import Notes


async def test_a_note_as_the_gateway_takes_it() -> None:
    got = asyncio.get_running_loop().create_future()

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        got.set_result((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(gateway, "127.0.0.1", 0)
    it = Notes(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "the-token", "load")
    assert await it.post("started", "steady", until=12.5)
    await it.aclose()
    server.close()
    head, body = await got
    assert head.startswith(b"POST /admin/notes HTTP/1.1\r\n")
    assert b"authorization: bearer the-token\r\n" in head.lower()
    assert body == b'{"action":"started","text":"steady","source":"load","service":"","until":12.5}'


async def test_a_gateway_that_is_away_or_silent_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "TIMEOUT", 0.05)
    forever = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forever.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    it = Notes(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "t", "load")
    assert not await it.post("started")
    forever.set()
    server.close()
    await it.aclose()
    it = Notes("http://127.0.0.1:1", "t", "load")
    assert not await it.post("started")
    await it.aclose()
