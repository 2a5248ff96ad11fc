"""From a simple table to a cache of HTTP responses: what a `Store` needs around it to be safe."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sized
from typing import Any

from lab.model import Exchange, Response
from lab.policies.cache import fields, rules
from lab.policies.cache.core import Decision, Store, Verdict, authorized, key_of
from lab.policies.cache.entry import Entry
from lab.policies.cache.shelf import MAX_BYTES


class Lifted:
    """A `Store` as a `CacheCore`.

    Stored are 200 answers to GET, whatever they say about freshness, except where sharing them would be
    wrong: private, no-store, no-cache, Set-Cookie, Vary, a request with credentials or with a cookie.
    Nothing is revalidated and nothing is served stale. The table decides how long an entry lives and which
    go first. A student's table may forget its bound: past `MAX_BYTES`, and past twice `max_entries`, the
    oldest keys are deleted from here.
    """

    def __init__(self, store: Store, ttl: float = 30.0, max_entries: int = 1024) -> None:
        self.store = store
        self.ttl = ttl
        self._max_keys = 2 * max_entries
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        self._bytes = 0

    def lookup(self, exchange: Exchange, now: float) -> Decision:
        key = key_of(exchange)
        conditional = any(name in _CONDITIONS for name, _ in exchange.headers)
        if not _plain(exchange):
            return Decision(Verdict.BYPASS, why=b"bypass", key=key)
        plain = exchange.method == "GET" and not conditional
        entry = self.store.get(key, now)
        if entry is not None:
            entry.hits += 1
            return Decision(Verdict.HIT, entry, key=key, plain=plain)
        self._forget(key)
        return Decision(Verdict.FORWARD, why=b"uri-miss", key=key, plain=plain, collapse=key)

    def fits(self, entry: Entry, exchange: Exchange) -> bool:
        return _plain(exchange)

    def admit(
        self, exchange: Exchange, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        if response.status != 200 or response.failure is not None or self.ttl <= 0:
            return None
        cache_control = fields.combined(response.headers, b"cache-control")
        said = fields.directives(cache_control) if cache_control is not None else {}
        if not said.keys().isdisjoint(("private", "no-store", "no-cache")):
            return None
        if any(name in (b"set-cookie", b"vary") for name, _ in response.headers):
            return None
        headers = rules.dated(rules.storable_fields(response.headers), wall)
        return Entry(key_of(exchange), 200, headers, born=now, lifetime=self.ttl, date=wall, wall=wall)

    def put(self, entry: Entry) -> None:
        self._forget(entry.key)
        self.store.put(entry.key, entry, entry.born)
        self._sizes[entry.key] = entry.size
        self._bytes += entry.size
        while self._bytes > MAX_BYTES or len(self._sizes) > self._max_keys:
            oldest = next(iter(self._sizes))
            self._forget(oldest)
            self.store.delete(oldest)

    def _forget(self, key: bytes) -> None:
        self._bytes -= self._sizes.pop(key, 0)

    def update(
        self, entry: Entry, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        return entry  # HEAD passed through: nothing is known of versions here

    def drop(self, entry: Entry) -> None:
        self.purge(entry.key)

    def invalidate(self, exchange: Exchange, response: Response, address: str) -> set[bytes]:
        self.purge(key_of(exchange))
        return {key_of(exchange)}

    def purge(self, key: bytes) -> int:
        known = key in self._sizes
        self._forget(key)
        self.store.delete(key)
        return int(known)

    def stored(self) -> list[bytes]:
        return list(self._sizes)

    def clear(self) -> int:
        count = len(self._sizes)
        self._sizes.clear()
        self._bytes = 0
        self.store.clear()
        return count

    def adopt(self, old: Lifted) -> None:
        """Keep the entries where the table knows how to (an `adopt` of its own)."""
        if hasattr(self.store, "adopt"):
            self.store.adopt(old.store)
            self._sizes, self._bytes = old._sizes.copy(), old._bytes

    def snapshot(self, now: float) -> dict[str, Any]:
        return {
            "entries": len(self.store) if isinstance(self.store, Sized) else len(self._sizes),
            "bytes": self._bytes,
            "max_bytes": MAX_BYTES,
            "top": [],
        }


_CONDITIONS = frozenset({b"range", b"if-none-match", b"if-modified-since"})


def _plain(exchange: Exchange) -> bool:
    """Whether the request is one that a simple cache may have to do with."""
    if not exchange.body.empty or exchange.identity is not None or authorized(exchange):
        return False
    return not any(name in (b"cookie", b"if-match", b"if-unmodified-since") for name, _ in exchange.headers)
