"""The trouble that the keys make, and its end: faults of the services, and one load at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lab.errors import UserError
from lab.notes import Notes

if TYPE_CHECKING:
    from lab.faults.client import FaultClient, Report
    from lab.load.runner import Figures, LoadRun

QUICK: dict[str, dict[str, Any]] = {
    "latency": {"kind": "latency", "ms": 800, "jitter": 200},
    "error": {"kind": "error", "status": 500},
    "hang": {"kind": "hang"},
    "refuse": {"kind": "refuse"},
    "kill": {"kind": "kill"},
}
"""The commonest faults, which have a key each; all of them last the usual 30 seconds."""


class Trouble:
    """Faults and load for the stack whose services are `services` (name → address).

    `changed` is called whenever there is something new to draw.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        url: str,
        token: str,
        *,
        faults: FaultClient | None = None,
        make_load: Callable[..., LoadRun] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.services = dict(services)
        self.load: LoadRun | None = None
        """The load that runs."""
        self.figures: Figures | None = None
        """The newest of the load that runs, or the last ones of the one that ran."""
        self._url = url
        self._token = token
        self._faults = faults
        self._make_load = make_load
        self._clock = clock
        self._set: list[tuple[str, Report, float]] = []

    @cached_property
    def faults(self) -> FaultClient:
        """The line to the services; 0.1 s to import, so not before the first paint."""
        from lab.faults.client import FaultClient

        return self._faults or FaultClient(self.services, Notes(self._url, self._token, "fault"))

    # -- faults ----------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Open the line to the services and learn what is set there: the first key would wait for it."""
        await asyncio.to_thread(import_module, "lab.faults.client")
        with contextlib.suppress(UserError):  # they may not be there yet
            await self.refresh()

    async def refresh(self) -> None:
        """Ask the services what is set. Raises `FaultError`."""
        found = await self.faults.list()
        now = self._clock()
        self._set = [(service, each, now + each["remaining"]) for service in found for each in found[service]]

    def active(self) -> list[tuple[str, Report, float]]:
        """What was set when it was last asked and is not over: service, report, seconds left."""
        now = self._clock()
        return [(service, report, end - now) for service, report, end in self._set if end > now]

    async def set(self, service: str, fault: Mapping[str, Any]) -> None:
        """Set a fault; one of its kind that is set there is replaced. Raises `FaultError`."""
        await self.faults.set(service, fault)
        await self.refresh()

    async def clear(self, service: str | None = None, name: str | None = None) -> None:
        """Clear one fault, all of a service, or all. Raises `FaultError`."""
        await self.faults.clear(service, name)
        await self.refresh()

    def quick(self) -> list[str]:
        """Which faults are set on the first service, as far as is known."""
        first = next(iter(self.services))
        return [str(each["name"]) for service, each, _ in self.active() if service == first]

    async def toggle(self, kind: str) -> None:
        """One of `QUICK` on the first service, or off again where it is set."""
        service = next(iter(self.services))
        await self.refresh()
        if kind in self.quick():
            await self.clear(service, kind)
        else:
            await self.set(service, QUICK[kind])

    # -- load ------------------------------------------------------------------------------------------------

    async def run_load(self, changed: Callable[[], None], **wanted: Any) -> None:
        """Run a load from its start to its end. Raises `LoadError` where it cannot be run as asked."""
        from lab.load.runner import LoadRun

        make = self._make_load or LoadRun
        run = make(self._url, notes=Notes(self._url, self._token, "load"), **wanted)
        if self.load is not None:
            await self.stop_load()
        self.load, self.figures = run, None
        changed()
        try:
            await run.start()
            async for figures in run.figures():
                self.figures = figures
                changed()
        except UserError:
            if self.load is run:  # else it was stopped before it had begun
                raise
        finally:
            if self.load is run:  # else whoever stopped it does so, and tells the viewers
                self.load = None
                await run.stop()
            changed()

    async def stop_load(self, grace: float | None = None) -> None:
        """Stop it; with a `grace` of 0 seconds it is killed at once, and its last figures are lost."""
        run, self.load = self.load, None
        if run is not None:
            await (run.stop() if grace is None else run.stop(grace))

    # -- the end of all of it --------------------------------------------------------------------------------

    async def panic(self) -> None:
        """Undo every fault and stop the load, at once and side by side. Raises what went wrong first."""
        stopping = asyncio.create_task(self.stop_load(0))
        await asyncio.sleep(0)  # it is killed before the line to the services is used, or even imported
        done = await asyncio.gather(stopping, self.faults.clear(), return_exceptions=True)
        self._set = []
        for result in done:
            if isinstance(result, BaseException):
                raise result

    async def aclose(self) -> None:
        """Stop the load; faults end by themselves."""
        await self.stop_load(0)
        await self.faults.aclose()
