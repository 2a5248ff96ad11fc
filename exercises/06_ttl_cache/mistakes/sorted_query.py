# rejected by: test_different_resources_have_different_keys
# recognised as: key-too-small
# Sorts the query, as if the order could never matter.
from collections import OrderedDict
from typing import Any


class TtlCache:
    def __init__(self, ttl: float, max_entries: int) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        self._table: OrderedDict[bytes, tuple[float, Any]] = OrderedDict()

    def get(self, key: bytes, now: float) -> Any:
        if key not in self._table:
            return None
        put_at, entry = self._table[key]
        if now - put_at >= self.ttl:
            del self._table[key]
            return None
        self._table.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Any, now: float) -> None:
        if self.ttl <= 0:
            return
        self._table[key] = (now, entry)
        self._table.move_to_end(key)
        if len(self._table) > self.max_entries:
            self._table.popitem(last=False)

    def delete(self, key: bytes) -> None:
        self._table.pop(key, None)

    def clear(self) -> None:
        self._table.clear()


def cache_key(service: str, path: str, query: str) -> str:
    return f"{service}{path}?" + "&".join(sorted(query.split("&")))


UNSTORABLE = {"no-store", "no-cache", "private"}
PERSONAL = {"authorization", "cookie", "x-api-key"}


def may_store(
    method: str, status: int, request_headers: dict[str, str], response_headers: dict[str, str]
) -> bool:
    if method != "GET" or status != 200:
        return False
    if PERSONAL & request_headers.keys():
        return False
    if "set-cookie" in response_headers or "vary" in response_headers:
        return False
    directives = response_headers.get("cache-control", "").lower().split(",")
    return not UNSTORABLE & {directive.partition("=")[0].strip() for directive in directives}
