"""One end of an open WebSocket on asyncio: the same for the client's hop and for the service's.

The frames are parsed and written by `websockets`' protocol without I/O (RFC 6455 §§5–7: masking, fragments,
pongs, the echo of a close, refusals with 1002 and 1009). What is here is what a proxy needs around it: whole
messages, bounded buffers in both directions, a dead peer noticed, a close that always comes to an end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from websockets.datastructures import Headers as HandshakeHeaders
from websockets.frames import EXTERNAL_CLOSE_CODES, Frame, Opcode
from websockets.protocol import Protocol, State

from lab.model import Headers

logger = logging.getLogger("gateway.websocket")
logger.setLevel(logging.WARNING)  # `websockets` tells of every connection, which the access log does

Data = str | bytes | bytearray
"""A text message or a binary one."""

NO_STATUS = 1005
ABNORMAL = 1006


class Closed(ConnectionError):
    """The WebSocket is closed; `code` as in RFC 6455 §7.1.5 (1005: none was given, 1006: connection lost)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"WebSocket closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Endpoint(asyncio.Protocol):
    """`receive`, `send` and `close` over a transport whose handshake is done.

    `frames` is in state OPEN. No extension is negotiated: compression would cost each message two times
    inflate and deflate, and each connection some 100 KB, to save bytes on a hop that is usually local.
    """

    silence = 15.0
    """Seconds without a byte from the peer until it is pinged, and as many again until it counts as dead."""
    close_timeout = 5.0
    """Seconds that the peer gets for its part of the closing handshake."""
    high_water = 65_536
    """Bytes of messages that wait to be taken, past which no more are read (one message may be larger)."""

    def __init__(self, frames: Protocol, loop: asyncio.AbstractEventLoop) -> None:
        self._frames = frames
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] | None = None

        self._messages: deque[Data] = deque()
        self._queued = 0
        self._waiter: asyncio.Future[None] | None = None
        self._early: bytearray | None = bytearray()
        self._read_paused = False

        self._fragments: bytearray | None = None
        self._is_text = False

        self._writable: asyncio.Event | None = None
        self._unsent = 0
        """Bytes that waited to be sent at the last look."""
        self._owed: bytes | None = None
        """What the peer's latest ping held, while the pong cannot be sent."""
        self._heard = True
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

        self.closed: Closed | None = None
        """How the WebSocket ended, as soon as either side has said so."""
        self._lost: asyncio.Event | None = None
        self.lost = False

    def attach(self, transport: asyncio.Transport) -> None:
        """Take the transport over from the protocol that did the handshake."""
        self._transport = transport
        transport.set_protocol(self)

    def start(self) -> None:
        """The handshake's answer is out: frames may flow."""
        early, self._early = self._early, None
        self._resume_reading()
        self._timer = self._loop.call_later(self.silence, self._tick)
        if early:
            self.data_received(bytes(early))
        else:
            self.take_events()

    # -- what comes in ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            if len(self._early) > self.high_water:
                self._pause_reading()
            return
        self._heard = True
        self._frames.receive_data(data)
        self.take_events()

    def take_events(self) -> None:
        """Act on what the parser has found."""
        for event in self._frames.events_received():
            if not isinstance(event, Frame):
                continue
            if event.opcode in _DATA:
                self._take_frame(event)
            elif event.opcode is Opcode.PING and self._writable is not None:
                self._owed = bytes(event.data)
        if self._writable is not None and self._frames.state is State.OPEN:
            # Pongs for a peer that pings and does not read: only the latest will be sent (RFC 6455 §5.5.3).
            self._frames.data_to_send()
        elif self._frames.writes:
            self._write()
        if self.closed is None and self._frames.state is not State.OPEN:
            received, sent = self._frames.close_rcvd, self._frames.close_sent
            close = received or sent
            self._end(Closed(close.code, close.reason) if close else Closed(ABNORMAL))
            self._limit_closing()

    def _take_frame(self, frame: Frame) -> None:
        if self.closed is not None:
            return
        data: bytes | bytearray = frame.data  # type: ignore[assignment]
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if not frame.fin:
                self._fragments = bytearray(data)
                return
        elif self._fragments is not None:
            self._fragments += data
            if not frame.fin:
                return
            data, self._fragments = self._fragments, None
        message: Data = data
        if self._is_text:
            try:
                message = data.decode()
            except UnicodeDecodeError:
                self._frames.fail(1007, "a text message is not UTF-8")
                return
        self._messages.append(message)
        self._queued += len(message) + _OVERHEAD
        if self._queued > self.high_water:
            self._pause_reading()
        self._wake()

    async def receive(self) -> Data:
        """The next message, in order and whole. Raises `Closed` after the last one. For one reader only."""
        while not self._messages:
            if self.closed is not None:
                raise self.closed
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        self._queued -= len(message) + _OVERHEAD
        if self._read_paused and self._queued <= self.high_water // 2:
            self._resume_reading()
        return message

    def eof_received(self) -> None:
        if self._early is None:
            self._frames.receive_eof()
            self.take_events()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._early is None:
            self._frames.receive_eof()
        self._end(Closed(ABNORMAL))
        if self._lost is not None:
            self._lost.set()
        self.resume_writing()
        if self.on_lost is not None:
            self.on_lost()

    # -- what goes out ---------------------------------------------------------------------------------------

    async def send(self, message: Data) -> None:
        """Send one message, and wait while the peer is slow to read. Raises `Closed`."""
        if self.closed is not None:
            raise self.closed
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        self._write()
        if self._writable is not None:
            await self._writable.wait()

    def _write(self) -> None:
        transport = self._transport
        assert transport is not None
        for data in self._frames.data_to_send():
            if transport.is_closing():
                return
            if data:
                transport.write(data)
            elif self._frames.close_rcvd is not None or not transport.can_write_eof():
                transport.close()
            else:
                # We failed the connection. Closing it with bytes unread would reset it, and the peer might
                # never see the code; so only our side is closed, and what still comes is thrown away.
                transport.write_eof()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        self._heard = True
        if self._writable is not None:
            self._writable.set()
            self._writable = None
            if self._owed is not None and self._frames.state is State.OPEN:
                self._frames.send_pong(self._owed)
                self._owed = None
                self._write()

    # -- the end ---------------------------------------------------------------------------------------------

    def begin_close(self, code: int = 1000, reason: str = "", *, told: Closed | None = None) -> None:
        """Start the closing handshake; `receive` then raises `told` (else this very code)."""
        if self.closed is not None or self._transport is None:
            return
        self._messages.clear()
        self._queued = 0
        self._end(told or Closed(code, reason))
        if code == NO_STATUS:
            self._frames.send_close()
        else:
            self._frames.send_close(sendable(code), shortened(reason))
        self._write()
        self._resume_reading()
        self._limit_closing()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait until the connection is gone: `close_timeout` seconds at most."""
        self.begin_close(code, reason)
        await self.wait_lost()

    async def wait_lost(self) -> None:
        if not self.lost:
            if self._lost is None:
                self._lost = asyncio.Event()
            await self._lost.wait()

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None and not self.lost:
            self._transport.abort()

    def _end(self, closed: Closed) -> None:
        if self.closed is None:
            self.closed = closed
            self._wake()

    def _limit_closing(self) -> None:
        if self.lost:
            return
        self._resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self.close_timeout, self.abort)

    # -- helpers ---------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._transport is not None
        self._timer = self._loop.call_later(self.silence, self._tick)
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._heard or self._read_paused or self._unsent < before:
            # While we do not read, its silence proves nothing; and our ping waits behind what it still reads.
            self._heard = self._pinged = False
        elif not self._pinged:
            self._pinged = True
            self._frames.send_ping(b"")
            self._write()
        else:
            self._end(Closed(ABNORMAL))
            self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause_reading(self) -> None:
        if not self._read_paused and self._transport is not None and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and self._transport is not None and not self.lost:
            self._read_paused = False
            self._transport.resume_reading()


_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_OVERHEAD = 64
"""Bytes that a queued message costs beside its data, so that empty ones are bounded too."""


def library_headers(headers: Headers) -> HandshakeHeaders:
    """Header fields as `websockets` wants them."""
    return HandshakeHeaders((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def sendable(code: int) -> int:
    """`code` if it may stand in a close frame (RFC 6455 §7.4), else 1011."""
    return code if code in EXTERNAL_CLOSE_CODES or 3000 <= code <= 4999 else 1011


def shortened(reason: str) -> str:
    """At most the 123 bytes that a close frame has room for (RFC 6455 §5.5)."""
    return reason.encode()[:123].decode(errors="ignore")
