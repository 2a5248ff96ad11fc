"""Reading the header fields that caching depends on (RFC 9110, RFC 9111), strictly where it matters.

Everything here is a function from bytes to a value. What cannot be read never makes a response fresher: an
unreadable `max-age` is 0 and an unreadable `Expires` is the past (RFC 9111 §4.2.1, §5.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from lab.model import Exchange, Headers

Directives = Mapping[str, "bytes | None"]
"""Cache-Control as name (lower case) → argument; None where there is no argument. Shared: only read."""

FOREVER = 2**31
"""Seconds: what an overflowing number counts as (RFC 9111 §1.2.2)."""

_MEMBER = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_DIGITS = re.compile(rb"[0-9]+")
_TAG = re.compile(rb'(?:W/)?"[^"]*"')


def combined(headers: Headers, name: bytes) -> bytes | None:
    """All values of a field as one list (RFC 9110 §5.3), or None where the field is absent."""
    values = [value for key, value in headers if key == name]
    return b", ".join(values) if values else None


def members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, trimmed; a comma inside a quoted string separates nothing."""
    return [member for item in _MEMBER.findall(value) if (member := item.strip())]


def unquoted(value: bytes) -> bytes:
    """The content of a quoted string; anything else unchanged."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        return re.sub(rb"\\(.)", rb"\1", value[1:-1])
    return value


# -- Cache-Control -------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def directives(value: bytes) -> Directives:
    """Parse Cache-Control (RFC 9111 §5.2). A service says the same few things over and over: remembered.

    Of a directive that stands twice the first counts (§4.2.1), except that `no-cache` and `private` without
    field names outdo those with. Space around `=` is not allowed and makes the argument empty, hence invalid.
    """
    found: dict[str, bytes | None] = {}
    for member in members(value):
        raw_name, equals, argument = member.partition(b"=")
        name = raw_name.strip().lower().decode("latin-1")
        if not equals:
            if name in ("no-cache", "private"):
                found[name] = None
            else:
                found.setdefault(name, None)
            continue
        exact = raw_name == raw_name.strip() and argument == argument.strip()
        text = unquoted(argument) if exact else b""
        if name in ("no-cache", "private") and (earlier := found.get(name)) is not None:
            found[name] = earlier + b"," + text
        else:
            found.setdefault(name, text)
    return found


def seconds(found: Directives, name: str) -> int | None:
    """The directive's argument in seconds, 0 to `FOREVER`; None without the directive, 0 where unreadable."""
    if name not in found:
        return None
    argument = found[name]
    if argument is None or not _DIGITS.fullmatch(argument):
        return 0
    digits = argument.lstrip(b"0")
    return FOREVER if len(digits) > 10 else min(int(digits or b"0"), FOREVER)


def names(argument: bytes | None) -> frozenset[bytes]:
    """The field names in a qualified `no-cache="…"` or `private="…"`, lower case."""
    return frozenset(member.lower() for member in members(argument or b""))


_SF_MEMBER = re.compile(
    rb'([a-z*][a-z0-9_.*-]*)(?:=(-?[0-9]{1,15}|"[ !#-\[\]-~]*"|[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*))?'
)
_WHOLE_NUMBER = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")


def targeted(value: bytes) -> Directives | None:
    """Parse CDN-Cache-Control (RFC 9213): a Structured Fields dictionary (RFC 8941).

    None where it is empty or not well formed: then it is as if it were not there (RFC 9213 §2.1). Of the
    value types those that a directive can have are known: integers, strings, tokens.
    """
    found: dict[str, bytes | None] = {}
    for item in value.split(b","):
        match = _SF_MEMBER.fullmatch(item.strip(b" \t"))
        if match is None:
            return None
        name, argument = match.group(1).decode("ascii"), match.group(2)
        if name in _WHOLE_NUMBER and (argument is None or not _DIGITS.fullmatch(argument)):
            return None
        found[name] = argument if argument is None else unquoted(argument)
    return found


# -- dates and ages ------------------------------------------------------------------------------------------

_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {m.lower(): i for i, m in enumerate(_MONTH_NAMES, start=1)}
_DAY, _MONTH = "(?:mon|tue|wed|thu|fri|sat|sun)", f"(?P<month>{'|'.join(_MONTHS)})"
_LONG_DAY = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = [
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"{_DAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
]


def date(value: bytes, now: float) -> float | None:
    """An HTTP date in any of its three formats (RFC 9110 §5.6.7) as Unix seconds; None where it is none.

    `now` (Unix seconds) decides the century of a two-digit year: never more than 50 years ahead.
    """
    text = value.decode("latin-1")
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        this = datetime.fromtimestamp(now, UTC).year
        year += this - this % 100
        year -= 100 if year > this + 50 else 0
    try:
        return datetime(
            year,
            _MONTHS[match["month"].lower()],
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(int(match["second"]), 59),  # 60 is a leap second
            tzinfo=UTC,
        ).timestamp()
    except ValueError:
        return None


def http_date(at: float) -> bytes:
    """Unix seconds as the preferred format of HTTP dates."""
    moment = datetime.fromtimestamp(at, UTC)
    # Not strftime, whose names are those of the locale.
    day, month = _DAY_NAMES[moment.weekday()], _MONTH_NAMES[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year:04} {moment:%H:%M:%S} GMT".encode("ascii")


def age(headers: Headers) -> int:
    """The Age field in seconds: its first member, 0 where there is none or it is no number (§5.1)."""
    value = combined(headers, b"age")
    first = value.partition(b",")[0].strip() if value else b""
    return seconds({"age": first}, "age") or 0


# -- Vary ----------------------------------------------------------------------------------------------------

_ORDERLESS = (b"accept-language", b"accept-encoding")
_MADE_BY_THE_GATEWAY: dict[bytes, Callable[[Exchange], bytes | None]] = {
    b"host": lambda e: e.host or None,
    b"x-forwarded-host": lambda e: e.host or None,
    b"x-forwarded-proto": lambda e: e.scheme.encode(),
    b"x-forwarded-for": lambda e: e.client.encode(),
    b"forwarded": lambda e: b"%s %s %s" % (e.client.encode(), e.host, e.scheme.encode()),
    b"x-gateway-client": lambda e: None if e.identity is None else e.identity.encode(),
}


def vary(headers: Headers) -> tuple[bytes, ...] | None:
    """The field names in Vary, sorted; None for `*`, which no request ever matches (RFC 9111 §4.1)."""
    value = combined(headers, b"vary")
    if value is None:
        return ()
    found = {member.lower() for member in members(value)}
    return None if b"*" in found else tuple(sorted(found))


def selecting(fields: Iterable[bytes], exchange: Exchange) -> tuple[bytes | None, ...]:
    """What the request says in the fields that Vary names, in a form in which equal meanings are equal.

    Lines are combined and the space between members is dropped (§4.1). For languages and codings the order
    and the case are dropped too. Fields that the gateway writes itself count as the service sees them.
    """
    return tuple(_selecting(name, exchange) for name in fields)


def _selecting(name: bytes, exchange: Exchange) -> bytes | None:
    if name in _MADE_BY_THE_GATEWAY:
        return _MADE_BY_THE_GATEWAY[name](exchange)
    value = combined(exchange.headers, name)
    if value is None:
        return None
    parts = members(value)
    if name in _ORDERLESS:
        parts = sorted(part.lower() for part in parts)
    return b",".join(parts)


# -- conditions and ranges -----------------------------------------------------------------------------------


def matches(if_none_match: bytes, etag: bytes | None) -> bool:
    """Whether If-None-Match names the entity tag, by weak comparison (RFC 9110 §8.8.3.2, §13.1.2)."""
    if if_none_match.strip() == b"*":
        return True
    if etag is None:
        return False
    return any(opaque(tag) == opaque(etag) for tag in _TAG.findall(if_none_match))


def opaque(etag: bytes) -> bytes:
    """The entity tag without its weakness mark."""
    return etag.removeprefix(b"W/")


def strong(etag: bytes | None) -> bool:
    """Whether this is an entity tag that promises the same bytes."""
    return etag is not None and not etag.startswith(b"W/")


_RANGE = re.compile(rb"bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*", re.IGNORECASE)


def byte_range(value: bytes, length: int) -> tuple[int, int] | None:
    """The first and the last position that a Range of one part asks of `length` bytes (RFC 9110 §14.1.2).

    None where the field is to be ignored: another unit, several parts, not well formed. A range that
    cannot be satisfied comes back with its first position behind its last.
    """
    match = _RANGE.fullmatch(value)
    if match is None or max(len(group or b"") for group in match.groups()) > 18:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, length - int(suffix)), length - 1 if int(suffix) else -1
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last), length - 1) if last else length - 1
