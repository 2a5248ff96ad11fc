"""The bulkhead: at most so many exchanges in flight per service: a slow one cannot sink the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol, Self

from lab.model import Exchange, Handler, Response, problem
from lab.policies import Context, plug
from lab.policies.per_service import PerService
from lab.settings import BulkheadSettings

RETRY_AFTER = 1.0
"""Seconds a refused client is told to wait: a place may be free at any moment, nobody knows which."""


class Compartment(Protocol):
    """Counts one service's exchanges in flight."""

    def acquire(self) -> bool:
        """Take a place; False where none is free."""

    def release(self) -> None:
        """Give the place back; called once for each True of `acquire`."""


class Semaphore:
    """`max_concurrent` places (1 or more). Nobody queues: who waits for a slow service is already too many.

    After Nygard, "Release It!", ch. 5, and resilience4j's SemaphoreBulkhead with no waiting time.
    """

    def __init__(self, max_concurrent: int = 1000) -> None:
        self.max_concurrent = max_concurrent
        self.in_flight = 0

    def acquire(self) -> bool:
        if self.in_flight >= self.max_concurrent:
            return False
        self.in_flight += 1
        return True

    def release(self) -> None:
        self.in_flight -= 1


ALGORITHMS: dict[str, type[Any]] = {"semaphore": Semaphore}


class _Tracked:
    """A service's compartment and its figures."""

    __slots__ = ("core", "in_flight", "rejected")

    def __init__(self, core: Compartment) -> None:
        self.core = core
        self.in_flight = 0
        self.rejected = 0


class Bulkhead:
    """Holds a place from the request until the last byte of the response; a WebSocket, while it is open.

    `core` is a class, or a function, that makes one compartment; it is called once for each service.
    """

    section: ClassVar[str] = "bulkhead"

    def __init__(
        self,
        options: BulkheadSettings,
        context: Context,
        *,
        core: type[Compartment] | Callable[..., Compartment] | None = None,
    ) -> None:
        self._options = options
        self._factory = plug.find(options.use, ALGORITHMS) if core is None else core
        self._left = context.guard(self._leave)
        self._make("")  # a class that cannot be made is reported now, not by the first request
        self._compartments = PerService(context.services, self._make)

    def _make(self, service: str) -> _Tracked:
        return _Tracked(plug.construct(self._factory, **dict(self._options)))  # type: ignore[arg-type]

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        compartment = self._compartments.get(exchange.service)
        if compartment is None:
            return await call_next(exchange)
        if not compartment.core.acquire():
            compartment.rejected += 1
            # `connection_limit_reached` is RFC 9209's word (§2.3.12) for a limit of the gateway's own.
            return problem(
                503,
                "too-many-in-flight",
                "Too many requests to the service are in flight.",
                service=exchange.service,
                retry_after=RETRY_AFTER,
                failure="connection_limit_reached",
            )
        compartment.in_flight += 1
        try:
            response = await call_next(exchange)
        except BaseException:
            self._left(compartment)
            raise
        response.on_end(partial(self._left, compartment))
        return response

    def _leave(self, compartment: _Tracked, error: BaseException | None = None) -> None:
        compartment.in_flight -= 1
        compartment.core.release()

    @classmethod
    def prove(cls, options: BulkheadSettings, context: Context) -> None:
        """Fill what `options.use` names, guarding nothing. Raises `PlugError` at a broken promise."""
        core = cls(options, context)._make("").core
        plug.promise(options.use, *plug.methods(core, Compartment))
        limit = options.max_concurrent
        places = 0
        while places <= limit and core.acquire():
            places += 1
        plug.promise(options.use, places > 0, "acquire() gives no place in an empty compartment")
        plug.promise(options.use, places <= limit, f"acquire() gives more than {limit} places")
        core.release()
        plug.promise(options.use, core.acquire(), "a place that was given back is not given again")

    def snapshot(self) -> dict[str, Any]:
        """Per service: exchanges in flight and how many were turned away."""
        services = {
            name: {"in_flight": compartment.in_flight, "rejected": compartment.rejected}
            for name, compartment in self._compartments.items()
        }
        return {"services": services, "max_concurrent": self._options.max_concurrent}

    def adopt(self, old: Self) -> None:
        """Go on with the figures of `old` and, where both count alike, with its exchanges in flight."""
        adopted = dict(self._compartments.items())
        for name, before in old._compartments.items():
            if isinstance(before.core, Semaphore) and isinstance(adopted[name].core, Semaphore):
                # The compartment itself moves, since those inside give their places back to it.
                before.core.max_concurrent = self._options.max_concurrent
                self._compartments.put(name, before)
            else:
                adopted[name].rejected = before.rejected
