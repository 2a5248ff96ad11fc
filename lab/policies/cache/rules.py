"""The rules of a shared cache (RFC 9111), as functions: what may be stored, and how long it is fresh."""

from __future__ import annotations

from http import HTTPStatus

from lab.model import Exchange, Headers, Response, header
from lab.policies.cache import fields
from lab.policies.cache.core import authorized, key_of
from lab.policies.cache.entry import Entry

HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be stored though the response does not say how long (RFC 9110 §15.1); 206 is left out."""

NEVER = frozenset({206, 304})
"""Statuses that are no complete response."""

UNDERSTOOD = frozenset(int(status) for status in HTTPStatus) - NEVER
"""What `must-understand` asks for (RFC 9111 §5.2.2.3)."""

HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-authentication-info", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""Never stored (RFC 9111 §3.1)."""

DATE_IS_COARSE = 2.0
"""Seconds: a Date less than this ago is the present. It counts whole seconds, and servers renew it about once
in one: a new answer would look up to two seconds old, and one with `max-age=1` could never be used."""

NOT_STORED = HOP_BY_HOP | {b"age", b"x-cache"}

NOT_UPDATED = frozenset({b"content-length", b"content-encoding", b"content-range"}) | NOT_STORED
"""What a 304 does not change, since the stored body stays as it is (RFC 9111 §3.2)."""


def policy(headers: Headers) -> tuple[fields.Directives, bool]:
    """The directives that hold for this cache, and whether they are targeted at it (RFC 9213 §2.2)."""
    value = fields.combined(headers, b"cdn-cache-control")
    if value is not None and (found := fields.targeted(value)) is not None:
        return found, True
    value = fields.combined(headers, b"cache-control")
    return ({} if value is None else fields.directives(value)), False


def lifetime(
    found: fields.Directives, headers: Headers, date: float, wall: float, *, expires: bool
) -> float | None:
    """The freshness lifetime in seconds that the response states; None where it states none (§4.2.1).

    `date` is its Date, `wall` the present, both Unix seconds. `expires` False leaves Expires out.
    """
    for name in ("s-maxage", "max-age"):
        if (value := fields.seconds(found, name)) is not None:
            return value
    values = {value for name, value in headers if name == b"expires"} if expires else set()
    if not values:
        return None
    at = fields.date(values.pop(), wall)
    return 0.0 if values or at is None else max(0.0, at - date)


def initial_age(age: float, date: float, asked: float, received: float, wall: float) -> float:
    """The age in seconds on receipt (RFC 9111 §4.2.3).

    `age` is the Age field, `date` and `wall` are Unix seconds, `asked` and `received` monotonic.
    """
    apparent = wall - date
    if apparent < DATE_IS_COARSE:
        apparent = 0.0
    return max(apparent, age + (received - asked))


def admit(
    exchange: Exchange, response: Response, *, ttl: float, asked: float, now: float, wall: float
) -> Entry | None:
    """The entry for a response to GET, or None where a shared cache may not store it or has no use for it.

    `ttl` is the lifetime in seconds of a response that says nothing itself; 0 means not to store those.
    """
    if response.failure is not None:
        return None
    entry = assess(response.status, response.headers, ttl=ttl, asked=asked, now=now, wall=wall)
    if entry is None:
        return None
    if (exchange.identity is not None or authorized(exchange)) and not shareable(response.headers):
        if exchange.identity is None or exchange.header(b"authorization") is not None:
            return None
        # The gateway knows who asks; what the answer was made for, it may be used for again.
        entry.owner = exchange.identity
    if entry.silent and exchange.header(b"cookie") is not None:
        return None  # it may be made for that cookie, and nobody said that it is not
    entry.key = key_of(exchange)
    entry.selected = fields.selecting(entry.vary, exchange)
    return entry


def shareable(headers: Headers) -> bool:
    """Whether the answer to a request with credentials may be stored for others (RFC 9111 §3.5)."""
    found, _ = policy(headers)
    return "public" in found or "must-revalidate" in found or "s-maxage" in found


def assess(
    status: int, headers: Headers, *, ttl: float, asked: float, now: float, wall: float
) -> Entry | None:
    """What the response alone says about its storing (RFC 9111 §3); None where it is not stored."""
    if not 200 <= status <= 599 or status in NEVER:
        return None
    found, is_targeted = policy(headers)
    if "must-understand" in found:
        if status not in UNDERSTOOD:
            return None
    elif "no-store" in found:
        return None
    if "private" in found and found["private"] is None:
        return None
    if (vary := fields.vary(headers)) is None:
        return None

    withheld = fields.names(found.get("private")) | fields.names(found.get("no-cache"))
    no_cache = "no-cache" in found and found["no-cache"] is None
    if not found and (pragma := header(headers, b"pragma")) is not None:
        no_cache = b"no-cache" in pragma.lower()

    date_field = header(headers, b"date")
    date = fields.date(date_field, wall) if date_field is not None else None
    stored = storable_fields(headers, withheld)
    if date is None:
        date = wall
        stored = dated([field for field in stored if field[0] != b"date"], wall)

    stated = lifetime(found, headers, date, wall, expires=not is_targeted)
    says_so = stated is not None or "public" in found
    if not says_so and any(name == b"set-cookie" for name, _ in stored):
        return None
    silent = stated is None and not no_cache
    if stated is None:
        if no_cache:
            stated = 0.0
        elif (header(headers, b"content-type") or b"").lower().startswith(b"text/event-stream"):
            return None  # each client's own, and without an end
        elif ttl > 0 and (status in HEURISTIC or "public" in found):
            stated = ttl
        else:
            return None

    strict = no_cache or any(name in found for name in ("must-revalidate", "proxy-revalidate", "s-maxage"))
    entry = Entry(
        b"",
        status,
        stored,
        born=now - initial_age(fields.age(headers), date, asked, now, wall),
        lifetime=stated,
        date=date,
        wall=wall,
        silent=silent and "public" not in found,
        no_cache=no_cache,
        strict=strict,
        stale_if_error=fields.seconds(found, "stale-if-error") or 0,
        stale_while_revalidate=fields.seconds(found, "stale-while-revalidate") or 0,
        vary=vary,
    )
    useful = (
        entry.fresh(now)
        or entry.validators
        or (not strict and max(entry.stale_if_error, entry.stale_while_revalidate))
    )
    return entry if useful else None


def storable_fields(headers: Headers, withheld: frozenset[bytes] = frozenset()) -> Headers:
    """The fields that are kept: not those of the connection, not those that `no-cache="…"` withholds."""
    named = fields.names(fields.combined(headers, b"connection"))
    dropped = NOT_STORED | named | withheld
    return [field for field in headers if field[0] not in dropped]


def dated(headers: Headers, wall: float) -> Headers:
    """The fields with a Date: a recipient with a clock supplies what is missing (RFC 9110 §6.6.1)."""
    return headers if header(headers, b"date") else [*headers, (b"date", fields.http_date(wall))]


def merged(stored: Headers, update: Headers) -> Headers:
    """The stored fields after a 304: those that it has replace all of the same name (RFC 9111 §3.2)."""
    update = [field for field in storable_fields(update) if field[0] not in NOT_UPDATED]
    renewed = {name for name, _ in update}
    return [field for field in stored if field[0] not in renewed] + update


def same_version(entry: Entry, response: Response) -> bool:
    """Whether a 304, or a 200 to HEAD, speaks of what is stored (RFC 9111 §4.3.4, §4.3.5)."""
    etag = response.header(b"etag")
    if etag is not None and fields.strong(etag):
        return etag == entry.etag
    if response.status == 304:
        return True
    length = response.header(b"content-length")
    modified = response.header(b"last-modified")
    return (
        (etag is None or (entry.etag is not None and fields.opaque(etag) == fields.opaque(entry.etag)))
        and (modified is None or modified == entry.last_modified)
        and (length is None or length == b"%d" % len(entry.body))
    )
