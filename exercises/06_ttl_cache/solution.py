"""Exercise 06, TTL cache: the worked solution."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class TtlCache:
    """At most `max_entries` things, each for `ttl` seconds; the one not used for longest makes room."""

    def __init__(self, ttl: float, max_entries: int) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        # Key → when it was put there, and what. The order is that of use: the least recently used is first.
        self._table: OrderedDict[bytes, tuple[float, Any]] = OrderedDict()

    def get(self, key: bytes, now: float) -> Any:
        """What was put under `key` less than `ttl` seconds ago, or None."""
        if key not in self._table:
            return None
        put_at, entry = self._table[key]
        if now - put_at >= self.ttl:
            del self._table[key]
            return None
        self._table.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Any, now: float) -> None:
        """Keep `entry` under `key`, in place of what was there. With a `ttl` of 0 nothing is kept."""
        if not self.ttl:
            return
        self._table[key] = (now, entry)
        self._table.move_to_end(key)
        if len(self._table) > self.max_entries:
            self._table.popitem(last=False)

    def delete(self, key: bytes) -> None:
        """Forget `key`; one that is not there is no error."""
        self._table.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._table.clear()


def cache_key(service: str, path: str, query: str) -> str:
    """Service, path and query, byte for byte: only the service knows which differences mean nothing."""
    # No service's name has a slash and no path a question mark, so no two requests run together.
    return f"{service}{path}?{query}"


UNSTORABLE = {"no-store", "no-cache", "private"}
PERSONAL = {"authorization", "cookie", "x-api-key"}


def may_store(
    method: str, status: int, request_headers: dict[str, str], response_headers: dict[str, str]
) -> bool:
    """Whether the answer may be kept and given to anyone who asks the same."""
    if method != "GET" or status != 200:
        return False
    if PERSONAL & request_headers.keys():
        return False
    if "set-cookie" in response_headers or "vary" in response_headers:
        return False
    directives = response_headers.get("cache-control", "").lower().split(",")
    return not UNSTORABLE & {directive.partition("=")[0].strip() for directive in directives}
