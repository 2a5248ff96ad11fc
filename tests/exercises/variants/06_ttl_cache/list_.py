"""A list of entries in the order of use, and what is over is thrown out at every call."""

import re
from dataclasses import dataclass


@dataclass
class Entry:
    key: bytes
    value: object
    dies: float


class TtlCache:
    def __init__(self, ttl: float, max_entries: int):
        self.ttl = ttl
        self.max_entries = max_entries
        self.clear()

    def clear(self):
        self.entries = []

    def delete(self, key):
        self.entries = [entry for entry in self.entries if entry.key != key]

    def get(self, key, now):
        self.entries = [entry for entry in self.entries if entry.dies > now]
        for place, entry in enumerate(self.entries):
            if entry.key == key:
                self.entries.append(self.entries.pop(place))
                return entry.value
        return None

    def put(self, key, entry, now):
        self.delete(key)
        self.entries.append(Entry(key, entry, now + self.ttl))
        self.entries = [entry for entry in self.entries if entry.dies > now][-self.max_entries :]


def cache_key(service, path, query):
    return "\n".join((service, path, query))


def may_store(method, status, request_headers, response_headers):
    if method != "GET" or status != 200:
        return False
    for name in request_headers:
        if name in ("authorization", "cookie", "x-api-key"):
            return False
    for name, value in response_headers.items():
        if name in ("set-cookie", "vary"):
            return False
        if name == "cache-control" and re.search(
            r"(^|[\s,])(no-store|no-cache|private)($|[\s,=])", value, re.I
        ):
            return False
    return True
