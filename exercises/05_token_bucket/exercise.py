"""Exercise 05, token bucket: bursts are welcome, the rate is what counts. README.md has the task."""

from __future__ import annotations

from collections.abc import Hashable

from lab.policies.rate_limit.limiter import Verdict


class TokenBucket:
    """A bucket of `limit` tokens for each key; a request takes one, and `limit` come back every `window` seconds.

    The tokens come back one after the other at a steady rate, not all at once.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        # TODO: what has to be remembered about each key's bucket?

    def take(self, key: Hashable, now: float) -> Verdict:
        """Admit or refuse one request of `key` at `now` (seconds of a clock that only grows).

        Verdict(
            admitted,           # True or False
            limit,              # the size of the bucket
            remaining,          # how many more would be admitted right now: whole tokens
            reset,              # seconds until one more than `remaining` would be
            retry_after,        # seconds until a request is admitted again; 0.0 where this one was
        )
        """
        # TODO: put in what has come back since last time; then take a token, or refuse.
        raise NotImplementedError
