"""Exercise 04, sliding window: never more than the limit, in any window. README.md has the task."""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class SlidingWindow:
    """At most `limit` requests of each key in any `window` seconds, wherever those seconds begin."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        # TODO: two numbers a key are no longer enough. What is?

    def take(self, key: Hashable, now: float) -> Verdict:
        """Admit or refuse one request of `key` at `now` (seconds of a clock that only grows).

        Verdict(
            admitted,           # True or False
            limit,              # requests per window
            remaining,          # how many more would be admitted right now
            reset,              # seconds until one more than `remaining` would be
            retry_after,        # seconds until a request is admitted again; 0.0 where this one was
        )
        """
        # TODO: forget what is a window old; then admit and remember, or refuse.
        raise NotImplementedError
