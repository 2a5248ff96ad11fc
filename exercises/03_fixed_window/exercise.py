"""Exercise 03, fixed window: at most so many requests per client and window. README.md has the task."""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class FixedWindow:
    """At most `limit` requests of each key in a window of `window` seconds.

    A key's window begins with its first request. It ends `window` seconds later; the next request of the key
    then begins a new one.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        # TODO: what has to be remembered about each key?

    def take(self, key: Hashable, now: float) -> Verdict:
        """Admit or refuse one request of `key` at `now` (seconds of a clock that only grows).

        Verdict(
            admitted,           # True or False
            limit,              # requests per window
            remaining,          # how many more would be admitted right now
            reset,              # seconds until this key's window ends
            retry_after,        # seconds until a request is admitted again; 0.0 where this one was
        )
        """
        # TODO: find the key's window, or begin a new one; then count, or refuse.
        raise NotImplementedError
