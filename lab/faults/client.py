"""Setting faults from outside: what the command line, the dashboard and the scenarios use.

async with FaultClient({"service-a": "http://127.0.0.1:8001"}) as faults:
    await faults.set("service-a", {"kind": "latency", "ms": 300, "ttl": 10})
    await faults.clear()
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lab.faults.listener import side_door
from lab.faults.model import Fault, FaultError
from lab.faults.registry import parse
from lab.launcher import runfile
from lab.notes import Notes
from lab.settings import nearest

if TYPE_CHECKING:
    import httpx

TIMEOUT = 3.0
"""Seconds that a target has to answer."""
SIDE_TIMEOUT = 1.0

Report = dict[str, Any]
"""A fault that is set: its data, `name`, `label`, `remaining` seconds, requests `matched` and `struck`."""
Reports = list[Report]


class FaultClient:
    """Sets, lists and clears faults on `services`: name → address (`http://127.0.0.1:8001`).

    With `notes`, the gateway's viewers are told. Everything raises `FaultError`, one line, where a service
    refuses or cannot be reached. It may be used from one asyncio loop.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        notes: Notes | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._services = dict(services)
        self._notes = notes
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    @classmethod
    def of_running(cls) -> FaultClient:
        """For the services of the stack that runs. Raises `FaultError` where none does."""
        run = runfile.read()
        if run is None:
            raise FaultError("no lab runs that could be given a fault; start one with: lab up")
        services = {name: url for name, url in run.urls.items() if name != "gateway"}
        return cls(services, Notes.of(run, "fault"))

    async def set(self, service: str, fault: Fault | Mapping[str, Any], name: str | None = None) -> Report:
        """Set a fault, under `name` (by default its kind); what had that name there is replaced."""
        if not isinstance(fault, Fault):
            fault = parse(fault)
        name = name or fault.kind
        url = self._url(service)
        report = await self._at_open_door(service, url, "PUT", name, fault.model_dump(exclude_none=True))
        await self._note("started", fault.label, service, time.time() + fault.ttl)
        return report

    async def clear(self, service: str | None = None, name: str | None = None) -> dict[str, Reports]:
        """Clear one fault, all of a service, or all of all; what was cleared, by service.

        A service that is not there has no faults: it is left out, unless it was the one asked for.
        """
        if service is not None:
            return {service: await self._clear(service, name)}
        results = await asyncio.gather(
            *(self._clear(s, name) for s in self._services), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Absent):
                raise result
        answers = zip(self._services, results, strict=True)
        return {each: result for each, result in answers if not isinstance(result, BaseException)}

    async def list(self) -> dict[str, Reports]:
        """What is set, by service; services that are not there are left out."""

        async def ask(service: str) -> Reports | None:
            try:
                answer = await self._at_open_door(service, self._url(service), "GET")
            except Absent:
                return None
            faults: Reports = answer["faults"]
            return faults

        answers = await asyncio.gather(*(ask(service) for service in self._services))
        return {s: a for s, a in zip(self._services, answers, strict=True) if a is not None}

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._notes is not None:
            await self._notes.aclose()

    async def __aenter__(self) -> FaultClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- behind it -------------------------------------------------------------------------------------------

    def _url(self, service: str) -> str:
        if service not in self._services:
            raise FaultError(f"no service is called {service!r}; {nearest(service, self._services)}")
        return self._services[service]

    async def _clear(self, service: str, name: str | None) -> Reports:
        """Through both doors: behind a stopped process's side door there is only its watchdog."""
        url = self._url(service)
        cleared: Reports = []
        side = side_door(url)
        answer = await self._ask(service, side, "DELETE", name, timeout=SIDE_TIMEOUT) if side else None
        if answer is not None:
            cleared += answer["cleared"]
        there = answer is not None
        answer = await self._ask(service, url, "DELETE", name)
        if answer is not None:
            known = {report["name"] for report in cleared}
            cleared += [report for report in answer["cleared"] if report["name"] not in known]
        elif not there:
            raise Absent(f"{service} cannot be reached at {url}; is it running?")
        for report in cleared:
            await self._note("stopped", report["label"], service, None)
        return cleared

    async def _at_open_door(
        self, service: str, url: str, method: str, name: str | None = None, data: Report | None = None
    ) -> Report:
        """Ask the side door where it is open, else the service's own."""
        side = side_door(url)
        answer = await self._ask(service, side, method, name, data, timeout=SIDE_TIMEOUT) if side else None
        if answer is None:
            answer = await self._ask(service, url, method, name, data)
        if answer is None:
            raise Absent(f"{service} cannot be reached at {url}; is it running?")
        return answer

    async def _ask(
        self,
        service: str,
        door: str,
        method: str,
        name: str | None = None,
        data: Report | None = None,
        timeout: float = TIMEOUT,
    ) -> Report | None:
        """One request; None where nobody listens at that door."""
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_keepalive_connections=0)  # a fault may cut what is kept
            self._client = httpx.AsyncClient(
                verify=False, trust_env=False, limits=limits, transport=self._transport
            )
        url = f"{door}/_faults" + (f"/{quote(name, safe='')}" if name else "")
        try:
            answer = await self._client.request(method, url, json=data, timeout=timeout)
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
            return None
        except httpx.TimeoutException:
            raise FaultError(f"{service} does not answer within {timeout:g} s at {url}") from None
        except httpx.HTTPError as error:
            raise FaultError(f"{service} cannot be asked at {url}: {type(error).__name__}") from None
        try:
            if answer.status_code in (200, 409, 422):  # what a target answers; a 404 is somebody else's
                report: Report = answer.json()
                if answer.status_code == 200:
                    return report
                raise FaultError(f"{service}: {report['detail']}")
        except (ValueError, KeyError, TypeError):
            pass
        raise FaultError(f"what answers at {url} is no service of the lab: {answer.status_code}")

    async def _note(self, action: str, label: str, service: str, until: float | None) -> None:
        if self._notes is not None:
            await self._notes.post(action, label, service, until)


class Absent(FaultError):
    """The service is not there, so that it has no faults."""
