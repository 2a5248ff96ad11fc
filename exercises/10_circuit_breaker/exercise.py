"""Exercise 10, circuit breaker: leave a failing service alone, then ask it carefully. README.md has the task."""

from __future__ import annotations

from typing import Any

from lab.policies.breaker.states import State


class Consecutive:
    """Opens after `failures` failed calls in a row; after `open_for` seconds `probes` calls decide.

    closed      every call is let through; `failures` failures in a row open it
    open        no call is let through; `open_for` seconds after it opened it is half-open
    half_open   `probes` calls are let through, no more. All of them succeed: closed. One fails: open again.
    """

    def __init__(self, failures: int = 5, open_for: float = 10.0, probes: int = 3) -> None:
        self.failures = failures
        self.open_for = open_for
        self.probes = probes
        # TODO: what has to be remembered?

    def acquire(self, now: float) -> Any | None:
        """The permission for one call at `now` (seconds of a clock that only grows), or None: refused.

        A permission may be anything but None. It comes back once, through one of the next three methods,
        maybe much later: let it tell you in which state it was given.
        """
        # TODO
        raise NotImplementedError

    def success(self, permission: Any, now: float, duration: float) -> None:
        """The permitted call succeeded; it took `duration` seconds (which this breaker does not need)."""
        # TODO
        raise NotImplementedError

    def failure(self, permission: Any, now: float, duration: float) -> None:
        """The permitted call failed."""
        # TODO
        raise NotImplementedError

    def release(self, permission: Any, now: float) -> None:
        """The permitted call ended without saying anything about the service: its client went away."""
        # TODO
        raise NotImplementedError

    def state(self, now: float) -> State:
        """`"closed"`, `"open"` or `"half_open"`, as it is at `now`."""
        # TODO
        raise NotImplementedError

    def retry_after(self, now: float) -> float:
        """Seconds until a call is let through: 0.0 where one would be now, else what is left of the wait.

        Half-open with all probes on their way, nobody knows: anything above 0, up to `open_for`.
        """
        # TODO
        raise NotImplementedError
