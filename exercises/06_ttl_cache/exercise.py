"""Exercise 06, TTL cache: an answer that is known need not be asked for again. README.md has the task."""

from __future__ import annotations

from typing import Any


class TtlCache:
    """At most `max_entries` things, each for `ttl` seconds; the one not used for longest makes room."""

    def __init__(self, ttl: float, max_entries: int) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        # TODO: what is remembered about each key? And how is the one found that was not used for longest?

    def get(self, key: bytes, now: float) -> Any:
        """What was put under `key` less than `ttl` seconds ago, or None."""
        # TODO
        raise NotImplementedError

    def put(self, key: bytes, entry: Any, now: float) -> None:
        """Keep `entry` under `key`, in place of what was there. With a `ttl` of 0 nothing is kept."""
        # TODO
        raise NotImplementedError

    def delete(self, key: bytes) -> None:
        """Forget `key`; one that is not there is no error."""
        # TODO
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything."""
        # TODO
        raise NotImplementedError


def cache_key(service: str, path: str, query: str) -> str:
    """Under which key the answer to such a request is kept: equal for the same resource, else different.

    `path` begins with a slash; it and `query` (without its question mark, "" where there is none) are as the
    client sent them.
    """
    # TODO
    raise NotImplementedError


def may_store(
    method: str, status: int, request_headers: dict[str, str], response_headers: dict[str, str]
) -> bool:
    """Whether the answer may be kept and given to anyone who asks the same. Header names are in lower case."""
    # TODO
    raise NotImplementedError
