# rejected by: test_a_success_starts_the_count_again
# recognised as: not-in-a-row
# Counts all failures since it closed: a success in between does not start from zero.
from __future__ import annotations

from lab.policies.breaker.states import State


class Consecutive:
    """Opens after `failures` failed calls in a row; after `open_for` seconds `probes` calls decide."""

    def __init__(self, failures: int = 5, open_for: float = 10.0, probes: int = 3) -> None:
        self.failures = failures
        self.open_for = open_for
        self.probes = probes
        # Each state that is entered is a new era, and a permission is the number of the era that gave it.
        self._era = 0
        self._enter("closed")

    def acquire(self, now: float) -> int | None:
        state = self.state(now)
        if state == "open":
            return None
        if state == "half_open":
            if not self._places():
                return None
            self._out += 1
        return self._era

    def success(self, permission: int, now: float, duration: float) -> None:
        if permission != self._era:
            return
        if self._state == "closed":
            return
        self._out -= 1
        self._succeeded += 1
        if self._succeeded == self.probes:
            self._enter("closed")

    def failure(self, permission: int, now: float, duration: float) -> None:
        if permission != self._era:
            return
        self._in_a_row += 1
        if self._state == "half_open" or self._in_a_row == self.failures:
            self._until = now + self.open_for
            self._enter("open")

    def release(self, permission: int, now: float) -> None:
        if permission == self._era:
            self._out -= 1

    def state(self, now: float) -> State:
        # There is no timer: whoever asks first after the wait finds that it is over.
        if self._state == "open" and now >= self._until:
            self._enter("half_open")
        return self._state

    def retry_after(self, now: float) -> float:
        if self.state(now) == "open":
            return self._until - now
        # With all probes on their way nobody knows; a longer wait than after a failure it will not be.
        return 0.0 if self._places() else self.open_for

    def _places(self) -> int:
        """How many more probes may be let through now."""
        return self.probes - self._out - self._succeeded

    def _enter(self, state: State) -> None:
        self._state: State = state
        self._era += 1
        self._in_a_row = self._out = self._succeeded = 0
