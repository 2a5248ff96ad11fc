"""Authentication by API key: who asks (401), and may they (403)? RFC 9110 §11 and §15.5.

The key travels in `X-API-Key`. What goes on from here is the name of the key, in `exchange.identity`: the
limiter counts by it and the service is told it in `X-Gateway-Client`. The key itself stays here.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, ClassVar, Self

from lab.model import Exchange, Handler, Headers, Response, problem
from lab.policies import Context
from lab.policies.matching import Matcher, matcher
from lab.settings import AuthSettings, ConfigError, KeySettings

CHALLENGE: Headers = [(b"www-authenticate", b'ApiKey realm="gateway-lab"')]
"""A 401 has to say how to do better (RFC 9110 §11.6.1)."""


class Authentication:
    """The stage: looks the shown key up, and compares what is asked with what the key allows.

    Keys are known by their SHA-256 alone, and the digest of what was shown is looked up in a table. How much
    of a guess is right makes no difference to the time: one character more changes the whole digest, so the
    time a comparison of digests takes tells nothing that would bring the next guess nearer.

    Missing, unknown, switched off, or more than one: 401, and nobody learns which. On a `public` path nobody
    is refused, and a valid key still tells who asks. Where GET is allowed, so is HEAD: it asks for a part of
    the same (RFC 9110 §9.3.2). A WebSocket handshake is a GET.
    """

    section: ClassVar[str] = "auth"

    def __init__(self, options: AuthSettings, context: Context, *, core: Any = None) -> None:
        """There is nothing to choose here: `core` is not used. Raises `lab.settings.ConfigError`."""
        self._keys: dict[bytes, Key] = {}
        for i, settings in enumerate(options.keys):
            digest = _digest(settings.key, f"auth.keys[{i}].key")
            if digest in self._keys:
                other = self._keys[digest].name
                raise ConfigError(f"auth.keys[{i}].key: '{settings.name}' has the same key as '{other}'")
            self._keys[digest] = Key(settings)
        self._public_globs = options.public
        self._public = [matcher(glob) for glob in options.public]
        self.unauthorized = 0
        self.forbidden = 0

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        shown = [value for name, value in exchange.headers if name == b"x-api-key"]
        # Of two keys, the service or a log might mean the other one: neither counts.
        key = self._keys.get(sha256(shown[0]).digest()) if len(shown) == 1 else None
        if key is not None and not key.active:
            key = None
        if key is not None:
            exchange.identity = key.name
            key.used += 1
            if key.allows(exchange.method, exchange.path):
                return await call_next(exchange)
        for public in self._public:
            if public(exchange.path):
                return await call_next(exchange)
        if key is None:
            self.unauthorized += 1
            detail = "A valid API key is needed, once, in the header X-API-Key."
            return problem(401, "unauthorized", detail, service=exchange.service or None, headers=CHALLENGE)
        self.forbidden += 1
        detail = f"The key '{key.name}' does not allow {exchange.method} here."
        return problem(403, "forbidden", detail, service=exchange.service or None)

    def snapshot(self) -> dict[str, Any]:
        """The refusals, and the keys by name with how often each was shown; never a key or a digest."""
        return {
            "unauthorized": self.unauthorized,
            "forbidden": self.forbidden,
            "public": list(self._public_globs),
            "keys": [
                {"name": key.name, "active": key.active, "allow": list(key.allow), "used": key.used}
                for key in self._keys.values()
            ],
        }

    def adopt(self, old: Self) -> None:
        """Keep the counts, those of the keys too."""
        self.unauthorized = old.unauthorized
        self.forbidden = old.forbidden
        for digest, key in self._keys.items():
            if digest in old._keys:
                key.used = old._keys[digest].used


class Key:
    """What a key may do."""

    def __init__(self, settings: KeySettings) -> None:
        self.name = settings.name
        self.active = settings.active
        self.allow = settings.allow
        self.used = 0
        self._globs: dict[str, list[Matcher]] = {}
        """Method, or `*` for all → the paths."""
        for entry in settings.allow:
            method, glob = entry.split(" ", 1)
            self._globs.setdefault(method, []).append(matcher(glob))

    def allows(self, method: str, path: str) -> bool:
        """Whether one of the `allow` entries covers this."""
        for listed in (method, "GET", "*") if method == "HEAD" else (method, "*"):
            for matches in self._globs.get(listed, ()):
                if matches(path):
                    return True
        return False


def _digest(key: str, where: str) -> bytes:
    """SHA-256 of a key of the configuration, which may hold the digest in its place."""
    if not key.startswith("sha256:"):
        return sha256(key.encode("utf-8")).digest()
    if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", key):
        raise ConfigError(f"{where}: 64 hex digits were expected after 'sha256:'")
    return bytes.fromhex(key.removeprefix("sha256:"))
