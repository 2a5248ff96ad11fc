"""WebSocket frames (RFC 6455 §5.2), as much of them as a benchmark's client and service need."""

from __future__ import annotations

import struct

from websockets.frames import apply_mask  # type: ignore[attr-defined]

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x11\x22\x33\x44"
"""A client masks; the benchmark's always with the same key, so that a frame is made once."""


def frame(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """One unfragmented frame."""
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, bit | 127, size)
    return head + MASK + apply_mask(payload, MASK) if masked else head + payload


class Frames:
    """Bytes in, whole frames out."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (opcode, payload) of each frame that is complete by now; unmasked."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while len(buffer) - at >= 2:
            opcode, size = buffer[at] & 0x0F, buffer[at + 1] & 0x7F
            masked = buffer[at + 1] & 0x80
            body = at + 2
            if size == 126:
                body += 2
                if len(buffer) < body:
                    break
                size = int.from_bytes(buffer[at + 2 : body], "big")
            elif size == 127:
                body += 8
                if len(buffer) < body:
                    break
                size = int.from_bytes(buffer[at + 2 : body], "big")
            mask = b""
            if masked:
                mask = buffer[body : body + 4]
                body += 4
            if len(buffer) < body + size:
                break
            payload = buffer[body : body + size]
            frames.append((opcode, apply_mask(payload, mask) if masked else payload))
            at = body + size
        self._buffer = buffer[at:]
        return frames
