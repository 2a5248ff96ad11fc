"""What a fault is: data that can be written down, and the moments at which it acts on its target.

    request ──▶ [ latency ] ──▶ [ slow body ] ──▶ the service's own application
                    │                 │
                    └── each fault that strikes stands before the application, in the table's order

A fault is set on a *target*, one service process, which keeps the time by its own clock: when `ttl` seconds
are over it is gone, whoever set it and whatever became of them. `Active` is a fault while it is set.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lab.errors import UserError

if TYPE_CHECKING:
    from lab.faults.socket import Session
    from lab.faults.target import Target

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_TTL = 600.0
"""Seconds that a fault may last at most."""
HEALTH = "/health"
"""The path that a fault without a `path` of its own spares: the service is to look well while it is not."""

FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(:.*)?")
"""The name of a header field (RFC 9110 §5.6.2), and a value if one is wanted."""


class FaultError(UserError):
    """A fault that cannot be set or cleared as asked."""


class Fault(BaseModel):
    """What all faults have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    ttl: Annotated[float, Field(gt=0, le=MAX_TTL)] = 30.0
    """Seconds from when it is set until the target undoes it."""

    @property
    def label(self) -> str:
        """A few words for charts and lists."""
        return self.kind.replace("_", " ")

    async def begin(self, target: Target, active: Active) -> None:
        """It was set: what is to happen at once. Raises `FaultError` where it cannot be."""

    async def answered(self, target: Target, active: Active) -> None:
        """Whoever set it has the answer: what could not happen before."""

    async def end(self, target: Target, active: Active) -> None:
        """It was cleared, replaced, or its time is over: undo what lasts."""


class Aimed(Fault):
    """A fault that strikes single requests (or WebSockets), and the choice of which."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How likely a matching request is struck; 0 is never, 1 is always."""
    first: Annotated[int, Field(ge=1)] | None = None
    """Only so many matching requests, from when it is set, can be struck."""
    path: str | None = None
    """Only this path of the service: `*` is anything but a slash, `**` anything. None is all but /health."""
    header: str | None = None
    """Only requests with this field: `X-Api-Key`, or `X-Api-Key: alice*`, where `*` is anything."""
    seed: int | None = None
    """The same seed strikes the same requests of a sequence; None is another choice every time."""

    @field_validator("path")
    @classmethod
    def _begins_like_a_path(cls, path: str | None) -> str | None:
        if path is not None and not path.startswith(("/", "*")):
            raise ValueError("a path such as /items/* was expected")
        return path

    @field_validator("header")
    @classmethod
    def _is_a_field(cls, header: str | None) -> str | None:
        if header is not None and not FIELD.fullmatch(header):
            raise ValueError("a field such as X-Api-Key, or 'X-Api-Key: alice*', was expected")
        return header


class RequestFault(Aimed):
    """A fault that stands before the application when a request comes in."""

    async def serve(self, call: Call, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the application's place, or call it, perhaps later or with another `send`."""
        raise NotImplementedError


class SocketFault(Aimed):
    """A fault of accepted WebSockets: those that are open when it is set, and those accepted later."""

    async def begin(self, target: Target, active: Active) -> None:
        for session in list(target.sessions):
            if active.strikes(session.scope):
                self.strike(session, active)

    def strike(self, session: Session, active: Active) -> None:
        """Do it to this one, at once: other sessions and whoever sets the fault wait for it."""
        raise NotImplementedError


class ProcessFault(Fault):
    """A fault of the whole process, whatever is asked of it."""


class Active:
    """A fault while it is set on a target."""

    def __init__(self, name: str, fault: Fault, now: float) -> None:
        self.name = name
        self.fault = fault
        self.expires = now + fault.ttl
        """When it ends, in the target's monotonic seconds."""
        self.matched = 0
        """Requests that it could have struck so far."""
        self.struck = 0
        """Requests that it did strike."""
        self.ended = asyncio.Event()
        """Set when the fault is over; whoever waits on its behalf goes on."""
        self.held: Any = None
        """What the fault itself keeps while it is set."""
        seed = getattr(fault, "seed", None)
        self._dice = random.Random(seed)
        self.random = random.Random(None if seed is None else f"{seed}/extent")
        """For how hard it strikes: apart from the dice, so that one does not change the other."""
        self._path = _pattern(getattr(fault, "path", None), tree=True)
        field, _, value = (getattr(fault, "header", None) or "").partition(":")
        self._field = field.strip().lower().encode("latin-1")
        self._value = _pattern(value.strip() or None, tree=False)

    def strikes(self, scope: Scope) -> bool:
        """Whether this request is struck: match, then the first so many, then the dice."""
        fault = self.fault
        assert isinstance(fault, Aimed)
        if self.ended.is_set() or not self._matches(scope):
            return False
        if fault.first is not None and self.matched >= fault.first:
            return False
        self.matched += 1
        if self._dice.random() >= fault.probability:
            return False
        self.struck += 1
        return True

    def _matches(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == HEALTH if self._path is None else not self._path.fullmatch(path):
            return False
        if not self._field:
            return True
        values = (value for name, value in scope["headers"] if name.lower() == self._field)
        return any(self._value is None or self._value.fullmatch(v.decode("latin-1")) for v in values)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the fault is over."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self.ended.wait()
        except TimeoutError:
            pass

    def describe(self, now: float) -> dict[str, Any]:
        """For those who ask what is set."""
        data = self.fault.model_dump(exclude_none=True)
        return {
            "name": self.name,
            **data,
            "label": self.fault.label,
            "remaining": round(max(self.expires - now, 0.0), 3),
            "matched": self.matched,
            "struck": self.struck,
        }


class Call:
    """One request that a fault strikes: the fault, and the connection that it came over."""

    __slots__ = ("active", "transport")

    def __init__(self, active: Active, transport: Any) -> None:
        self.active = active
        self.transport: asyncio.Transport = transport
        """The socket's transport: uvicorn's `receive` belongs to an object that has it."""

    @property
    def over(self) -> bool:
        """Whether the fault has ended: go on as if it had never been."""
        return self.active.ended.is_set()

    @property
    def gone(self) -> bool:
        """Whether the client has gone away, or the connection was cut."""
        return self.transport is not None and self.transport.is_closing()

    async def pause(self, seconds: float = math.inf) -> None:
        """Wait so long, or until the fault is over or the client is gone (seen within half a second)."""
        while seconds > 0 and not self.over and not self.gone:
            await self.active.pause(min(seconds, 0.5))
            seconds -= 0.5


def _pattern(glob: str | None, *, tree: bool) -> re.Pattern[str] | None:
    """The glob as a regular expression; with `tree`, one star stops at a slash and two do not."""
    if glob is None:
        return None
    parts = re.split(r"(\*\*|\*)", glob)
    one = "[^/]*" if tree else ".*"
    return re.compile("".join({"**": ".*", "*": one}.get(part, re.escape(part)) for part in parts), re.DOTALL)
