"""What the stage asks of a cache's algorithm, and what a student's exercise must offer."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any, Protocol

from lab.model import Exchange, Headers, Response
from lab.policies.cache.entry import Entry


class Verdict(Enum):
    """What is to be done with a request."""

    HIT = "answer from the stored response"
    STALE = "answer from the stored response, and ask the service in the background"
    FORWARD = "ask the service"
    BYPASS = "ask the service, and keep nothing"
    REFUSE = "the client wants a stored answer or none"


class Decision:
    """A core's decision on one request.

    `why` is what Cache-Status reports as `fwd` (RFC 9211 §2.2). `entry` is the stored response, where there
    is one. `conditions` are put in place of the client's own when the service is asked. Requests with an
    equal `collapse` may share one answer of the service. `plain`: a GET without conditions and ranges.
    """

    __slots__ = ("collapse", "conditions", "entry", "if_error", "key", "plain", "verdict", "why")

    def __init__(
        self,
        verdict: Verdict,
        entry: Entry | None = None,
        *,
        why: bytes = b"",
        key: bytes = b"",
        plain: bool = True,
        collapse: Hashable = None,
        conditions: Headers | None = None,
        if_error: float = 0.0,
    ) -> None:
        self.verdict = verdict
        self.entry = entry
        self.why = why
        self.key = key
        self.plain = plain
        self.collapse = collapse
        self.conditions = conditions
        self.if_error = if_error
        """Seconds that the request or the configuration lets a stale answer stand in for an error."""


class CacheCore(Protocol):
    """A cache's algorithm: it decides and keeps, it never waits. `now` is monotonic, `wall` Unix seconds."""

    def lookup(self, exchange: Exchange, now: float) -> Decision:
        """What to do with a GET or HEAD."""

    def fits(self, entry: Entry, exchange: Exchange) -> bool:
        """Whether an answer to another request may answer this one too, freshness aside."""

    def admit(
        self, exchange: Exchange, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        """An entry for the head of a response to a request sent at `asked`; None where it is not stored."""

    def put(self, entry: Entry) -> None:
        """Keep an entry, now that its body is complete."""

    def update(
        self, entry: Entry, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        """The entry after a 304 (or a 200 to HEAD); None where the response belongs to another version."""

    def drop(self, entry: Entry) -> None:
        """Forget one entry."""

    def invalidate(self, exchange: Exchange, response: Response, address: str) -> set[bytes]:
        """Forget what a successful unsafe request made untrue; the keys concerned.

        `address` is the service's own, under which its response may name what it changed.
        """

    def purge(self, key: bytes) -> int:
        """Forget everything stored under a key; how many entries that was."""

    def stored(self) -> list[bytes]:
        """What something is stored under."""

    def clear(self) -> int:
        """Forget everything; how many entries that was."""

    def adopt(self, old: Any) -> None:
        """Take over the entries of a core of the same class."""

    def snapshot(self, now: float) -> dict[str, Any]:
        """Entries, bytes and the most used entries."""


class Store(Protocol):
    """The smallest cache that can be plugged in: a table whose entries expire.

    This is what a `package.module:Class` offers; `lift.Lifted` does the rest. The constructor may take `ttl`
    (seconds) and `max_entries`. What is stored under `key` is opaque. `now` is in seconds and only grows.
    """

    def get(self, key: bytes, now: float) -> Any:
        """What was put, while it is no older than `ttl`; else None."""

    def put(self, key: bytes, entry: Any, now: float) -> None: ...

    def delete(self, key: bytes) -> None:
        """Forget a key; one that is not there is no error."""

    def clear(self) -> None: ...


def key_of(exchange: Exchange) -> bytes:
    """Service, raw path and exact query: what is asked for, byte for byte."""
    path = b"/" + exchange.service.encode() + exchange.rest
    return path + b"?" + exchange.query if exchange.query else path


def authorized(exchange: Exchange) -> bool:
    """Whether the request shows credentials, for the service or for the gateway itself."""
    return any(name in (b"authorization", b"x-api-key") for name, _ in exchange.headers)
