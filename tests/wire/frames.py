"""WebSocket frames by hand (RFC 6455 §5.2), for both ends of a connection."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import NamedTuple

from tests.wire.wire import Client, Peer, Request, Wire

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


class Frame(NamedTuple):
    opcode: int
    data: bytes
    fin: bool = True


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = False, bits: int = 0) -> bytes:
    """The bytes of a frame; `mask` as a client has to, `bits` are RSV1 to RSV3."""
    first = (0x80 if fin else 0) | bits | opcode
    size = len(data)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65_536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if mask:
        key = os.urandom(4)
        pad = (key * (size // 4 + 1))[:size]
        data = (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
        head += key
    return head + data


def read(wire: Wire, *, masked: bool = False) -> Frame:
    """The next frame; masked it must be from a client, and never from a server."""
    first, second = wire.exactly(2)
    assert not first & 0x70, "a reserved bit without an extension"
    assert bool(second & 0x80) is masked
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(wire.exactly(2), "big")
    elif size == 127:
        size = int.from_bytes(wire.exactly(8), "big")
    key = wire.exactly(4) if masked else b""
    data = wire.exactly(size)
    if masked and size:
        pad = (key * (size // 4 + 1))[:size]
        data = (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    return Frame(first & 0x0F, data, bool(first & 0x80))


def message(wire: Wire, *, masked: bool = False) -> Frame:
    """The next data message, put together from its fragments."""
    start = read(wire, masked=masked)
    opcode, data, fin = start
    assert opcode in (TEXT, BINARY), start
    while not fin:
        more = read(wire, masked=masked)
        assert more.opcode == CONT
        data += more.data
        fin = more.fin
    return Frame(opcode, data)


def close(code: int | None = None, reason: str = "", *, mask: bool = False) -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode(), mask=mask)


def closed(wire: Wire, *, masked: bool = False) -> tuple[int | None, str]:
    """The code and reason of the close frame that comes next."""
    got = read(wire, masked=masked)
    assert got.opcode == CLOSE, got
    if not got.data:
        return None, ""
    return int.from_bytes(got.data[:2], "big"), got.data[2:].decode()


def handshake(path: str, *lines: bytes) -> bytes:
    fields = [b"Host: gateway.test", b"Upgrade: websocket", b"Connection: Upgrade"]
    fields += [b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", *lines]
    return b"GET %b HTTP/1.1\r\n%b\r\n\r\n" % (path.encode(), b"\r\n".join(fields))


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def accepting(asked: Request, *lines: bytes) -> bytes:
    """The service's 101 to that handshake."""
    fields = [b"Upgrade: websocket", b"Connection: Upgrade"]
    fields += [b"Sec-WebSocket-Accept: " + accept_key(asked[b"sec-websocket-key"]), *lines]
    return b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n\r\n" % b"\r\n".join(fields)


class Pair(NamedTuple):
    """The two ends of a proxied WebSocket."""

    client: Client
    peer: Peer

    def up(self, opcode: int, data: bytes) -> Frame:
        """A message from the client to the service."""
        self.client.send(frame(opcode, data, mask=True))
        return message(self.peer, masked=True)

    def down(self, opcode: int, data: bytes) -> Frame:
        self.peer.send(frame(opcode, data))
        return message(self.client)
