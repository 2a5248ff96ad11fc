"""One line a request for people, one count a request for machines.

The line is JSON on standard error; the counts are the `Tally`, which `/metrics`, the snapshot and the live
feed are made from. Neither knows a key, a token or a query.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import os
import queue
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import accumulate
from json.encoder import encode_basestring_ascii as quote
from typing import Any, ClassVar, NamedTuple, Self

from lab.model import Exchange, Handler, Response
from lab.policies import Context

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of the Prometheus histograms."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})


class Histogram:
    """Counts of durations per bucket, and their sum in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def merge(self, other: Histogram) -> None:
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


_FINE = [0.00005 * 1.15**i for i in range(100)]
"""Bounds for quantiles, 15 % apart: 50 µs to about 50 s."""


class Recent:
    """The durations of the last ten seconds, as one small histogram a second: bounded, exact to 15 %."""

    SECONDS = 10

    def __init__(self) -> None:
        self.slots: deque[tuple[int, list[int]]] = deque(maxlen=self.SECONDS)

    def observe(self, seconds: float, now: float) -> None:
        second = int(now)
        slots = self.slots
        if not slots or slots[-1][0] != second:
            slots.append((second, [0] * (len(_FINE) + 1)))
        slots[-1][1][bisect.bisect_left(_FINE, seconds)] += 1


def quantiles(parts: Iterable[Recent], now: float) -> dict[str, float | None]:
    """p50, p95 and p99 in seconds of all `parts` together; None where nothing happened in ten seconds."""
    since = int(now) - Recent.SECONDS
    columns = (counts for part in parts for second, counts in part.slots if second > since)
    totals = [sum(column) for column in zip(*columns, strict=True)]
    count = sum(totals)
    result: dict[str, float | None] = {"p50": None, "p95": None, "p99": None}
    if count:
        for name, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
            i = next(i for i, seen in enumerate(accumulate(totals)) if seen >= share * count)
            result[name] = round(_FINE[min(i, len(_FINE) - 1)], 6)
    return result


class Top:
    """The most frequent of very many names, in bounded memory: when it is full the rare half is forgotten."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        self.counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        counts = self.counts
        counts[name] += 1
        if len(counts) > self.size:
            self.counts = Counter(dict(counts.most_common(self.size // 2)))

    def most(self, n: int) -> list[tuple[str, int]]:
        return self.counts.most_common(n)


class Kind(NamedTuple):
    """What exchanges have in common that are counted together."""

    method: str
    service: str
    status: int
    """0 is an exchange whose client went away before the head."""
    limited: bool | None
    cache: str | None
    collapsed: bool
    stale: bool
    attempts: int


class _Cell:
    """The exchanges of one kind."""

    __slots__ = ("bytes_out", "durations")

    def __init__(self) -> None:
        self.bytes_out = 0
        self.durations = Histogram()


class Tally:
    """What happened so far: each exchange is counted once, under its kind; who looks adds up what it wants.

    There are few kinds, and viewers look some times a second, so that is cheaper than a counter for each
    question. Nothing here grows with the number of clients or paths.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.paths = Top()
        self._cells: dict[Kind, _Cell] = {}
        self._recent: dict[str, Recent] = {}
        self._forgotten: Counter[str] = Counter()

    def add(self, exchange: Exchange, status: int, seconds: float, now: float, sent: int) -> None:
        """Count one finished exchange; `seconds` from its first byte to its last."""
        service = exchange.service
        about = exchange.cache_status
        kind = (
            exchange.method if exchange.method in METHODS else "OTHER",
            service,
            status,
            exchange.limited,
            exchange.cache,
            about is not None and b"; collapsed" in about,
            about is not None and b"detail=stale" in about,
            exchange.attempts,
        )
        cell = self._cells.get(kind)  # type: ignore[call-overload]  # a plain tuple is as good, and made faster
        if cell is None:
            cell = self._cells[Kind(*kind)] = _Cell()
        cell.bytes_out += sent
        cell.durations.observe(seconds)
        if service:
            recent = self._recent.get(service)
            if recent is None:
                recent = self._recent[service] = Recent()
            recent.observe(seconds, now)
            self.paths.add(exchange.path[:200])

    @property
    def requests(self) -> Counter[tuple[str, str, int]]:
        """How many by method, service and status."""
        counts: Counter[tuple[str, str, int]] = Counter()
        for kind, cell in self._cells.items():
            counts[kind.method, kind.service, kind.status] += sum(cell.durations.counts)
        return counts

    @property
    def durations(self) -> dict[tuple[str, str], Histogram]:
        """How long they took, by method and service."""
        histograms: dict[tuple[str, str], Histogram] = {}
        for kind, cell in self._cells.items():
            histograms.setdefault((kind.method, kind.service), Histogram()).merge(cell.durations)
        return histograms

    @property
    def totals(self) -> Counter[str]:
        """Over all services; the gateway's own paths are left out, or its viewers would count themselves."""
        return sum(self.services.values(), Counter(self._forgotten))

    @property
    def services(self) -> dict[str, Counter[str]]:
        """The same totals for each service."""
        services: dict[str, Counter[str]] = {}
        for kind, cell in self._cells.items():
            if kind.service:
                count(kind, cell, services.setdefault(kind.service, Counter()))
        return services

    def latency(self, now: float, service: str | None = None) -> dict[str, float | None]:
        """Quantiles over the last ten seconds, of one service or of all."""
        parts = self._recent.values() if service is None else [self._recent.get(service, Recent())]
        return quantiles(parts, now)

    def forget(self, service: str) -> None:
        """Drop what was counted for a service that is gone; the totals keep it."""
        self._forgotten += self.services.get(service, Counter())
        self._recent.pop(service, None)
        for kind in [kind for kind in self._cells if kind.service == service]:
            del self._cells[kind]


def count(kind: Kind, cell: _Cell, totals: Counter[str]) -> None:
    """Add the exchanges of one kind to the totals that the snapshot shows."""
    number = sum(cell.durations.counts)
    totals["requests"] += number
    totals[_CLASSES[kind.status // 100]] += number
    totals["bytes_out"] += cell.bytes_out
    if kind.limited is not None:
        totals["limited" if kind.limited else "admitted"] += number
    if kind.cache is not None:
        totals[_CACHE.get(kind.cache, "bypasses")] += number
        if kind.collapsed:
            totals["coalesced"] += number
        elif kind.stale:
            totals["stale"] += number
    if kind.attempts:
        totals["upstream_calls"] += number * kind.attempts
        totals["retries"] += number * (kind.attempts - 1)
    if kind.status >= 500:
        totals["failures" if kind.attempts else "rejected"] += number


_CLASSES = {0: "aborted", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_CACHE = {"HIT": "hits", "MISS": "misses", "BYPASS": "bypasses"}


class LineWriter:
    """Lines to a file descriptor from a thread of its own: a full pipe must never stall the gateway.

    Lines are handed over in batches, 50 ms apart at most. While the reader does not read, at most
    `bound` bytes wait; what comes beyond is dropped, and counted in a line of its own afterwards.
    """

    def __init__(self, fd: int = 2, bound: int = 4 * 1024 * 1024) -> None:
        self._fd = fd
        self._bound = bound
        self._lines: list[str] = []
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._pending = 0
        self._dropped = 0
        self._armed = False
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        self._lines.append(line)
        if not self._armed:
            self._armed = True
            try:
                asyncio.get_running_loop().call_later(0.05, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        self._armed = False
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._pending > self._bound:
            self._dropped += len(lines)
            return
        if self._dropped:
            lines.insert(0, f'{{"level":"warning","event":"log_dropped","lines":{self._dropped}}}')
            self._dropped = 0
        data = ("\n".join(lines) + "\n").encode()
        self._pending += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()
        self._queue.put(data)

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most `timeout` seconds."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
            self._thread = None

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            view = memoryview(data)
            with contextlib.suppress(OSError):  # the reader is gone: nothing to be done, and no reason to die
                while view:
                    view = view[os.write(self._fd, view) :]
            self._pending -= len(data)


class AccessLog:
    """Writes the line and counts the exchange when its last byte is out or its client is gone."""

    section: ClassVar[str] = "access_log"
    always: ClassVar[bool] = True

    def __init__(
        self,
        options: Any = None,
        context: Context | None = None,
        *,
        core: Tally | None = None,
        write: Callable[[str], None] | None = None,
    ) -> None:
        context = context or Context()
        self.tally = core or Tally()
        self._clock = context.clock
        self._wall = context.wall
        self._writer = None if write else LineWriter(sys.stderr.fileno() if sys.stderr else 2)
        self._write = write or self._writer.write  # type: ignore[union-attr]
        self.recent: deque[str] = deque(maxlen=100)
        """The last lines, for the snapshot."""
        self.lines = 0

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        self.tally.in_flight += 1
        try:
            response = await call_next(exchange)
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            self._finish(exchange, 0 if gone else 500, None)
            raise
        response.on_end(partial(self._finish, exchange, response.status))
        return response

    def _finish(self, exchange: Exchange, status: int, error: BaseException | None) -> None:
        self.tally.in_flight -= 1
        self.record(exchange, status)

    def record(self, exchange: Exchange, status: int) -> None:
        """Write the line of an exchange that is over, and count it."""
        now = self._clock()
        seconds = now - exchange.started
        self.tally.add(exchange, status, seconds, now, exchange.bytes_out)
        # Written out by hand: json.dumps costs three times as much, and only two of the values need quoting.
        line = (
            f'{{"ts":{self._wall():.3f},"level":"{"info" if status < 500 else "error"}","event":"request",'
            f'"request_id":{quote(exchange.request_id)},'
            f'"client":{quote(exchange.identity or exchange.client)},'
            f'"method":{quote(exchange.method)},"path":{quote(exchange.raw_path.decode("latin-1"))},'
            f'"service":"{exchange.service}","status":{status},"duration_ms":{seconds * 1000:.3f},'
            f'"cache":{_text(exchange.cache)},"limited":{_FLAG[exchange.limited]},'
            f'"breaker":{_text(exchange.breaker)},"attempts":{exchange.attempts},'
            f'"bytes_out":{exchange.bytes_out}}}'
        )
        self.lines += 1
        self.recent.append(line)
        self._write(line)

    def snapshot(self) -> dict[str, Any]:
        return {"lines": self.lines}

    def adopt(self, old: Self) -> None:
        self.tally = old.tally
        self.recent = old.recent

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_FLAG = {None: "null", True: "true", False: "false"}


def _text(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'
