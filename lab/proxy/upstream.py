"""The upstream: the one place that talks to services.

`Upstream` is an httpx transport: an `httpx.Request` goes in, an `httpx.Response` comes out as soon as its
head is there; `send` is the same without httpx's objects, for the hot path. It keeps a pool of connections to
one origin (`pool.py`), each of which carries one exchange at a time (`connection.py`). An
`httpx.AsyncClient(transport=Upstream(url))` works too, for whatever is not in a hurry.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
import weakref
from typing import cast

import httpx

from lab.proxy import tls
from lab.proxy.connection import Answer, Connection, Request, Timeouts, outgoing
from lab.proxy.pool import Pool, PoolExhausted, PoolFigures

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be sent twice without harm (RFC 9110 §9.2.2)."""

KEEPALIVE = 4.0
"""Seconds that a connection may lie idle: less than the 5 s after which uvicorn and Node.js close one, so
that we are the ones who close."""


class Upstream(httpx.AsyncBaseTransport):
    """A pool of HTTP/1.1 connections to the origin of `url` (scheme, host, port; its path is not used).

    `limit` is the number of connections at most. The `…_timeout` are in seconds, None is for ever; a request
    overrides them with `extensions["timeout"]`, a dict with any of `connect`, `head`, `read`, `write` and
    `pool` (see `Timeouts`; without `head`, httpx's own `read` counts for the head as well).

    `keepalive` is how many seconds a connection may lie idle. A service that closes it just as a request is
    on its way is a race that nobody wins. Where it happens all the same, the request is sent once more on a
    fresh connection, if it is idempotent and its body can be had again (`extensions["replay"]`, a callable
    that gives the body anew, or None).

    `extensions["target"]`, bytes, goes out as the request target as it stands; without it the URL's path and
    query do. The URL never decides where a request goes.
    """

    def __init__(
        self,
        url: httpx.URL | str,
        *,
        limit: int = 100,
        connect_timeout: float | None = 2.0,
        head_timeout: float | None = 10.0,
        read_timeout: float | None = 60.0,
        write_timeout: float | None = 60.0,
        pool_timeout: float | None = 10.0,
        keepalive: float = KEEPALIVE,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = httpx.URL(url)
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise httpx.UnsupportedProtocol(f"an address like http://127.0.0.1:8001 was expected, not {url}")
        self._ssl: ssl.SSLContext | None = None
        if self.url.scheme == "https":
            self._ssl = ssl_context or tls.context()
        self._host = self.url.raw_host.decode("ascii")
        self._port = self.url.port or (443 if self._ssl else 80)
        self._timeouts = Timeouts(connect_timeout, head_timeout, read_timeout, write_timeout, pool_timeout)
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._pool: Pool[Connection] = Pool(self._dial, limit=limit, keepalive=keepalive)

    @property
    def keepalive(self) -> float:
        """Seconds that a connection may lie idle; with 0 none is kept."""
        return self._pool.keepalive

    @keepalive.setter
    def keepalive(self, seconds: float) -> None:
        self._pool.keepalive = seconds

    @property
    def figures(self) -> PoolFigures:
        """How busy the pool is now."""
        return self._pool.figures

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; the response's body streams as it arrives.

        Raises httpx's exceptions, each with its request: `ConnectError` (its cause is a `socket.gaierror`
        where the name was not found, a `ConnectionRefusedError` where nobody listens), `ConnectTimeout`,
        `PoolTimeout`, `ReadTimeout`, `WriteTimeout`, `ReadError`, `RemoteProtocolError` and
        `LocalProtocolError`.
        """
        timeouts = self._timeouts
        extensions = request.extensions
        override = extensions.get("timeout")
        if override:
            timeouts = _override(timeouts, override)
        body = request.stream
        whole = isinstance(body, httpx.ByteStream)
        target = extensions.get("target")
        answer = await self.send(
            Request(
                request.method,
                request.url.raw_path if target is None else target,
                request.headers.raw,
                content=b"".join(cast(httpx.ByteStream, body)) if whole else b"",
                stream=None if whole else cast(httpx.AsyncByteStream, body),
                replay=extensions.get("replay"),
                host=request.url.netloc,
                origin=request,
            ),
            timeouts,
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=answer.stream,
            extensions={"http_version": b"HTTP/" + answer.version.encode(), "reason_phrase": answer.reason},
        )

    async def send(self, request: Request, timeouts: Timeouts) -> Answer:
        """`handle_async_request` without httpx's objects, which take longer to make than all of this."""
        out = outgoing(request)
        started = time.monotonic()
        left = timeouts
        connection = self._pool.take()
        if connection is None:
            connection = await self._acquire(request, timeouts)
            left = timeouts.after(time.monotonic() - started)
        try:
            return await connection.exchange(request, out, left)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            if not connection.stale or request.method not in IDEMPOTENT:
                raise
            if out.stream is not None:
                if request.replay is None:
                    raise
                out = outgoing(request, request.replay())
        connection = await self._acquire(request, timeouts.after(time.monotonic() - started), fresh=True)
        return await connection.exchange(request, out, timeouts.after(time.monotonic() - started))

    async def aclose(self, force: bool = False) -> None:
        """Close the idle connections now, those in use when their exchange is over; with `force` all now.

        Requests that still come are served, each on a connection of its own.
        """
        self._pool.close()
        if force:
            for connection in list(self._open):
                connection.break_off()

    async def drain(self) -> None:
        """`aclose`, and wait until no connection is in use."""
        await self.aclose()
        await self._pool.drained()

    async def _acquire(self, request: Request, timeouts: Timeouts, fresh: bool = False) -> Connection:
        try:
            return await self._pool.acquire(patience=timeouts.pool, connect=timeouts.connect, fresh=fresh)
        except PoolExhausted:
            raise httpx.PoolTimeout("no connection became free in time", request=request.origin) from None
        except TimeoutError as error:
            raise httpx.ConnectTimeout(
                "the service did not accept in time", request=request.origin
            ) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot hold
            raise httpx.ConnectError("the service cannot be reached", request=request.origin) from error

    async def _dial(self, timeout: float | None) -> Connection:
        """Open a connection. Raises OSError (ssl.SSLError and socket.gaierror are such), TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            # One address after the other by hand: asyncio would melt several errors into one text.
            addresses = await self._addresses()
            for address in addresses:
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(self._pool),
                        address,
                        self._port,
                        ssl=self._ssl,
                        server_hostname=self._host if self._ssl else None,
                    )
                except OSError:
                    if address == addresses[-1]:
                        raise
                else:
                    self._open.add(connection)
                    return connection
        raise OSError("the name has no address")

    async def _addresses(self) -> list[str]:
        """What the host's name stands for now; raises socket.gaierror."""
        try:
            ipaddress.ip_address(self._host)
        except ValueError:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
            return list(dict.fromkeys(str(address[0]) for *_, address in found))
        return [self._host]


def _override(own: Timeouts, given: dict[str, float | None]) -> Timeouts:
    read = given.get("read", own.read)
    return Timeouts(
        given.get("connect", own.connect),
        given.get("head", read if "read" in given else own.head),
        read,
        given.get("write", own.write),
        given.get("pool", own.pool),
    )
