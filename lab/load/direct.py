"""Light, exact traffic for scenarios: hundreds of requests at known moments, each with its outcome.

    outcomes = await open_loop(url, every(0.02, 5.0, Request("/service-a/items/1")))
    outcomes = await closed_loop(url, lambda n: Request(f"/service-a/items/{n}"), clients=10, seconds=5.0)

*Open loop:* requests start when the plan says, however slow the answers are, as the requests of strangers do.
Latency counts from the planned start, so that a request that had to wait to be sent counts as slow (Gil Tene,
"How NOT to Measure Latency": coordinated omission). *Closed loop:* each client waits for its answer before it
asks again; a slow server then slows the load down.

HTTP/1.1 over plain sockets in the asyncio loop of the caller; a few thousand requests a second at most.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import httptools

Failure = Literal["refused", "reset", "truncated", "timeout", "garbage"]

MAX_KEPT = 65_536
"""Bytes of an answer's body that an outcome keeps."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tag: str = ""
    """For the caller to tell one sort of request from another."""


@dataclass(slots=True)
class Outcome:
    """What became of a request. Times are seconds since the loop began."""

    request: Request
    planned: float
    """When it was to be sent."""
    sent: float = 0.0
    """When it was sent."""
    ended: float = 0.0
    """When the last byte of the answer was there, or the failure."""
    status: int | None = None
    """None where no whole answer came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case; of repeated fields the last."""
    body: bytes = b""
    failure: Failure | None = None

    @property
    def latency(self) -> float:
        """Seconds from the planned start to the end."""
        return self.ended - self.planned

    @property
    def ok(self) -> bool:
        """Whether a 2xx or 3xx came whole."""
        return self.status is not None and self.status < 400


Plan = Iterable[tuple[float, Request]]
"""When (seconds from the beginning) and what, in the order of time."""
OnOutcome = Callable[[Outcome], None]


def every(interval: float, seconds: float, request: Request, *, start: float = 0.0) -> Plan:
    """`request` every `interval` seconds, from `start` for `seconds`."""
    return [(start + n * interval, request) for n in range(round(seconds / interval))]


def at_random(rate: float, seconds: float, request: Request, *, seed: int, start: float = 0.0) -> Plan:
    """`rate` requests a second on the average at random moments (a Poisson process), the same for a seed."""
    dice = random.Random(seed)
    plan, at = [], dice.expovariate(rate)
    while at < seconds:
        plan.append((start + at, request))
        at += dice.expovariate(rate)
    return plan


def together(*plans: Plan) -> Plan:
    """Several plans as one, in the order of time."""
    return sorted((step for plan in plans for step in plan), key=lambda step: step[0])


async def send(url: str, request: Request, *, timeout: float = 5.0) -> Outcome:
    """One request on a connection of its own."""
    client = Client(url, timeout)
    try:
        return await client.send(request)
    finally:
        client.close()


async def open_loop(
    url: str, plan: Plan, *, timeout: float = 5.0, on_outcome: OnOutcome | None = None
) -> list[Outcome]:
    """Send each request of `plan` at its moment, come what may; the outcomes in the order of the plan.

    `timeout` is in seconds from the sending. Cancelled, it breaks off what is on its way.
    """
    client = Client(url, timeout)
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Outcome]] = []
    try:
        async with asyncio.TaskGroup() as group:
            for at, request in plan:
                ahead = client.began + at - loop.time()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                tasks.append(group.create_task(client.send(request, at, on_outcome)))
    finally:
        client.close()
    return [task.result() for task in tasks]


async def closed_loop(
    url: str,
    request: Callable[[int], Request],
    *,
    clients: int,
    seconds: float | None = None,
    requests: int | None = None,
    think: float = 0.0,
    timeout: float = 5.0,
    on_outcome: OnOutcome | None = None,
) -> list[Outcome]:
    """`clients` at once, each of which asks, waits for the answer, thinks so many seconds and asks again.

    `request(n)` makes the n-th request, counted over all clients. It goes on for `seconds`, or until so many
    `requests` were sent; one of the two must be given.
    """
    if seconds is None and requests is None:
        raise ValueError("either seconds or requests must be given")
    client = Client(url, timeout)
    numbers = iter(range(requests)) if requests is not None else _count()
    outcomes: list[Outcome] = []

    async def one() -> None:
        for n in numbers:
            now = client.now
            if seconds is not None and now >= seconds:
                return
            outcomes.append(await client.send(request(n), now, on_outcome))
            await asyncio.sleep(think)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(one())
    finally:
        client.close()
    return outcomes


def _count() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


class Client:
    """Sends requests to one server over as many kept-alive connections as there are requests at a time.

    `source` is the address of this machine from which it connects, None the usual one.
    """

    def __init__(self, url: str, timeout: float, source: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"http://HOST:PORT was expected, got {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._name = parts.netloc
        self._timeout = timeout
        self._local = None if source is None else (source, 0)
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self.began = self._loop.time()

    @property
    def now(self) -> float:
        """Seconds since the client was made."""
        return self._loop.time() - self.began

    async def send(
        self, request: Request, planned: float | None = None, on_outcome: OnOutcome | None = None
    ) -> Outcome:
        """Send a request now; the outcome also where it failed. Raises nothing but cancellation."""
        now = self.now
        outcome = Outcome(request, now if planned is None else planned, now)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._timeout):
                connection, reused = await self._connection()
                await connection.ask(self._bytes(request), request.method == "HEAD")
                if connection.stale and reused:  # the server closed it while it lay idle (RFC 9112 §9.3.1)
                    self._give_back(connection)
                    connection, _ = await self._connection(fresh=True)
                    await connection.ask(self._bytes(request), request.method == "HEAD")
                outcome.failure = connection.failure
                outcome.headers, outcome.body = connection.headers, bytes(connection.body)
                outcome.status = connection.status if connection.failure is None else None
        except TimeoutError:
            outcome.failure = "timeout"
        except OSError:
            outcome.failure = "refused"
        finally:
            outcome.ended = self.now
            if connection is not None:
                self._give_back(connection)
        if on_outcome is not None:
            on_outcome(outcome)
        return outcome

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.transport.abort()
        self._open.clear()
        self._idle.clear()

    async def _connection(self, fresh: bool = False) -> tuple[Connection, bool]:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection, True
        _, connection = await self._loop.create_connection(
            Connection, self._host, self._port, local_addr=self._local
        )
        self._open.add(connection)
        return connection, False

    def _give_back(self, connection: Connection) -> None:
        if connection.done and connection.keep and not connection.transport.is_closing():
            self._idle.append(connection)
        else:
            connection.transport.abort()
            self._open.discard(connection)

    def _bytes(self, request: Request) -> bytes:
        lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body:
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._answered: asyncio.Future[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False
        self._bytes_seen = False
        self._in_body = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.failure: Failure | None = None
        self.done = False
        self.keep = False
        self.stale = False
        """It was closed, orderly, before a byte of an answer came."""

    async def ask(self, data: bytes, head_only: bool) -> None:
        """Send a request and wait until there is an answer or a failure."""
        self._reset()
        self._head_only = head_only
        self._answered = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self.stale, self.failure = True, "reset"
            return
        self.transport.write(data)
        try:
            await self._answered
        finally:
            self._answered = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self.transport.abort()  # nobody asked
            return
        self._bytes_seen = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.done:
                self._finish("garbage")

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is None or self.done:
            return
        until_close = not {"content-length", "transfer-encoding"} & self.headers.keys()
        if self._in_body and until_close and error is None:
            self._finish(None)  # a body that ends with the connection (RFC 9112 §6.3)
        elif self._in_body:
            self._finish("truncated")
        else:
            self.stale = error is None and not self._bytes_seen
            self._finish("reset")

    # -- httptools -------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self.keep = self._parser.should_keep_alive()
        self._in_body = True
        if self._head_only:  # the parser does not know and would wait for a body
            self.keep = self.keep and self.headers.get("content-length", "0") == "0"
            self._finish(None)

    def on_body(self, data: bytes) -> None:
        self.body += data[: MAX_KEPT - len(self.body)]

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self._finish(None)
        else:
            self.headers = {}

    def _finish(self, failure: Failure | None) -> None:
        self.failure = failure
        self.done = True
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
