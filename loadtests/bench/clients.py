"""The load: closed-loop (the next request when the answer is there) and open-loop (at a fixed rate).

Latencies of the open loop count from the moment at which a request was due, not from when it could at last be
sent: a server that stalls is seen to stall for all who would have come meanwhile (G. Tene, "How NOT to
Measure Latency": coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

from loadtests.bench.frames import CLOSE, PING, PONG, TEXT, Frames, frame
from loadtests.bench.processes import HOST

PATIENCE = 10.0
"""Seconds that a client waits for anything at all before it gives up."""


@dataclass
class Outcome:
    """What a load saw: requests answered, seconds, latencies in seconds, and what went wrong."""

    requests: int = 0
    seconds: float = 0.0
    errors: int = 0
    p50: float | None = None
    p99: float | None = None

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that `share` (0 to 1) of all values do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def request(method: str, path: str, key: str, body: bytes = b"") -> bytes:
    """A request's bytes, the same for every peer."""
    length = f"content-length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nx-api-key: {key}\r\naccept: */*\r\n{length}\r\n"
    return head.encode("ascii") + body


# -- wrk -----------------------------------------------------------------------------------------------------


async def wrk(port: int, path: str, key: str, connections: int, seconds: float) -> Outcome:
    """The load tool wrk, one thread. Its seconds are whole."""
    process = await asyncio.create_subprocess_exec(
        shutil.which("wrk") or "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={max(1, round(seconds))}s",
        "--timeout=8s",
        "--latency",
        f"--header=x-api-key: {key}",
        f"http://{HOST}:{port}{path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds + PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return parse_wrk(output.decode("utf-8", "replace"))


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse_wrk(text: str) -> Outcome:
    """wrk's report as an outcome. Raises ValueError where it is none."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if done is None:
        raise ValueError(f"wrk said: {' '.join(text.split())[:200]}")
    outcome = Outcome(int(done[1]), float(done[2]) * _UNITS[done[3]])
    for name in ("50", "99"):
        if found := re.search(rf"\b{name}%\s+([\d.]+)(us|ms|s|m)\b", text):
            setattr(outcome, f"p{name}", float(found[1]) * _UNITS[found[2]])
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        outcome.errors += int(found[1])
    if found := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        outcome.errors += sum(map(int, found.groups()))
    return outcome


# -- own HTTP client -----------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One connection, one request at a time; `answered(connection, status)` after each response."""

    def __init__(self, answered: Callable[[Connection, int], None]) -> None:
        self._answered = answered
        self._parser: Any = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport
        self.due = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass

    def send(self, data: bytes, due: float) -> None:
        self.due = due
        self.busy = True
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_complete(self) -> None:
        self.busy = False
        self._answered(self, self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._answered(self, 0)


async def connect(port: int, answered: Callable[[Connection, int], None], n: int) -> list[Connection]:
    """`n` connections, opened in small groups so that no backlog overflows."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    while len(connections) < n:
        group = min(50, n - len(connections))
        opened = await asyncio.gather(
            *(loop.create_connection(lambda: Connection(answered), HOST, port) for _ in range(group))
        )
        connections += [protocol for _, protocol in opened]
    return connections


async def closed_loop(port: int, data: bytes, connections: int, seconds: float) -> Outcome:
    """Each connection sends its next request as soon as it has the answer."""
    clock = time.perf_counter
    outcome = Outcome()
    latencies: list[float] = []
    open_ = 0
    finished = asyncio.Event()
    until = math.inf

    def answered(connection: Connection, status: int) -> None:
        nonlocal open_
        now = clock()
        if status == 200:
            latencies.append(now - connection.due)
        else:
            outcome.errors += 1
        if status and now < until and not connection.transport.is_closing():
            connection.send(data, now)
        else:
            open_ -= 1
            if not open_:
                finished.set()

    pool = await connect(port, answered, connections)
    started = clock()
    until = started + seconds
    try:
        for connection in pool:
            open_ += 1
            connection.send(data, clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + PATIENCE):
                await finished.wait()
        outcome.errors += open_
        outcome.seconds = clock() - started
    finally:
        for connection in pool:
            connection.busy = False
            connection.transport.abort()
    outcome.requests = len(latencies)
    outcome.p50, outcome.p99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
    return outcome


async def open_loop(port: int, data: bytes, connections: int, rate: float, seconds: float) -> Outcome:
    """`rate` requests a second, whatever comes back; one that finds no free connection waits for it."""
    clock = time.perf_counter
    outcome = Outcome()
    latencies: list[float] = []
    waiting: deque[float] = deque()
    free: deque[Connection] = deque()
    total = int(rate * seconds)
    finished = asyncio.Event()

    def answered(connection: Connection, status: int) -> None:
        if status == 200:
            latencies.append(clock() - connection.due)
        else:
            outcome.errors += 1
        if len(latencies) + outcome.errors == total:
            finished.set()
        if not status or connection.transport.is_closing():
            return
        if waiting:
            connection.send(data, waiting.popleft())
        else:
            free.append(connection)

    pool = await connect(port, answered, connections)
    free.extend(pool)
    started = clock() + 0.01
    sent = 0
    try:
        while sent < total:
            now = clock()
            while sent < total and (due := started + sent / rate) <= now:
                sent += 1
                if free:
                    free.popleft().send(data, due)
                else:
                    waiting.append(due)
            await asyncio.sleep(0.0005)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await finished.wait()
        outcome.seconds = clock() - started
    finally:
        for connection in pool:
            connection.busy = False
            connection.transport.abort()
    lost = total - len(latencies) - outcome.errors
    outcome.errors += lost
    outcome.requests = len(latencies)
    # What never came back took at least as long as it was waited for.
    latencies += [PATIENCE] * lost
    outcome.p50, outcome.p99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
    return outcome


# -- WebSocket -----------------------------------------------------------------------------------------------


@dataclass
class WebSocket:
    """A client's side of one WebSocket, after the handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: Frames = field(default_factory=Frames)

    async def messages(self) -> AsyncIterator[bytes]:
        """What the server sends; its pings are answered. Ends with the connection."""
        while data := await self.reader.read(65_536):
            for opcode, payload in self.frames.feed(data):
                if opcode == PING:
                    self.writer.write(frame(PONG, payload, masked=True))
                elif opcode == CLOSE:
                    return
                elif opcode != PONG:
                    yield payload

    def close(self) -> None:
        self.writer.transport.abort()


async def open_websocket(port: int, path: str, *fields: str) -> WebSocket:
    """Shake hands. Raises ConnectionError where the server does not want to."""
    reader, writer = await asyncio.open_connection(HOST, port)
    lines = [
        f"GET {path} HTTP/1.1",
        f"host: {HOST}",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        *fields,
        "\r\n",
    ]
    writer.write("\r\n".join(lines).encode("ascii"))
    head = b""
    with contextlib.suppress(asyncio.IncompleteReadError):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    if not head.startswith(b"HTTP/1.1 101"):
        said = head.decode("latin-1").partition("\r")[0] or "no answer"
        writer.transport.abort()
        raise ConnectionError(f"{path}: {said}")
    return WebSocket(reader, writer)


async def echo_loop(port: int, path: str, key: str, connections: int, seconds: float) -> Outcome:
    """Each WebSocket sends its next message of 64 bytes as soon as the last one is back."""
    clock = time.perf_counter
    outcome = Outcome()
    latencies: list[float] = []
    text = b"e" * 64
    data = frame(TEXT, text, masked=True)
    sockets = [await open_websocket(port, path, f"x-api-key: {key}") for _ in range(connections)]
    started = clock()
    until = started + seconds

    async def one(socket: WebSocket) -> None:
        due = clock()
        socket.writer.write(data)
        async for message in socket.messages():
            now = clock()
            if message == text:
                latencies.append(now - due)
            else:
                outcome.errors += 1
            if now >= until:
                return
            due = now
            socket.writer.write(data)
        outcome.errors += 1

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + PATIENCE):
                await asyncio.gather(*map(one, sockets))
        outcome.seconds = clock() - started
    finally:
        for socket in sockets:
            socket.close()
    outcome.requests = len(latencies)
    outcome.p50, outcome.p99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
    return outcome


@contextlib.asynccontextmanager
async def viewers(port: int, token: str, n: int) -> AsyncIterator[None]:
    """`n` viewers of the gateway's live feed who read all that they are sent."""
    sockets = [
        await open_websocket(port, "/admin/events", f"authorization: Bearer {token}") for _ in range(n)
    ]

    async def read(socket: WebSocket) -> None:
        async for _ in socket.messages():
            pass

    tasks = [asyncio.create_task(read(socket)) for socket in sockets]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for socket in sockets:
            socket.close()


# -- large bodies --------------------------------------------------------------------------------------------


async def download(port: int, path: str, key: str, pause: float = 0.0) -> int:
    """GET and read to the end, or, with `pause`, read nothing for so many seconds and leave. Body bytes."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=65_536)
    try:
        writer.write(request("GET", path, key))
        if pause:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(pause)
            return 0
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int((re.search(rb"content-length: *(\d+)", head, re.IGNORECASE) or [b"", b"0"])[1])
        size = 0
        while size < length and (data := await asyncio.wait_for(reader.read(1 << 18), PATIENCE)):
            size += len(data)
        return size
    finally:
        writer.transport.abort()


async def upload(port: int, path: str, key: str, size: int) -> int:
    """POST `size` bytes; how many of them the service says it got."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\nx-api-key: {key}\r\n"
            f"content-length: {size}\r\n\r\n".encode()
        )
        block = bytes(65_536)
        for _ in range(0, size, len(block)):
            writer.write(block)
            await asyncio.wait_for(writer.drain(), PATIENCE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        body = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        return int((re.search(rb'"bytes": (\d+)', body) or [b"", b"0"])[1])
    finally:
        writer.transport.abort()
