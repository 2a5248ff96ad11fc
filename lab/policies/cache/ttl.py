"""`use: ttl`: the textbook cache. A table; what is in it is good for `ttl` seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class TtlCache:
    """At most `max_entries` things, each for `ttl` seconds; the one that was not used for longest goes first.

    Every method takes constant time. An entry that expired is found out when it is asked for.
    """

    def __init__(self, ttl: float = 30.0, max_entries: int = 1024) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        self._table: OrderedDict[bytes, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def get(self, key: bytes, now: float) -> Any:
        """What was put under `key` less than `ttl` seconds ago, or None."""
        found = self._table.get(key)
        if found is None:
            return None
        put_at, entry = found
        if now - put_at >= self.ttl:
            del self._table[key]
            return None
        self._table.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Any, now: float) -> None:
        """Keep `entry` under `key`, in place of what was there."""
        if self.ttl <= 0:
            return
        self._table[key] = (now, entry)
        self._table.move_to_end(key)
        if len(self._table) > self.max_entries:
            self._table.popitem(last=False)

    def delete(self, key: bytes) -> None:
        """Forget `key`; one that is not there is no error."""
        self._table.pop(key, None)

    def clear(self) -> None:
        self._table.clear()

    def adopt(self, old: TtlCache) -> None:
        """Go on with what another cache holds, as far as there is room."""
        for key, (put_at, entry) in old._table.items():
            self.put(key, entry, put_at)
