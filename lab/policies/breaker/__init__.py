"""The circuit breaker: a service that keeps failing is left alone for a while, then asked again carefully."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, Self

from lab.model import Exchange, Handler, Response, problem
from lab.policies import Context, plug
from lab.policies.breaker.consecutive import Consecutive
from lab.policies.breaker.failure_rate import FailureRate
from lab.policies.breaker.states import Forced, State
from lab.policies.per_service import PerService
from lab.settings import BreakerSettings


class Breaker(Protocol):
    """Guards one service. Times are monotonic seconds, and never go back from one call to the next.

    A permission is any object but None that lets the breaker recognise a call when its result comes: by then
    the state may be another one. Each permission comes back exactly once, through `success`, `failure` or
    `release`.

    Three more members are used where a breaker has them: `reason`, a text that says why the state is what it
    is; `snapshot(now)`, a dict of figures for viewers; `adopt(old)`, to go on where a predecessor of the same
    class stopped.
    """

    def acquire(self, now: float) -> Any | None:
        """The permission for one call, or None: the call must not be made."""

    def success(self, permission: Any, now: float, duration: float) -> None:
        """The call succeeded; `duration` is the seconds it took to the head of the response."""

    def failure(self, permission: Any, now: float, duration: float) -> None:
        """The call failed, after so many seconds."""

    def release(self, permission: Any, now: float) -> None:
        """The call ended without a verdict on the service; a probe's place is free again."""

    def state(self, now: float) -> State:
        """`closed`, `open` or `half_open`, as it is at `now`."""

    def retry_after(self, now: float) -> float:
        """Seconds until a call will be let through."""


ALGORITHMS: dict[str, type[Any]] = {"consecutive": Consecutive, "failure_rate": FailureRate}

Verdict = Literal["success", "failure", "neither"]


def judge(response: Response) -> Verdict:
    """What the head of a response says about the service.

    A service's own 5xx is a failure, and so are the 502 and 504 that the gateway gives in its place. The
    gateway's other answers (no free connection, marked down, body too large) never came to a test.
    """
    if response.failure is None:
        return "failure" if response.status >= 500 else "success"
    return "failure" if response.status in (502, 504) else "neither"


class _Circuit:
    """A service's breaker, and what viewers were told about it."""

    __slots__ = ("core", "failures", "failures_before", "forced", "rejected", "service", "since", "state")

    def __init__(self, service: str, core: Breaker, state: State, since: float) -> None:
        self.service = service
        self.core = core
        self.state = state
        self.since = since
        self.forced = False
        self.failures = 0
        self.failures_before = 0
        """Failures up to the last change of state."""
        self.rejected = 0


class CircuitBreaker:
    """Asks the service's breaker before each exchange and tells it the result.

    It counts exchanges, not attempts: it stands outside of the retries. A failure is recorded at the head of
    the response, a success at the end of the body, since a body that breaks off is a failure too; a WebSocket
    has succeeded once it is open. A client that goes away gives the permission back.

    `core` is a class, or a function, that makes one breaker; it is called once for each service.
    """

    section: ClassVar[str] = "breaker"

    def __init__(
        self,
        options: BreakerSettings,
        context: Context,
        *,
        core: type[Breaker] | Callable[..., Breaker] | None = None,
    ) -> None:
        self._options = options
        self._clock = context.clock
        self._wall = context.wall
        self._emit = context.emit
        self._factory = plug.find(options.use, ALGORITHMS) if core is None else core
        self._ended = context.guard(self._end)
        self._released = context.guard(self._release)
        self._make()  # a class that cannot be made is reported now, not by the first request
        self._circuits = PerService(context.services, self._circuit)

    def _make(self) -> Breaker:
        breaker: Breaker = plug.construct(self._factory, **dict(self._options))  # type: ignore[arg-type]
        return breaker

    def _circuit(self, service: str) -> _Circuit:
        core = self._make()
        return _Circuit(service, core, core.state(self._clock()), self._wall())

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        circuit = self._circuits.get(exchange.service)
        if circuit is None:
            return await call_next(exchange)
        now = self._clock()
        core = circuit.core  # by the end of the call another one may stand in the circuit
        permission = core.acquire(now)
        self._watch(circuit, now)
        exchange.breaker = circuit.state
        if permission is None:
            circuit.rejected += 1
            return self._refuse(exchange, core.retry_after(now))
        try:
            response = await call_next(exchange)
        except BaseException:
            self._released(circuit, core, permission)
            raise
        duration = self._clock() - now
        verdict = judge(response)
        if verdict == "success" and response.stream is not None:
            response.on_end(partial(self._ended, circuit, core, permission, duration))
        else:
            self._settle(circuit, core, permission, verdict, duration)
        return response

    def _release(self, circuit: _Circuit, core: Breaker, permission: Any) -> None:
        self._settle(circuit, core, permission, "neither", 0.0)

    def _end(
        self, circuit: _Circuit, core: Breaker, permission: Any, duration: float, error: BaseException | None
    ) -> None:
        """The end of a body whose head looked like a success."""
        if error is None:
            verdict: Verdict = "success"
        else:
            verdict = "neither" if isinstance(error, asyncio.CancelledError) else "failure"
        self._settle(circuit, core, permission, verdict, duration)

    def _settle(
        self, circuit: _Circuit, core: Breaker, permission: Any, verdict: Verdict, duration: float
    ) -> None:
        """Give a permission back with its result."""
        now = self._clock()
        if verdict == "success":
            core.success(permission, now, duration)
        elif verdict == "failure":
            circuit.failures += 1
            core.failure(permission, now, duration)
        else:
            core.release(permission, now)
        self._watch(circuit, now)

    def _watch(self, circuit: _Circuit, now: float, reason: str | None = None) -> None:
        """Tell the viewers of a change of state; asked after every step, so that none is missed."""
        state = circuit.core.state(now)
        if state == circuit.state:
            return
        before, circuit.state = circuit.state, state
        circuit.since = self._wall()
        circuit.failures_before = circuit.failures
        if reason is None:
            reason = str(getattr(circuit.core, "reason", ""))
        self._emit("breaker", service=circuit.service, **{"from": before, "to": state, "reason": reason})

    def _refuse(self, exchange: Exchange, retry_after: float) -> Response:
        # `destination_unavailable` (RFC 9209 §2.3.4): the next hop is taken to be down and was not asked.
        refusal = problem(
            503,
            "circuit-open",
            "The service has been failing and is not asked for the moment.",
            service=exchange.service,
            retry_after=retry_after,
            failure="destination_unavailable",
        )
        fallback = self._options.fallback
        if fallback is None or exchange.kind == "websocket":
            return refusal
        content = fallback.body.encode()
        headers = [
            (b"content-type", fallback.content_type.encode("ascii")),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"no-store"),
            *(field for field in refusal.headers if field[0] in (b"retry-after", b"proxy-status")),
        ]
        return Response(fallback.status, headers, content, failure=refusal.failure)

    def force(self, service: str, state: Literal["open", "closed", "auto"]) -> None:
        """Hold the service's breaker open or closed; `auto` lets it work again, closed and with no memory.

        `auto` leaves a breaker alone that is not held. Raises KeyError where there is no such service and
        ValueError where there is no such state.
        """
        if state not in ("open", "closed", "auto"):
            raise ValueError(f"'{state}' is no state to force; valid: open, closed, auto")
        circuit = self._circuits.get(service)
        if circuit is None:
            raise KeyError(service)
        if state != "auto":
            circuit.forced = True
            circuit.core = Forced(state, self._options.open_for)
            self._watch(circuit, self._clock())
        elif circuit.forced:
            circuit.forced = False
            circuit.core = self._make()
            self._watch(circuit, self._clock(), "no longer forced")

    @classmethod
    def prove(cls, options: BreakerSettings, context: Context) -> None:
        """Open and half-open what `options.use` names once, guarding nothing.

        Raises `PlugError` at a broken promise.
        """
        breaker = cls(options, context)._make()
        expect = partial(plug.promise, options.use)
        expect(*plug.methods(breaker, Breaker))
        state = breaker.state(0.0)
        expect(state == "closed", f"the state of a new breaker is {state!r}, not 'closed'")
        permission = breaker.acquire(0.0)
        expect(permission is not None, "acquire() of a new breaker gives no permission")
        breaker.success(permission, 0.0, 0.01)
        breaker.release(breaker.acquire(0.0), 0.0)
        most = max(1000, options.failures, options.window)
        failures = 0
        while (permission := breaker.acquire(0.0)) is not None and failures < most:
            breaker.failure(permission, 0.0, 0.01)
            failures += 1
        expect(permission is None, f"acquire() still gives permissions after {most} failures in a row")
        state = breaker.state(0.0)
        expect(state == "open", f"the state of a breaker that refuses is {state!r}, not 'open'")
        wait = breaker.retry_after(0.0)
        expect(0 < wait < math.inf, f"retry_after() of an open breaker is {wait!r}, seconds were expected")
        later = wait + 0.001
        probe = breaker.acquire(later)
        expect(probe is not None, f"retry_after() was {wait:g} s, but then acquire() gives no permission")
        state = breaker.state(later)
        expect(state == "half_open", f"the state of a breaker with a probe out is {state!r}, not 'half_open'")

    def snapshot(self) -> dict[str, Any]:
        """Per service: the state, since when (Unix seconds), failures, refusals, and the core's own figures.

        Looking is also how viewers hear that the wait of an idle service is over.
        """
        now = self._clock()
        services: dict[str, Any] = {}
        for name, circuit in self._circuits.items():
            self._watch(circuit, now)
            own = getattr(circuit.core, "snapshot", None)
            services[name] = {
                "state": circuit.state,
                "forced": circuit.forced,
                "since": circuit.since,
                "failures": circuit.failures - circuit.failures_before,
                "failures_total": circuit.failures,
                "rejected": circuit.rejected,
                "retry_after": circuit.core.retry_after(now),
                **({} if own is None else own(now)),
            }
        return {"services": services}

    def adopt(self, old: Self) -> None:
        """Take over totals and forced states, and the breakers' own state where the class is the same."""
        adopted = dict(self._circuits.items())
        for name, before in old._circuits.items():
            circuit = adopted[name]
            circuit.state = before.state
            circuit.since = before.since
            circuit.failures = before.failures
            circuit.failures_before = before.failures_before
            circuit.rejected = before.rejected
            circuit.forced = before.forced
            if before.forced:
                circuit.core = before.core
            elif type(before.core) is type(circuit.core) and hasattr(circuit.core, "adopt"):
                circuit.core.adopt(before.core)
            self._watch(circuit, self._clock(), "another breaker took over")
