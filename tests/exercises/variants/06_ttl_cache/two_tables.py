"""Ages in one table, a counter of uses in another; what is expired goes first."""

import itertools


class TtlCache:
    def __init__(self, ttl=30.0, max_entries=1024):
        self._ttl, self._room = ttl, max_entries
        self._entries, self._ages, self._used = {}, {}, {}
        self._turn = itertools.count()

    def _expired(self, key, now):
        return self._ages[key] + self._ttl <= now

    def get(self, key, now):
        if key not in self._entries:
            return None
        if self._expired(key, now):
            self.delete(key)
            return None
        self._used[key] = next(self._turn)
        return self._entries[key]

    def put(self, key, entry, now):
        if not self._ttl:
            return
        self._entries[key], self._ages[key], self._used[key] = entry, now, next(self._turn)
        if len(self._entries) > self._room:
            old = [known for known in self._entries if self._expired(known, now)]
            for victim in old or [min(self._used, key=self._used.__getitem__)]:
                self.delete(victim)

    def delete(self, key):
        for table in (self._entries, self._ages, self._used):
            table.pop(key, None)

    def clear(self):
        for table in (self._entries, self._ages, self._used):
            table.clear()


def cache_key(service, path, query):
    return repr((service, path, query))


def may_store(method, status, request_headers, response_headers):
    said = [
        part.split("=")[0].strip().lower() for part in response_headers.get("cache-control", "").split(",")
    ]
    return (
        (method, status) == ("GET", 200)
        and not any(name in request_headers for name in ("cookie", "authorization", "x-api-key"))
        and not any(name in response_headers for name in ("set-cookie", "vary"))
        and not any(word in said for word in ("private", "no-cache", "no-store"))
    )
