# rejected by: test_without_a_valid_key_it_is_401
# recognised as: leak
# Lists the valid keys in the error, to be helpful.
from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from lab.model import Exchange, Handler, Response, problem


def matches(glob: str, path: str) -> bool:
    """Whether the path is one of those that the glob means."""
    tree = glob.endswith("/**")
    pattern = "[^/]*".join(re.escape(part) for part in glob.removesuffix("/**").split("*"))
    return re.fullmatch(pattern + ("(/.*)?" if tree else ""), path) is not None


class Authentication:
    """Who is asking (401), and may they (403)?"""

    def __init__(self, keys: list[dict[str, Any]], public: list[str]) -> None:
        # By digest: the time that a look-up takes then says nothing about how much of a guess was right.
        self._keys = {
            sha256(key["key"].encode()).digest(): key for key in keys if key.get("active", True)
        }
        self._public = public

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        shown = [value for name, value in exchange.headers if name == b"x-api-key"]
        # Of two keys somebody else might mean the other one: neither counts.
        key = self._keys.get(sha256(shown[0]).digest()) if len(shown) == 1 else None
        if key is not None:
            exchange.identity = key["name"]
        if not any(matches(glob, exchange.path) for glob in self._public):
            if key is None:
                challenge = [(b"www-authenticate", b'ApiKey realm="gateway"')]
                known = " ".join(key["key"] for key in self._keys.values())
                detail = f"The key is not one of {known}."
                return problem(401, "unauthorized", detail, headers=challenge)
            if not allowed(key, exchange):
                return problem(403, "forbidden", "This key does not allow that.")
        exchange.headers = [field for field in exchange.headers if field[0] != b"x-api-key"]
        return await call_next(exchange)


def allowed(key: dict[str, Any], exchange: Exchange) -> bool:
    """Whether one of the key's entries covers the request."""
    methods = {"*", exchange.method}
    if exchange.method == "HEAD":
        methods.add("GET")  # it asks for a part of what GET gives (RFC 9110 §9.3.2)
    for entry in key["allow"]:
        method, glob = entry.split(" ")
        if method in methods and matches(glob, exchange.path):
            return True
    return False
