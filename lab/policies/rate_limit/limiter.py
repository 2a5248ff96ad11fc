"""What a rate limiter is: one question, one answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Verdict:
    """The answer to one request. (A dataclass with slots is the cheapest of the records Python has.)"""

    admitted: bool
    limit: int
    """Requests per window."""
    remaining: int
    """How many more requests would be admitted right now."""
    reset: float
    """Seconds until at least one more than `remaining` would be admitted."""
    retry_after: float = 0.0
    """Seconds until a request is admitted again; 0 where this one was."""


class Limiter(Protocol):
    """An algorithm that counts requests per key. It does no I/O and gets the time as an argument.

    It is made with those of `limit` (requests, at least 1), `window` (seconds, more than 0) and `max_clients`
    (keys, at least 1) that its constructor names. `take` is synchronous: nothing else runs between its look
    at the counter and its change of it, so of any number of concurrent requests exactly `limit` are admitted.
    """

    def take(self, key: Hashable, now: float) -> Verdict:
        """Admit or refuse one request of `key` at `now`, in seconds of a clock that only grows."""
