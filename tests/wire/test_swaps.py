"""Policies are swapped, broken and rolled back under 200 requests a second, and no client notices."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.wire.wire import ADDRESS, PATIENCE, Gateway

RATE = 200
"""Requests per second."""
CONNECTIONS = 20
RETRIED = 10
"""Of so many requests one meets a service that fails once, so that the retries have something to do."""

OWN = {
    "rate_limit": """
from lab.policies.rate_limit import SlidingWindow


class Own(SlidingWindow):
    calls = 0

    def take(self, key, now):
        self.calls += 1
        if self.calls > 200:
            {mistake}
        return super().take(key, now)
""",
    "cache": """
from lab.policies.cache import TtlCache


class Own(TtlCache):
    calls = 0

    def put(self, key, entry, now):
        self.calls += 1
        if self.calls > 15:
            {mistake}
        super().put(key, entry, now)
""",
    "breaker": """
from lab.policies.breaker import Consecutive


class Own(Consecutive):
    calls = 0

    def success(self, permission, now, duration):
        self.calls += 1
        if self.calls > 15:
            {mistake}
        super().success(permission, now, duration)
""",
    "retry": """
from lab.policies.retry import FullJitter


class Own(FullJitter):
    calls = 0

    def pause(self, retry, draw):
        self.calls += 1
        if self.calls > 15:
            {mistake}
        return super().pause(retry, draw)
""",
}
"""A student's class for each policy, whose mistake comes later than the trial before it serves looks."""

BUILT_IN = {
    "rate_limit": ("token_bucket", "fixed_window", "sliding_window"),
    "cache": ("ttl", "http"),
    "breaker": ("failure_rate", "consecutive"),
    "retry": ("backoff",),
}


class Backend:
    """A keep-alive HTTP service; `/once/N` fails the first time it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()
        self.connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                self.asked[target] += 1
                failing = target.startswith(b"/once") and self.asked[target] == 1
                writer.write(
                    b"HTTP/1.1 %b\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok"
                    % (b"503 Not Yet" if failing else b"200 OK")
                )
                await writer.drain()
        await close(writer)

    async def aclose(self) -> None:
        for writer in self.connections:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class Traffic:
    """`RATE` requests a second over `CONNECTIONS` connections, until it is stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._due: asyncio.Queue[int | None] = asyncio.Queue()
        self._next: asyncio.TimerHandle | None = None
        self._sent = 0
        self._progress = asyncio.Condition()
        self.statuses: Counter[int] = Counter()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()

        def tick() -> None:
            while self._sent <= (loop.time() - started) * RATE:
                self._due.put_nowait(self._sent)
                self._sent += 1
            self._next = loop.call_later(0.5 / RATE, tick)

        tick()
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while (number := await self._due.get()) is not None:
                target = b"/live/once/%d" % number if number % RETRIED == 0 else b"/live/%d" % number
                writer.write(b"GET %b HTTP/1.1\r\nHost: gateway.test\r\n\r\n" % target)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.statuses[int(head.split(b" ")[1])] += 1
                async with self._progress:
                    self._progress.notify_all()
        finally:
            await close(writer)

    async def further(self, requests: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.statuses.total() + requests
        async with asyncio.timeout(PATIENCE), self._progress:
            await self._progress.wait_for(lambda: self.statuses.total() >= wanted)

    def stop(self) -> None:
        assert self._next is not None
        self._next.cancel()
        for _ in range(CONNECTIONS):
            self._due.put_nowait(None)


@pytest.mark.parametrize("mistake", ["raise LookupError('no idea')", "while True: pass"])
async def test_swaps_and_rollbacks_under_load_lose_no_request(
    own: Callable[..., Gateway], tmp_path: Path, mistake: str
) -> None:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, ADDRESS, 0)
    host, port = server.sockets[0].getsockname()[:2]
    settings = {"url": f"http://{host}:{port}", "retries": 2}
    gateway = await asyncio.to_thread(own, services={"live": settings}, breaker={"failures": 1000})

    async def put(policy: str, use: str) -> dict[str, Any]:
        path = f"/admin/policies/{policy}"
        answer: dict[str, Any] = await asyncio.to_thread(gateway.admin, "PUT", path, {"use": use})
        return answer

    async def events() -> list[dict[str, Any]]:
        snapshot = await asyncio.to_thread(gateway.admin, "GET", "/admin/snapshot")
        return [event for event in snapshot["events"] if event["kind"] == "policy"]

    async def rolled_back(policy: str) -> dict[str, Any]:
        """The event, as soon as enough requests have met the mistake."""
        for _ in range(20):
            found = [e for e in await events() if e["name"] == policy and e["action"] == "rolled_back"]
            if found:
                return found[-1]
            await traffic.further(RETRIED)
        raise AssertionError(f"{policy} was not rolled back")

    traffic = Traffic(gateway.port)
    running = asyncio.ensure_future(traffic.run())
    swaps = 0
    try:
        for policy, text in OWN.items():
            good, bad = tmp_path / f"{policy}_good.py", tmp_path / f"{policy}_bad.py"
            good.write_text(text.format(mistake="pass"))
            bad.write_text(text.format(mistake=mistake))
            for use in (*BUILT_IN[policy], f"{good}:Own", BUILT_IN[policy][-1], f"{bad}:Own"):
                answer = await put(policy, use)
                assert answer["use"] == use
                swaps += 1
                await traffic.further(20)
            event = await rolled_back(policy)
            held = "PolicyTimeout: it held the event loop for too long"
            assert event["reason"] == (held if "while" in mistake else "LookupError: no idea")
            assert event["use"] == f"{bad}:Own"
        told = Counter(event["action"] for event in await events())
    finally:
        traffic.stop()
        await running
        server.close()
        await backend.aclose()
    assert set(traffic.statuses) == {200}
    assert told["rolled_back"] == len(OWN)
    assert told["swapped"] + told["tuned"] == swaps
