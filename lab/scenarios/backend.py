"""A service with a known capacity, for scenarios about overload.

    requests ──▶ ▤▤▤▤▤▤ waiting ──▶ ┌ worker ┐ ──▶ answers      capacity = workers / seconds
                                    └ worker ┘

It behaves like the usual pool of threads behind a listening socket: first come, first served, and work once
taken in is done to its end even where the client has long gone. That blindness is what turns a short
overload into a lasting one (Google, "Site Reliability Engineering", ch. 22, "Queue Management").

It lives in the runner's own process, so it ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import Self


class Backend:
    """Listens on a free port of 127.0.0.1. `workers` requests at a time, each `seconds` long.

    Each may be changed while it runs. `queue`: how many may wait (None: any number); one more is answered
    503 at once. `breaks_at`: with more requests than that inside it crashes, and cuts every connection from
    then on. `cache_control` is that field of every answer; `/health` is well until a crash.
    """

    def __init__(
        self,
        workers: int = 1000,
        seconds: float = 0.0,
        *,
        queue: int | None = None,
        breaks_at: int | None = None,
        status: int = 200,
        cache_control: str = "no-store",
    ) -> None:
        self.workers = workers
        self.seconds = seconds
        self.queue = queue
        self.breaks_at = breaks_at
        self.status = status
        """What it answers; 500 or more is a failing service."""
        self.cache_control = cache_control
        self.arrived: defaultdict[str, list[float]] = defaultdict(list)
        """When requests arrived, in the loop's seconds, by path without the query."""
        self.done = 0
        self.wasted = 0
        """Requests that were worked on to the end for a client that had gone."""
        self.most = 0
        """The most requests that it worked on at a time."""
        self.busy = 0
        self.url = ""
        self._line: list[asyncio.Future[None]] = []
        self._crash = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def total(self) -> int:
        """Requests that arrived."""
        return sum(map(len, self.arrived.values()))

    def peak(self, seconds: float, path: str) -> int:
        """The most requests for `path` that arrived within so many seconds of each other."""
        moments = self.arrived[path]
        most = first = 0
        for last, moment in enumerate(moments):
            while moment - moments[first] > seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def crash(self) -> None:
        """End it: who is inside is cut off, and so is everybody who comes later."""
        self._crash.set()

    @property
    def crashed(self) -> bool:
        return self._crash.is_set()

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # -- one connection --------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
                    status = await self._work(path, reader)
                    if status is None:
                        return
                    body = b"%d\n" % self.total
                    answer = (
                        f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\n"
                        f"Cache-Control: {self.cache_control}\r\nContent-Length: {len(body)}\r\n\r\n"
                    )
                    writer.write(answer.encode() + body)
                    await writer.drain()
        except asyncio.CancelledError:
            pass  # the backend ends
        finally:
            self._connections.discard(task)
            writer.close()

    async def _work(self, path: str, reader: asyncio.StreamReader) -> int | None:
        """Wait for a worker, then work; the status of the answer, None for none."""
        if self.crashed:
            return None
        if path == "/health":
            return 200
        self.arrived[path].append(asyncio.get_running_loop().time())
        if self.breaks_at is not None and self.busy + self.waiting >= self.breaks_at:
            self.crash()
            return None
        if self.busy >= self.workers:
            if self.queue is not None and len(self._line) >= self.queue:
                return 503
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(turn)
            try:
                await turn  # whoever is done hands its place over
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._hand_over()  # the place came together with the end
                raise
        else:
            self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            async with asyncio.timeout(self.seconds):
                await self._crash.wait()
            return None
        except TimeoutError:
            pass  # the work is done
        finally:
            self._hand_over()
        self.done += 1
        self.wasted += reader.at_eof()
        return self.status

    def _hand_over(self) -> None:
        """The worker's place goes to the first in line."""
        while self._line:
            turn = self._line.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1
