"""A stored response, and the answers that can be made of it without asking the service."""

from __future__ import annotations

from lab.model import Exchange, Headers, Response
from lab.policies.cache import fields

NOT_IN_304 = frozenset({b"content-length", b"content-type", b"content-encoding", b"content-range"})
"""A 304 carries no content, so nothing that describes one (RFC 9110 §15.4.5)."""

OVERHEAD = 512
"""Bytes that an entry is counted for beyond its body and header fields."""


class Entry:
    """One stored response.

    Times are monotonic seconds. `born` is the moment at which the response's age was 0 (RFC 9111 §4.2.3),
    so its age is `now - born` and it is fresh while that is less than `lifetime`.
    """

    __slots__ = (
        "body",
        "born",
        "date",
        "etag",
        "head",
        "headers",
        "hits",
        "key",
        "last_modified",
        "lifetime",
        "no_cache",
        "owner",
        "selected",
        "silent",
        "stale_if_error",
        "stale_while_revalidate",
        "status",
        "strict",
        "vary",
        "wall",
    )

    def __init__(
        self,
        key: bytes,
        status: int,
        headers: Headers,
        body: bytes = b"",
        *,
        born: float,
        lifetime: float,
        date: float = 0.0,
        wall: float = 0.0,
        silent: bool = False,
        no_cache: bool = False,
        strict: bool = False,
        stale_if_error: float = 0.0,
        stale_while_revalidate: float = 0.0,
        vary: tuple[bytes, ...] = (),
        selected: tuple[bytes | None, ...] = (),
        owner: str | None = None,
    ) -> None:
        self.key = key
        self.status = status
        self.headers = headers
        """As the service sent them, without Age and without what a cache may not store."""
        self.born = born
        self.lifetime = lifetime
        self.date = date
        """The Date field, Unix seconds."""
        self.wall = wall
        """When it was received, Unix seconds."""
        self.silent = silent
        """The response said nothing about caching; its lifetime is the configuration's `ttl`."""
        self.no_cache = no_cache
        """Never used without asking the service."""
        self.strict = strict
        """Never used stale (must-revalidate, proxy-revalidate, s-maxage, no-cache)."""
        self.stale_if_error = stale_if_error
        self.stale_while_revalidate = stale_while_revalidate
        self.vary = vary
        self.selected = selected
        """What the request said in the fields that `vary` names."""
        self.owner = owner
        """The identity it may be used for; None: anyone."""
        self.hits = 0
        self.etag: bytes | None = None
        self.last_modified: bytes | None = None
        for name, value in headers:
            if name == b"etag":
                self.etag = value
            elif name == b"last-modified":
                self.last_modified = value
        self.head: Headers = []
        self.complete(body)

    def complete(self, body: bytes) -> None:
        """Set the body, and make once the header list that every hit starts with."""
        self.body = body
        self.head = [(b"x-cache", b"HIT"), *self.headers]
        if self.status != 204 and not any(name == b"content-length" for name, _ in self.headers):
            self.head.append((b"content-length", b"%d" % len(body)))

    @property
    def size(self) -> int:
        """Bytes that it is counted for."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers) + OVERHEAD

    def fresh(self, now: float) -> bool:
        return now - self.born < self.lifetime

    def usable_on_error(self, now: float, allowance: float = 0.0) -> bool:
        """Whether it may stand in for an error of the service (stale-if-error, RFC 5861 §4).

        `allowance` is the request's own stale-if-error in seconds.
        """
        stale_for = now - self.born - self.lifetime
        return not self.strict and stale_for < max(self.stale_if_error, allowance)

    @property
    def validators(self) -> Headers:
        """The conditions with which the service is asked whether this is still current (RFC 9111 §4.3.1)."""
        conditions: Headers = []
        if self.etag is not None:
            conditions.append((b"if-none-match", self.etag))
        if self.last_modified is not None:
            conditions.append((b"if-modified-since", self.last_modified))
        return conditions


def answer(exchange: Exchange, entry: Entry, now: float, status: bytes, *, plain: bool = False) -> Response:
    """The response to `exchange` from a stored one: whole, 304, a part of it (206), or 416.

    `status` is the value of Cache-Status. `plain` says that the request is a GET without conditions and
    ranges. Conditions are looked at in the order of RFC 9110 §13.2.2.
    """
    headers = [*entry.head, (b"age", b"%d" % (now - entry.born)), (b"cache-status", status)]
    if plain:
        return Response(entry.status, headers, entry.body)
    if entry.status == 200 and not_modified(exchange, entry):
        return Response(304, [field for field in headers if field[0] not in NOT_IN_304])
    if exchange.method == "HEAD":
        return Response(entry.status, headers)
    if entry.status == 200 and (value := fields.combined(exchange.headers, b"range")) is not None:
        part = fields.byte_range(value, len(entry.body))
        if part is not None and _if_range(exchange, entry):
            return _partial(entry, headers, *part)
    return Response(entry.status, headers, entry.body)


def not_modified(exchange: Exchange, entry: Entry) -> bool:
    """Whether the client already has what is stored (RFC 9110 §13.1.2, §13.1.3, RFC 9111 §4.3.2)."""
    if (tags := fields.combined(exchange.headers, b"if-none-match")) is not None:
        return fields.matches(tags, entry.etag)
    since = exchange.header(b"if-modified-since")
    if since is None or (limit := fields.date(since, entry.wall)) is None:
        return False
    modified = fields.date(entry.last_modified, entry.wall) if entry.last_modified is not None else entry.date
    return modified is not None and modified <= limit


def _if_range(exchange: Exchange, entry: Entry) -> bool:
    """Whether If-Range lets the range through: the same strong validator (RFC 9110 §13.1.5)."""
    condition = exchange.header(b"if-range")
    if condition is None:
        return True
    if condition.endswith(b'"'):
        return fields.strong(entry.etag) and condition == entry.etag
    modified = fields.date(entry.last_modified, entry.wall) if entry.last_modified is not None else None
    # A date is a strong validator only where the Date is at least a second later (RFC 9110 §8.8.2.2).
    return modified is not None and condition == entry.last_modified and entry.date - modified >= 1


def _partial(entry: Entry, headers: Headers, first: int, last: int) -> Response:
    length = len(entry.body)
    if first > last:
        headers = [field for field in headers if field[0] not in NOT_IN_304]
        headers += [(b"content-range", b"bytes */%d" % length), (b"content-length", b"0")]
        return Response(416, headers)
    part = entry.body[first : last + 1]
    headers = [field for field in headers if field[0] != b"content-length"]
    headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, length)))
    headers.append((b"content-length", b"%d" % len(part)))
    return Response(206, headers, part)
