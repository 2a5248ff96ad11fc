"""The service behind all peers: a bare asyncio server that does next to nothing for a request.

`python service.py PORT`: GET /plain (uncacheable), /cached (for an hour), /big (1 MiB), /huge (200 MiB);
POST /sink takes a body and says how long it was; a WebSocket anywhere echoes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import sys
from pathlib import Path
from typing import Any, cast

import httptools

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loadtests.bench.frames import CLOSE, PING, PONG, Frames, frame

BODY = b'{"id": 1, "name": "an answer of a usual size", "tags": ["' + b"x" * 195 + b'"]}\n'
"""256 bytes: what /plain and /cached answer, here and in nginx."""
BIG = 1024 * 1024
HUGE = 200 * BIG
UNCACHEABLE = b"no-store"
CACHEABLE = b"public, max-age=3600"


def head(length: int, cache: bytes = UNCACHEABLE) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"cache-control: %b\r\ncontent-length: %d\r\n\r\n" % (cache, length)
    )


PLAIN = head(len(BODY)) + BODY
CACHED = head(len(BODY), CACHEABLE) + BODY
BLOCK = bytes(65_536)


def accept_key(key: bytes) -> bytes:
    """RFC 6455 §4.2.2."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.parser: Any = httptools.HttpRequestParser(self)
        self.frames: Frames | None = None
        self.key = b""
        self.url = b""
        self.size = 0
        self.writable = asyncio.Event()
        self.writable.set()
        self.writer: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass

    def connection_lost(self, error: Exception | None) -> None:
        if self.writer is not None:
            self.writer.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self.frames is not None:
            self.echo(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.frames = Frames()
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                b"sec-websocket-accept: %b\r\n\r\n" % accept_key(self.key)
            )
            self.echo(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.transport.close()

    def echo(self, data: bytes) -> None:
        assert self.frames is not None
        for opcode, payload in self.frames.feed(data):
            if opcode == CLOSE:
                self.transport.write(frame(CLOSE, payload))
                self.transport.close()
            elif opcode == PING:
                self.transport.write(frame(PONG, payload))
            elif opcode != PONG:
                self.transport.write(frame(opcode, payload))

    def on_message_begin(self) -> None:
        self.url = b""
        self.size = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"sec-websocket-key":
            self.key = value
        elif name.lower() == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.size += len(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self.url == b"/plain":
            self.transport.write(PLAIN)
        elif self.url == b"/cached":
            self.transport.write(CACHED)
        elif self.url == b"/sink":
            text = b'{"bytes": %d}' % self.size
            self.transport.write(head(len(text)) + text)
        elif self.url in (b"/big", b"/huge"):
            self.writer = asyncio.ensure_future(self.stream(BIG if self.url == b"/big" else HUGE))
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    async def stream(self, size: int) -> None:
        self.transport.write(head(size))
        for _ in range(0, size, len(BLOCK)):
            await self.writable.wait()
            self.transport.write(BLOCK)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def main() -> None:
    port = int(sys.argv[1])
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(port))


if __name__ == "__main__":
    main()
