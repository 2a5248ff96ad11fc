"""The three states of a circuit breaker, as a table, and what all table-driven breakers share."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

State = Literal["closed", "open", "half_open"]
Event = Literal["threshold_reached", "wait_over", "probe_failed", "probes_succeeded"]

TABLE: dict[tuple[State, Event], State] = {
    ("closed", "threshold_reached"): "open",
    ("open", "wait_over"): "half_open",
    ("half_open", "probe_failed"): "open",
    ("half_open", "probes_succeeded"): "closed",
}
"""(state, event) → next state. What is not in it cannot happen."""


class Permission(NamedTuple):
    """The leave to make one call; it comes back with the call's result.

    Every change of state begins a new generation, so a result says by its permission which state the call
    was let through in.
    """

    generation: int
    turn: int
    """Counts, within a half-open state, how often probes were given up as lost."""


class StateBreaker:
    """A breaker that follows `TABLE`. A subclass decides when enough calls of the closed state have failed.

    `open_for`: seconds (above 0) that an open breaker waits before it lets probes through, and after which
    a probe that has not come back is taken as lost. `probes`: calls let through half-open (1 or more), all of
    which must succeed.

    After Nygard, "Release It!", ch. 5; terms and half-open limits after resilience4j's CircuitBreaker.
    """

    def __init__(self, open_for: float, probes: int) -> None:
        self.open_for = open_for
        self.probes = probes
        self.reason = ""
        """Why the breaker is in the state it is in."""
        self._state: State = "closed"
        self._permission = Permission(generation=1, turn=1)
        self._until = 0.0  # open: the end of the wait; half-open: when the probes in flight count as lost
        self._in_flight = 0  # probes of this turn without a result
        self._succeeded = 0

    def acquire(self, now: float) -> Permission | None:
        """The permission for one call, or None: the call must not be made."""
        if self._state == "closed":
            return self._permission
        if self.state(now) == "open" or self.retry_after(now) > 0:
            return None
        if self._in_flight + self._succeeded >= self.probes:
            # Nothing has been heard of a probe for so long that its place goes to another one.
            self._permission = self._permission._replace(turn=self._permission.turn + 1)
            self._in_flight = 0
        self._in_flight += 1
        self._until = now + self.open_for
        return self._permission

    def success(self, permission: Permission, now: float, duration: float) -> None:
        """The permitted call succeeded, after `duration` seconds."""
        self._record(permission, now, duration, failed=False)

    def failure(self, permission: Permission, now: float, duration: float) -> None:
        """The permitted call failed, after `duration` seconds."""
        self._record(permission, now, duration, failed=True)

    def release(self, permission: Permission, now: float) -> None:
        """The permitted call ended without saying anything about the service: its client went away."""
        if permission == self._permission and self._state == "half_open":
            self._in_flight -= 1

    def state(self, now: float) -> State:
        """The state at `now`; an open breaker whose wait is over is half-open from here on."""
        if self._state == "open" and now >= self._until:
            self._move("wait_over", now, f"was open for {self.open_for:g} s")
        return self._state

    def retry_after(self, now: float) -> float:
        """Seconds until a call will be let through if nothing else happens; 0.0: one would be now."""
        if self._state == "closed":
            return 0.0
        if self._state == "half_open" and self._in_flight + self._succeeded < self.probes:
            return 0.0
        return max(0.0, self._until - now)

    def snapshot(self, now: float) -> dict[str, Any]:
        """What a viewer wants to know about the current state."""
        return {"probes_in_flight": self._in_flight, "probes_succeeded": self._succeeded}

    def adopt(self, old: Self) -> None:
        """Go on in the state of `old`. Probes in flight stay with `old`: their places are given anew."""
        self.reason = old.reason
        self._state = old._state
        self._until = old._until

    def _record(self, permission: Permission, now: float, duration: float, *, failed: bool) -> None:
        if permission.generation != self._permission.generation:
            return  # late: the call was let through in an earlier state
        if self._state == "closed":
            if (reason := self._count(now, failed, duration)) is not None:
                self._move("threshold_reached", now, reason)
        elif failed or self._slow(duration):
            self._move("probe_failed", now, "a probe failed" if failed else "a probe was slow")
        else:
            if permission == self._permission:
                self._in_flight -= 1
            self._succeeded += 1
            if self._succeeded >= self.probes:
                self._move("probes_succeeded", now, f"{self._succeeded} of {self.probes} probes succeeded")

    def _move(self, event: Event, now: float, reason: str) -> None:
        self._state = TABLE[self._state, event]
        self._permission = Permission(self._permission.generation + 1, turn=1)
        self._until = now + self.open_for
        self._in_flight = self._succeeded = 0
        self.reason = reason
        self._forget()

    # -- what a subclass decides -----------------------------------------------------------------------------

    def _count(self, now: float, failed: bool, duration: float) -> str | None:
        """Count a call of the closed state; the reason to open, or None."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Begin to count afresh."""
        raise NotImplementedError

    def _slow(self, duration: float) -> bool:
        """Whether a probe that succeeded took too long to be believed."""
        return False


class Forced:
    """A breaker that an operator holds open or closed, whatever becomes of the calls."""

    def __init__(self, state: Literal["open", "closed"], retry_after: float) -> None:
        self._state: State = state
        self._retry_after = 0.0 if state == "closed" else retry_after
        self.reason = f"forced {state}"

    def acquire(self, now: float) -> object | None:
        return None if self._state == "open" else self

    def success(self, permission: object, now: float, duration: float) -> None:
        pass

    def failure(self, permission: object, now: float, duration: float) -> None:
        pass

    def release(self, permission: object, now: float) -> None:
        pass

    def state(self, now: float) -> State:
        return self._state

    def retry_after(self, now: float) -> float:
        return self._retry_after
