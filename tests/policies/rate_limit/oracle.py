"""The `limits` library as a second opinion, with its clock in the test's hand."""

from __future__ import annotations

from types import SimpleNamespace

import limits
import pytest
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter


class Storage(MemoryStorage):
    """Without the thread that tidies up by the real clock."""

    def _MemoryStorage__schedule_expiry(self) -> None:
        pass


class Oracle:
    def __init__(
        self, strategy: type[RateLimiter], limit: int, window: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.now = 0.0
        monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: self.now))
        self._strategy = strategy(Storage())
        self._item = limits.RateLimitItemPerSecond(limit, window)

    def take(self, key: str, now: float) -> bool:
        self.now = now
        return self._strategy.hit(self._item, key)


__all__ = ["FixedWindowRateLimiter", "MovingWindowRateLimiter", "Oracle"]
