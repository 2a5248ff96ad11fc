"""The services behind the gateway: their settings, connections and health, changed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import httpx

from lab.model import Clock, Emit, ignore
from lab.policies.access_log import Histogram
from lab.proxy.pool import PoolFigures
from lab.proxy.upstream import KEEPALIVE, Upstream
from lab.settings import ServiceSettings

Health = Literal["up", "down", "unknown"]


class Service:
    """One service: where it is, its connection pool, and how it is doing."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        url = httpx.URL(settings.url)
        self.url = url
        self.prefix = url.raw_path.rstrip(b"/")
        """The path of the service's own address, put before what the client asks for."""
        self.host = url.netloc
        """The Host header that the service gets."""
        self.connect_timeout = min(2.0, settings.timeout)
        self.upstream: httpx.AsyncBaseTransport = Upstream(url, limit=settings.pool, keepalive=0.0)
        """Our pool, or the transport that somebody has put in its place."""
        self.durations = Histogram()
        """Seconds until the response head, per attempt."""
        self.health: Health = "unknown"
        self.health_detail = "not checked yet" if settings.health else "no health path configured"
        self.checked: float | None = None
        self.failing_since: float | None = None

    @property
    def down(self) -> bool:
        return self.health == "down"

    def open(self) -> None:
        """Keep connections from now on, until `aclose`.

        A connection belongs to its event loop. Outside the application's lifespan nobody knows how long that
        one lasts: a test client starts a new one for each request.
        """
        if isinstance(self.upstream, Upstream):
            self.upstream.keepalive = KEEPALIVE

    @property
    def figures(self) -> PoolFigures:
        """How busy the pool is; another transport does not tell."""
        if isinstance(self.upstream, Upstream):
            return self.upstream.figures
        return PoolFigures(in_use=0, idle=0, waiting=0, limit=self.settings.pool)

    async def aclose(self) -> None:
        await self.upstream.aclose()


class Directory(Mapping[str, Service]):
    """The services by name. `settings` is the same map for those who need no more than the settings."""

    CHECK_EVERY = 2.0
    """Seconds between two health checks of a service that is well."""
    RETRY_EVERY = 1.0
    """Seconds until the next check after one that failed."""
    DOWN_AFTER = 4.0
    """Seconds of failing checks that mark a service down; one that succeeds marks it up."""

    def __init__(
        self,
        services: Mapping[str, ServiceSettings],
        *,
        clock: Clock = time.monotonic,
        emit: Emit = ignore,
    ) -> None:
        self._clock = clock
        self._emit = emit
        self.settings: dict[str, ServiceSettings] = {}
        self._services: dict[str, Service] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._running = False
        for name, settings in services.items():
            self.put(name, settings)

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    # -- changes while running -------------------------------------------------------------------------------

    def put(self, name: str, settings: ServiceSettings) -> None:
        """Add a service or replace one; exchanges in flight finish on the old connections."""
        old = self._services.get(name)
        if old is not None and old.settings == settings:
            return
        service = Service(name, settings)
        self._services[name] = service
        self.settings[name] = settings
        if old is not None:
            self._retire(old)
        if self._running:
            service.open()
            self._watch(service)

    def remove(self, name: str) -> None:
        """Take a service out; raises KeyError where there is none of that name."""
        service = self._services.pop(name)
        del self.settings[name]
        if (check := self._checks.pop(name, None)) is not None:
            check.cancel()
        self._retire(service)

    def _retire(self, service: Service) -> None:
        if not self._running:
            return
        task = asyncio.ensure_future(service.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- health ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Keep connections, and begin the health checks of the services that have a health path."""
        self._running = True
        for service in self._services.values():
            service.open()
            self._watch(service)

    async def stop(self) -> None:
        self._running = False
        tasks = [*self._checks.values(), *self._closing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._checks.clear()
        for service in self._services.values():
            await service.aclose()

    def _watch(self, service: Service) -> None:
        if (old := self._checks.pop(service.name, None)) is not None:
            old.cancel()
        if service.settings.health is not None:
            self._checks[service.name] = asyncio.ensure_future(self._keep_checking(service))

    async def _keep_checking(self, service: Service) -> None:
        async with prober(service) as client:
            while True:
                ok = await self.check(service, client)
                await asyncio.sleep(self.CHECK_EVERY if ok else self.RETRY_EVERY)

    async def check(self, service: Service, client: httpx.AsyncClient) -> bool:
        """One health check; updates and returns whether the service answered 2xx."""
        try:
            response = await client.get(service.prefix.decode("ascii") + (service.settings.health or "/"))
            ok, detail = response.is_success, f"answered {response.status_code}"
        except httpx.HTTPError as error:
            # The type says what happened; the text may hold the address, which /health must not show.
            ok, detail = False, type(error).__name__
        now = service.checked = self._clock()
        service.health_detail = detail
        if ok:
            service.failing_since = None
            self._mark(service, "up", detail)
            return True
        if service.failing_since is None:
            service.failing_since = now
        if now - service.failing_since >= self.DOWN_AFTER:
            self._mark(service, "down", detail)
        return False

    def _mark(self, service: Service, health: Health, reason: str) -> None:
        if service.health != health:
            before, service.health = service.health, health
            self._emit("health", service=service.name, **{"from": before, "to": health}, reason=reason)

    async def ask(self, name: str) -> dict[str, Any]:
        """How the service is right now, checked at this moment; its recorded health is left to the checks."""
        service = self._services[name]
        started = self._clock()
        result: dict[str, Any] = {"service": name}
        if service.settings.health is None:
            port = service.url.port or {"https": 443}.get(service.url.scheme, 80)
            try:
                async with asyncio.timeout(service.connect_timeout):
                    _, writer = await asyncio.open_connection(service.url.host, port)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                ok, detail = True, "accepts connections"
            except (OSError, TimeoutError) as error:
                ok, detail = False, type(error).__name__
        else:
            async with prober(service) as client:
                try:
                    response = await client.get(service.prefix.decode("ascii") + service.settings.health)
                    ok, detail = response.is_success, f"answered {response.status_code}"
                except httpx.HTTPError as error:
                    ok, detail = False, type(error).__name__
        result |= {
            "status": "up" if ok else "down",
            "marked": service.health,
            "detail": detail,
            "duration_ms": round((self._clock() - started) * 1000, 3),
        }
        return result


def prober(service: Service) -> httpx.AsyncClient:
    """A client for health checks, on its own connection: a full pool must not look like a dead service."""
    timeout = min(2.0, service.settings.timeout)
    origin = httpx.URL(scheme=service.url.scheme, host=service.url.host, port=service.url.port)
    return httpx.AsyncClient(
        transport=Upstream(service.url, limit=1),
        base_url=origin,
        timeout=httpx.Timeout(timeout),
        headers={"user-agent": "gateway-lab-health"},
        trust_env=False,
    )
