"""The target: the wrapper around a service's application that makes faults happen, and undoes them.

    app = faulty(api)

Without a fault it costs a request one more call. Connections are reached through uvicorn, whose `receive`
belongs to an object that holds the transport; under another server only what ASGI can do is possible.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from lab.faults.control import Control
from lab.faults.listener import Listener
from lab.faults.model import (
    Active,
    ASGIApp,
    Call,
    Fault,
    FaultError,
    Receive,
    RequestFault,
    Scope,
    Send,
    SocketFault,
)
from lab.faults.registry import ORDER
from lab.faults.socket import Session

MAX_FAULTS = 50
"""Faults that may be set at a time."""
REMEMBERED = 20
"""Faults that have ended and can still be asked for."""


class Target:
    """A service's application, and the faults that are set on it."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self.clock = clock
        self.active: dict[str, Active] = {}
        self.ended: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        """Faults that ended by themselves, the newest last: `name`, `label`, and how many seconds `late`."""
        self.sessions: set[Session] = set()
        """WebSockets that are open."""
        self.control: ASGIApp = Control(self)
        self._config: Any = None
        self._listener: Listener | None = None
        self._requests: tuple[Active, ...] = ()
        self._sockets: tuple[Active, ...] = ()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.app, name)  # what else the application has, such as FastAPI's `openapi`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            self._config = getattr(getattr(receive, "__self__", None), "config", None)
        elif scope["path"].startswith("/_faults") and Control.is_addressed(scope):
            return await self.control(scope, receive, send)
        elif kind == "websocket":
            return await self._websocket(scope, receive, send)
        elif self._requests:
            return await self._struck(scope, receive)(scope, receive, send)
        return await self.app(scope, receive, send)

    def _struck(self, scope: Scope, receive: Receive) -> ASGIApp:
        """The application, behind those faults that strike this request."""
        app = self.app
        for active in reversed([active for active in self._requests if active.strikes(scope)]):
            app = _before(app, active, getattr(getattr(receive, "__self__", None), "transport", None))
        return app

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = Session(scope, receive, send)

        async def talk(scope: Scope, receive: Receive, send: Send) -> None:
            await session.run(self.app, self._accepted)

        app: ASGIApp = talk
        for active in reversed([a for a in self._requests if a.fault.kind in HANDSHAKE and a.strikes(scope)]):
            app = _before(app, active, getattr(getattr(receive, "__self__", None), "transport", None))
        try:
            await app(scope, receive, send)
        finally:
            self.sessions.discard(session)

    def _accepted(self, session: Session) -> None:
        self.sessions.add(session)
        for active in self._sockets:
            if active.strikes(session.scope):
                assert isinstance(active.fault, SocketFault)
                active.fault.strike(session, active)

    # -- setting and clearing ------------------------------------------------------------------------------

    @property
    def listener(self) -> Listener:
        """The listening sockets. Raises `FaultError` where uvicorn is not the server."""
        if self._listener is None:
            if not hasattr(self._config, "http_protocol_class"):
                raise FaultError("this fault needs a service that was started by uvicorn")
            self._listener = Listener(self._config)
        return self._listener

    async def set(self, name: str, fault: Fault) -> Active:
        """Set `fault` under `name`, in the place of what had that name. Raises `FaultError`."""
        await self.clear(name)
        async with self._changing:
            if len(self.active) >= MAX_FAULTS:
                raise FaultError(f"{MAX_FAULTS} faults are set already; clear some")
            if fault.kind in ALONE and any(
                active.fault.kind == fault.kind for active in self.active.values()
            ):
                raise FaultError(f"'{fault.kind}' is set already; clear it first")
            if fault.kind in WIRE:
                assert self.listener
            active = Active(name, fault, self.clock())
            await fault.begin(self, active)
            self.active[name] = active
            self._sort()
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(fault.ttl, self._expired, name, active)
        return active

    async def clear(self, name: str | None = None, only: Active | None = None) -> list[Active]:
        """Undo the fault of this name, or all of them; with `only`, where it still is that one."""
        async with self._changing:
            names = list(self.active) if name is None else [name]
            gone = [self.active[n] for n in names if n in self.active and only in (None, self.active[n])]
            for active in gone:
                del self.active[active.name]
                self._timers.pop(active.name).cancel()
                active.ended.set()
            self._sort()
            for active in gone:
                await active.fault.end(self, active)
                late = self.clock() - active.expires
                if only is not None or late >= 0:  # the loop's clock, which wakes it, may be a bit ahead
                    late = max(round(late, 3), 0.0)
                    ended = {"name": active.name, "label": active.fault.label, "late": late}
                    self.ended.append(ended)
        return gone

    def after_answer(self, active: Active) -> None:
        """What remains to be done when whoever set a fault has the answer."""
        self._spawn(active.fault.answered(self, active))

    def _expired(self, name: str, active: Active) -> None:
        self._spawn(self.clear(name, active))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    def _sort(self) -> None:
        ordered = sorted(self.active.values(), key=lambda active: ORDER[active.fault.kind])
        self._requests = tuple(a for a in ordered if isinstance(a.fault, RequestFault))
        self._sockets = tuple(a for a in ordered if isinstance(a.fault, SocketFault))


HANDSHAKE = frozenset({"latency", "hang", "reset", "garbage", "error"})
"""Faults of requests that strike the handshake of a WebSocket too."""
ALONE = frozenset({"refuse", "stop", "kill"})
"""Faults of which a process can have one at a time."""
WIRE = frozenset({"reset", "garbage", "truncate", "ws_cut", "ws_freeze", "refuse", "stop"})
"""Faults below ASGI, for which the server must be uvicorn."""


def _before(app: ASGIApp, active: Active, transport: Any) -> ASGIApp:
    fault = active.fault
    assert isinstance(fault, RequestFault)
    call = Call(active, transport)

    async def struck(scope: Scope, receive: Receive, send: Send) -> None:
        await fault.serve(call, app, scope, receive, send)

    return struck


def faulty(app: ASGIApp) -> Target:
    """`app`, on which faults can be set over HTTP from this machine: `PUT /_faults/{name}`.

    It must be the outermost layer, what the server calls: FastAPI and much middleware hide the server's
    `receive`.
    """
    return Target(app)
