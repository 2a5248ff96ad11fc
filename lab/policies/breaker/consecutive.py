"""Opens after so many failures in a row: the textbook breaker."""

from __future__ import annotations

from typing import Any, Self

from lab.policies.breaker.states import StateBreaker


class Consecutive(StateBreaker):
    """Opens after `failures` (1 or more) failed calls in a row; one success in between starts from zero.

    Good for a service that is up or down. A service that fails every other call never opens it: that takes a
    failure rate. Parameters `open_for` and `probes` as in `StateBreaker`.
    """

    def __init__(self, failures: int = 5, open_for: float = 10.0, probes: int = 3) -> None:
        super().__init__(open_for, probes)
        self.failures = failures
        self._run = 0

    def _count(self, now: float, failed: bool, duration: float) -> str | None:
        self._run = self._run + 1 if failed else 0
        return f"{self._run} failures in a row" if self._run >= self.failures else None

    def _forget(self) -> None:
        self._run = 0

    def snapshot(self, now: float) -> dict[str, Any]:
        return {"failures": self._run, **super().snapshot(now)}

    def adopt(self, old: Self) -> None:
        super().adopt(old)
        self._run = old._run
