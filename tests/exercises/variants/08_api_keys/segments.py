"""Globs by fnmatch, segment by segment; keys compared one by one in constant time."""

import hmac
from fnmatch import fnmatchcase

from lab.model import Response


def matches(glob, path):
    wanted, given = glob.split("/"), path.split("/")
    if wanted[-1] == "**":
        del wanted[-1]
        given = given[: len(wanted)]
    if len(wanted) != len(given):
        return False
    return all(
        fnmatchcase(g, w.replace("[", "[[]").replace("?", "[?]")) for w, g in zip(wanted, given, strict=True)
    )


class Authentication:
    def __init__(self, keys, public):
        self.keys, self.public = keys, public

    def find(self, shown):
        found = None
        for key in self.keys:
            if hmac.compare_digest(key["key"].encode(), shown) and key.get("active") is not False:
                found = key
        return found

    async def __call__(self, exchange, call_next):
        shown, others = [], []
        for name, value in exchange.headers:
            (shown if name == b"x-api-key" else others).append((name, value))
        key = self.find(shown[0][1]) if len(shown) == 1 else None
        public = any(matches(glob, exchange.path) for glob in self.public)
        exchange.identity = key and key["name"]
        if not public and not key:
            return Response(401, [(b"www-authenticate", b"ApiKey"), (b"content-length", b"0")])
        if not public and not self.may(key, exchange.method, exchange.path):
            return Response(403, [(b"content-length", b"0")])
        exchange.headers = others
        return await call_next(exchange)

    def may(self, key, method, path):
        for entry in key["allow"]:
            verb, _, glob = entry.partition(" ")
            if verb in ("*", method, {"HEAD": "GET"}.get(method)) and matches(glob, path):
                return True
        return False
