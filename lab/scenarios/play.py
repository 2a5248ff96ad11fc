"""What a script can do: set policies, services and faults, send traffic, wait for what is to be seen.

Everything that a play changes is put back at its end, also after an error or Ctrl-C. How it was before is
written down (`lab/launcher/undo.py`), so that a child can put it back where the runner was killed. Faults
have a time to live that their target keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import websockets
from websockets.asyncio.client import connect

from lab.errors import UserError
from lab.faults.client import FaultClient
from lab.faults.model import FaultError
from lab.launcher import undo
from lab.load import clients, direct
from lab.load.clients import Visitor
from lab.load.direct import Outcome, Request
from lab.scenarios.backend import Backend
from lab.scenarios.model import Scenario
from lab.scenarios.recording import Recording

PLAIN: dict[str, dict[str, Any]] = {
    "auth": {"enabled": False},
    "rate_limit": {"enabled": False, "use": "sliding_window"},
    "cache": {"enabled": False, "use": "http"},
    "bulkhead": {"enabled": False},
    "breaker": {"enabled": False, "use": "consecutive", "options": {"fallback": None}},
    "retry": {
        "enabled": True,
        "options": {"backoff": 0.05, "backoff_max": 1.0, "budget_percent": 20, "budget_minimum": 10},
    },
}
"""What each play starts from: the bare gateway. (Without the retry stage there is no deadline.)"""

OTHER = {"rate_limit": "token_bucket", "cache": "ttl", "breaker": "failure_rate"}
"""Algorithms to switch to and back: a policy that changes its algorithm begins with no memory."""

LINGER = 2.0
"""Seconds for which the end of a play stands where people look on: some are over in half a second."""
LONGEST = 30.0
"""Seconds that a play may take."""
FAULT_TTL = 20.0
"""Seconds; longer than any play, shorter than anyone's patience with a runner that was killed."""

NOBODY = Visitor(None)
"""Who asks where it does not matter."""

THINGS = ("faults", "policies", "load")
"""What can be left out of a play on purpose, to see that its expectations can fail."""


class NotSeen(Exception):
    """What a script waited for did not come; the text says what it was."""


class Play:
    """One play on the gateway at `url`, without (`cured` False) or with the cure.

    `services` are the addresses of the real services, for faults. `kill` kills and restarts one of their
    processes. `folder` is where the undo file goes; None where the stack ends with the play. `without` names
    `THINGS` to leave out. Raises `UserError` where the gateway cannot be controlled.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        cured: bool = False,
        services: dict[str, str] | None = None,
        kill: Callable[[str], Awaitable[None]] | None = None,
        folder: Path | None = None,
        without: Collection[str] = (),
        seed: int = 1,
    ) -> None:
        self.url = url
        self.cured = cured
        self.recording = Recording()
        self.dice = random.Random(seed)
        self.seed = seed
        self.backends: dict[str, Backend] = {}
        self._token = token
        self._services = services or {}
        self._kill = kill
        self._folder = folder
        self._without = frozenset(without)
        self._clients: dict[tuple[str | None, float], direct.Client] = {}
        self._visitors = clients.numbers()
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- from beginning to end -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def on(self, scenario: Scenario) -> AsyncIterator[Play]:
        """The play, with the scenario's policies set; afterwards all is as it was."""
        async with contextlib.AsyncExitStack() as stack:
            limits = httpx.Limits(max_keepalive_connections=4)
            self._http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=self.url, timeout=5, limits=limits, trust_env=False)
            )
            self._stack = stack
            if self._folder is not None:
                await stack.enter_async_context(undo.guard(self._folder))
            title = f"{scenario.title}, {'with' if self.cured else 'without'} the cure"
            await self._note("started", title, "scenario", for_=LONGEST)
            stack.push_async_callback(self._note_if_possible, "stopped", title)
            stack.push_async_callback(self._restore, await self._written_down())
            self.faults = await stack.enter_async_context(FaultClient(self._services))
            stack.push_async_callback(self._clear_faults)
            await self._set_up(scenario)
            await stack.enter_async_context(self._feed())
            stack.callback(self._close_clients)
            stack.push_async_callback(self.let_go)
            yield self

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the gateway's admin API. Raises `UserError` with what it answered where it refuses."""
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = await self._http.request(method, "/admin" + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise UserError(f"the gateway at {self.url} cannot be asked: {type(error).__name__}") from None
        if not answer.is_success:
            raise UserError(f"{method} /admin{path} → {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    async def _written_down(self) -> undo.Before:
        """How the gateway is set now, also on disk where it outlives us."""
        before = await undo.now(self.url, self.control)
        if self._folder is not None:
            undo.write(before, self._folder)
        return before

    async def _restore(self, before: undo.Before) -> None:
        await undo.restore(before, self.control)
        if self._folder is not None:
            undo.forget(self._folder)

    async def _set_up(self, scenario: Scenario) -> None:
        for name, policy in PLAIN.items():
            if name in OTHER:
                await self.policy(name, enabled=False, use=OTHER[name], plain=True)
            await self.policy(name, plain=True, **policy)
        await self.control("DELETE", "/cache")
        for name, policy in scenario.policies(self.cured).items():
            await self.policy(name, **policy)

    @contextlib.asynccontextmanager
    async def _feed(self) -> AsyncIterator[None]:
        address = urlsplit(self.url)._replace(scheme="ws").geturl() + "/admin/events"
        token = {"Authorization": f"Bearer {self._token}"}
        async with connect(address, additional_headers=token, proxy=None, max_size=None) as socket:
            self.recording.begin(json.loads(await socket.recv()))
            listener = asyncio.create_task(self._listen(socket))
            try:
                yield
            finally:
                listener.cancel()

    async def _listen(self, socket: websockets.ClientConnection) -> None:
        async for message in socket:
            self.recording.hear(json.loads(message))

    async def look(self) -> None:
        """Bring the recording's figures up to this moment."""
        self.recording.hear(await self.control("GET", "/snapshot"))

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()

    async def let_go(self) -> None:
        """Break off what still goes on beside the script."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _clear_faults(self) -> None:
        # Where a service cannot be reached just now its faults end by themselves, at their time to live.
        with contextlib.suppress(FaultError, UserError):
            await self.mend()

    def left_out(self, thing: str) -> bool:
        """Whether this play is to go without one of `THINGS`."""
        return thing in self._without

    # -- the gateway -----------------------------------------------------------------------------------------

    async def policy(
        self,
        name: str,
        *,
        enabled: bool = True,
        use: str | None = None,
        options: dict[str, Any] | None = None,
        plain: bool = False,
    ) -> None:
        """Switch, swap or tune a policy."""
        if "policies" in self._without and not plain:
            return
        change = {"enabled": enabled, "use": use, "options": options}
        kept = {key: value for key, value in change.items() if value is not None}
        await self.control("PUT", f"/policies/{name}", kept)

    async def service(self, name: str, **settings: Any) -> None:
        """Add a service to the gateway, or change one."""
        await self.control("PUT", f"/services/{name}", settings)

    def address(self, service: str) -> str:
        """Where a real service listens, to put it behind the gateway under a further name."""
        return self._services[service]

    async def backend(self, name: str, backend: Backend, **settings: Any) -> Backend:
        """Start `backend` and put it behind the gateway as `name`. It keeps no memory of an earlier play."""
        await self._stack.enter_async_context(backend)
        self.backends[name] = backend
        await self.service(name, url=backend.url, **settings)
        return backend

    # -- faults ----------------------------------------------------------------------------------------------

    async def fault(self, service: str, kind: str, *, name: str | None = None, **data: Any) -> None:
        """Break a real service. Raises `FaultError`."""
        if "faults" in self._without:
            return
        data = {"kind": kind, "ttl": FAULT_TTL, **data}
        if "probability" in data:
            data.setdefault("seed", self.seed)
        report = await self.faults.set(service, data, name)
        await self._note("started", report["label"], "fault", service, for_=report["remaining"])

    async def mend(self, service: str | None = None, name: str | None = None) -> None:
        """Clear faults: one, those of a service, or all."""
        if "faults" in self._without:
            return
        cleared = await self.faults.clear(service, name)
        for each, reports in cleared.items():
            for report in reports:
                await self._note("stopped", report["label"], "fault", each)

    async def kill(self, service: str) -> None:
        """Kill a service's process; its launcher starts it again."""
        if "faults" in self._without:
            return
        if self._kill is not None:
            await self._kill(service)
        else:
            await self.faults.set(service, {"kind": "kill", "ttl": 1})
        await self._note("started", "killed", "fault", service, for_=2.0)

    def strike(self, change: Callable[[], None]) -> None:
        """Break or mend a `Backend`, which is changed directly; left out together with the faults."""
        if "faults" not in self._without:
            change()

    # -- telling ---------------------------------------------------------------------------------------------

    async def say(self, text: str) -> None:
        """Tell the gateway's viewers where the play is."""
        await self._note("says", text, "scenario")

    async def linger(self) -> None:
        """Let those who look on see how it ended, before all is put back."""
        if self._folder is not None:
            await self.pause(LINGER)

    async def _note(
        self, action: str, text: str, source: str, service: str = "", for_: float | None = None
    ) -> None:
        note: dict[str, Any] = {"action": action, "text": text, "source": source, "service": service}
        if for_ is not None:
            note["until"] = time.time() + for_
        await self.control("POST", "/notes", note)

    async def _note_if_possible(self, action: str, text: str) -> None:
        with contextlib.suppress(UserError):  # at the end nobody waits for it
            await self._note(action, text, "scenario")

    # -- traffic ---------------------------------------------------------------------------------------------

    async def get(
        self, path: str, tag: str = "", *, client: Visitor = NOBODY, timeout: float = 10.0
    ) -> Outcome:
        """One request; the outcome, which is recorded, also where it failed."""
        request = Request(path, headers=client.headers, tag=tag)
        if "load" in self._without:
            return Outcome(request)
        outcome = await self._client(client.source, timeout).send(request)
        self.recording.add(outcome)
        return outcome

    async def burst(
        self, count: int, path: str, tag: str = "", *, client: Visitor = NOBODY, timeout: float = 10.0
    ) -> list[Outcome]:
        """`count` requests at once; in `path`, `{n}` is replaced by the number of the request."""
        sent = (self.get(path.format(n=n), tag, client=client, timeout=timeout) for n in range(count))
        return await asyncio.gather(*sent)

    async def together(self, work: Iterable[Awaitable[Any]]) -> None:
        """Several things at once, until all are done."""
        await asyncio.gather(*work)

    def client(self) -> Visitor:
        """A client that has not asked yet, for `get` and `burst`."""
        return clients.visitor(next(self._visitors), own_address=clients.own_addresses(self.url))

    def meanwhile(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Do something beside the script; what is not over at the end of the play is broken off."""
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        return task

    async def until(self, what: str, check: Callable[[Recording], bool], within: float = 8.0) -> None:
        """Wait for something to be seen. Raises `NotSeen` where it does not come within so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self.recording.until(lambda: check(self.recording))
        except TimeoutError:
            raise NotSeen(f"{what}: not seen within {within:g} s") from None

    async def pause(self, seconds: float) -> None:
        """Time that passes in the story: between requests, or until a window is over."""
        await asyncio.sleep(seconds)

    async def measure(self, name: str, figure: Callable[[Recording], float]) -> None:
        """Keep a figure of this moment, for the comparison without and with the cure."""
        await self.look()
        self.recording.figures[name] = figure(self.recording)

    def _client(self, source: str | None, timeout: float) -> direct.Client:
        if (source, timeout) not in self._clients:
            self._clients[source, timeout] = direct.Client(self.url, timeout, source)
        return self._clients[source, timeout]
