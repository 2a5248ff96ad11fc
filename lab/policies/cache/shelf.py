"""Where entries lie: variants under a key, bounded in number and in bytes, the least used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from lab.policies.cache.entry import Entry

MAX_BYTES = 64 * 1024 * 1024
MAX_VARIANTS = 16
"""Variants under one key: a client invents values for a header more cheaply than we store them."""
SHOWN = 50


class Shelf:
    """Entries by key. Using a key keeps it; the key that was not used for longest is evicted first."""

    def __init__(self, max_entries: int, max_bytes: int = MAX_BYTES) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self.count = 0
        self._keys: OrderedDict[bytes, list[Entry]] = OrderedDict()

    def __iter__(self) -> Iterator[Entry]:
        """All entries, the least recently used key first."""
        return (entry for variants in self._keys.values() for entry in variants)

    def get(self, key: bytes) -> list[Entry] | None:
        """The variants under a key, the newest first."""
        variants = self._keys.get(key)
        if variants is not None:
            self._keys.move_to_end(key)
        return variants

    def put(self, entry: Entry) -> None:
        """Keep an entry in place of the one for the same variant and owner."""
        variants = self._keys.get(entry.key, [])
        for old in variants:
            if old.vary == entry.vary and old.selected == entry.selected and old.owner == entry.owner:
                self.drop(old)
                break
        while len(variants) >= MAX_VARIANTS:
            self.drop(variants[-1])
        self._keys.setdefault(entry.key, variants).insert(0, entry)
        self._keys.move_to_end(entry.key)
        self.count += 1
        self.bytes += entry.size
        while self.count > self.max_entries or self.bytes > self.max_bytes:
            self.drop(next(iter(self._keys.values()))[-1])

    def drop(self, entry: Entry) -> None:
        """Forget one entry; one that is not there is no error."""
        variants = self._keys.get(entry.key, [])
        if entry not in variants:
            return
        variants.remove(entry)
        if not variants:
            del self._keys[entry.key]
        self.count -= 1
        self.bytes -= entry.size

    def purge(self, key: bytes) -> int:
        variants = list(self._keys.get(key, ()))
        for entry in variants:
            self.drop(entry)
        return len(variants)

    def keys(self) -> list[bytes]:
        return list(self._keys)

    def clear(self) -> int:
        count, self.count, self.bytes = self.count, 0, 0
        self._keys.clear()
        return count

    def snapshot(self, now: float) -> dict[str, Any]:
        """Figures, and the entries with the most hits, at most `SHOWN`."""
        top = sorted(self, key=lambda entry: -entry.hits)[:SHOWN]
        return {
            "entries": self.count,
            "max_entries": self.max_entries,
            "bytes": self.bytes,
            "max_bytes": self.max_bytes,
            "top": [
                {
                    "key": entry.key.decode("latin-1"),
                    "status": entry.status,
                    "age": round(now - entry.born, 3),
                    "ttl": round(entry.born + entry.lifetime - now, 3),
                    "hits": entry.hits,
                    "bytes": entry.size,
                }
                for entry in top
            ],
        }
