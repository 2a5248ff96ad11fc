"""The traffic that the dashboard's keys make: plain requests through the gateway, from invented clients.

The limiter counts per client, and by default a client has ten requests a minute. So each kind of traffic
plays its own clients, named in `X-Forwarded-For` as a load balancer in front would name them:

* one request: you, at your own address; the same item each time, so the second is a cache hit;
* steady traffic: visitors from the networks kept for documentation (RFC 5737), each coming round seldom
  enough to stay below the limit. Every other request asks for something fresh and is a miss;
* a burst: one greedy client.

A gateway believes the header only from `trusted_proxies`; the stack that the dashboard starts trusts the
loopback network. On any other stack all of this counts as one client.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

GREEDY = "203.0.113.66"
VISITORS = tuple(f"{network}.{host}" for host in range(1, 251) for network in ("192.0.2", "198.51.100"))
RATES = (1, 2, 5, 10, 20, 40)
"""Requests per second that the steady traffic can be set to; 500 visitors stay below ten a minute at all."""

TRUST = {"GATEWAY__TRUSTED_PROXIES": "[127.0.0.0/8, '::1/128']"}
"""What the gateway's environment needs for the invented clients to count as several."""


def steady_path(n: int) -> str:
    """The n-th request of the steady traffic: popular items, and in between fresh ones."""
    if n % 2:
        return f"/service-a/items/{1000 + n}"
    return f"/service-a/items/{(n // 2) % 5 + 1}"


class Traffic:
    """Sends requests and forgets the answers: what becomes of them is seen in the gateway's feed."""

    def __init__(
        self, url: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url
        self.steady = False
        self.rate = 5
        self.sent = 0
        self.unanswered = 0
        self._key = key
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None

    def one(self) -> None:
        """One request for item 1, from your own address."""
        self._send("/service-a/items/1", None)

    def burst(self, count: int = 20) -> None:
        """`count` requests at once from one client."""
        for _ in range(count):
            self._send("/service-a/items/2", GREEDY)

    def toggle(self) -> None:
        """Steady traffic on or off."""
        self.steady = not self.steady
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self.steady:
            self._ticking = asyncio.create_task(self._tick())

    def change_rate(self, step: int) -> None:
        """The next higher (1) or lower (-1) rate."""
        at = RATES.index(self.rate) + step
        self.rate = RATES[min(max(at, 0), len(RATES) - 1)]

    async def echo(self) -> str:
        """One WebSocket message to service B and back; its text, or why it did not come back."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        url = "ws" + self.url.removeprefix("http") + "/service-b/ws"
        try:
            async with connect(url, proxy=None, open_timeout=5, close_timeout=1) as socket:
                await socket.send("hello, service B")
                return f"service B echoed: {await asyncio.wait_for(socket.recv(), 5)!r}"
        except (OSError, WebSocketException, TimeoutError) as error:
            return f"no echo: {' '.join(str(error).split()) or type(error).__name__}"

    async def settled(self) -> None:
        """Wait until every request so far is answered (or given up)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Stop, and drop what is under way."""
        if self.steady:
            self.toggle()
        for task in self._tasks:
            task.cancel()
        await self.settled()
        if self._client is not None:
            await self._client.aclose()

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            n = next(self._numbers)
            self._send(steady_path(n), VISITORS[n % len(VISITORS)])
            due = max(due + 1 / self.rate, clock() - 1)
            await asyncio.sleep(max(due - clock(), 0))

    def _send(self, path: str, client: str | None) -> None:
        if len(self._tasks) < 500:  # a hanging service must not pile requests up without bound
            task = asyncio.create_task(self._request(path, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _request(self, path: str, client: str | None) -> None:
        import httpx  # 0.1 s: not before the first paint

        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self.url,
                timeout=30,
                limits=httpx.Limits(max_connections=500, max_keepalive_connections=20),
                headers={"X-API-Key": self._key} if self._key else None,
                transport=self._transport,
                trust_env=False,
            )
        self.sent += 1
        try:
            await self._client.get(path, headers={"X-Forwarded-For": client} if client else None)
        except httpx.HTTPError:
            self.unanswered += 1
