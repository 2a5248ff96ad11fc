"""`use: http`: a shared cache by RFC 9111, with RFC 5861's stale-while-revalidate and stale-if-error."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from lab.model import Exchange, Headers, Response
from lab.policies.cache import fields, rules
from lab.policies.cache.core import Decision, Verdict, key_of
from lab.policies.cache.entry import Entry
from lab.policies.cache.shelf import MAX_BYTES, Shelf

_READ = frozenset(
    {
        b"cache-control", b"pragma", b"range", b"if-none-match", b"if-modified-since", b"if-match",
        b"if-unmodified-since", b"authorization", b"cookie", b"x-api-key",
    }
)  # fmt: skip
"""The request's fields that can change the decision."""

_CONDITIONS = frozenset({b"range", b"if-none-match", b"if-modified-since"})


class HttpCache:
    """The rules applied to a shelf of entries.

    `ttl`: seconds, for responses that say nothing themselves; 0: those are not stored. `max_entries` counts
    variants. All the time is an argument.
    """

    def __init__(
        self,
        ttl: float = 30.0,
        max_entries: int = 1024,
        max_bytes: int = MAX_BYTES,
        stale_if_error: float = 0.0,
    ) -> None:
        self.ttl = ttl
        self.stale_if_error = stale_if_error
        """Seconds that a stale answer may stand in for an error, as if each response said so."""
        self._shelf = Shelf(max_entries, max_bytes)

    # -- a request -------------------------------------------------------------------------------------------

    def lookup(self, exchange: Exchange, now: float) -> Decision:
        """What to do with a GET or HEAD (RFC 9111 §4)."""
        seen = {name: value for name, value in exchange.headers if name in _READ}
        key = key_of(exchange)
        if not exchange.body.empty or b"if-match" in seen or b"if-unmodified-since" in seen:
            return Decision(Verdict.BYPASS, why=b"bypass", key=key)
        wants = _request_directives(exchange, seen)
        if "no-store" in wants:
            return Decision(Verdict.BYPASS, why=b"request", key=key)
        plain = exchange.method == "GET" and _CONDITIONS.isdisjoint(seen)

        variants = self._shelf.get(key)
        entry = None
        if variants is not None:
            cookie = b"cookie" in seen
            for variant in variants:
                if _fits(variant, exchange, cookie=cookie):
                    entry = variant
                    break
        if entry is not None:
            verdict, why = _judge(entry, wants, now)
            if verdict is Verdict.HIT:
                entry.hits += 1
                return Decision(verdict, entry, key=key, plain=plain)
        else:
            verdict, why = Verdict.FORWARD, b"uri-miss" if variants is None else b"vary-miss"
        if "only-if-cached" in wants and verdict is Verdict.FORWARD:
            return Decision(Verdict.REFUSE, why=why, key=key)

        known = variants[0].vary if variants is not None else ()
        return Decision(
            verdict,
            entry,
            why=why,
            key=key,
            plain=plain,
            collapse=(
                key,
                exchange.identity,
                seen.get(b"authorization"),
                seen.get(b"x-api-key"),
                fields.selecting(known, exchange) if known else (),
            ),
            conditions=entry.validators if entry is not None else None,
            if_error=max(self.stale_if_error, fields.seconds(wants, "stale-if-error") or 0),
        )

    def fits(self, entry: Entry, exchange: Exchange) -> bool:
        """Whether the entry may answer this request as to Vary, identity and cookies."""
        return _fits(entry, exchange, cookie=exchange.header(b"cookie") is not None)

    # -- a response ------------------------------------------------------------------------------------------

    def admit(
        self, exchange: Exchange, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        return rules.admit(exchange, response, ttl=self.ttl, asked=asked, now=now, wall=wall)

    def put(self, entry: Entry) -> None:
        self._shelf.put(entry)

    def update(
        self, entry: Entry, response: Response, *, asked: float, now: float, wall: float
    ) -> Entry | None:
        """The entry freshened by a 304 or by a 200 to HEAD (§4.3.4, §4.3.5).

        None where the response belongs to another version: then the stored one is forgotten.
        """
        self._shelf.drop(entry)
        if not rules.same_version(entry, response):
            return None
        headers = rules.merged(entry.headers, response.headers)
        if response.header(b"date") is None:  # then it is from now, not from the stored Date
            headers = [field for field in headers if field[0] != b"date"]
        # The age is that of the new response, whose Age is not among the merged fields.
        ages: Headers = [field for field in response.headers if field[0] == b"age"]
        new = rules.assess(entry.status, headers + ages, ttl=self.ttl, asked=asked, now=now, wall=wall)
        if new is None:  # it may answer this one request, and no other
            new = Entry(entry.key, entry.status, headers, born=now, lifetime=0, no_cache=True, strict=True)
            new.complete(entry.body)
            return new
        new.key, new.owner, new.hits = entry.key, entry.owner, entry.hits
        new.vary, new.selected = entry.vary, entry.selected
        new.complete(entry.body)
        self._shelf.put(new)
        return new

    def drop(self, entry: Entry) -> None:
        self._shelf.drop(entry)

    # -- forgetting ------------------------------------------------------------------------------------------

    def invalidate(self, exchange: Exchange, response: Response, address: str) -> set[bytes]:
        """Forget the target of a successful unsafe request, and its Location and Content-Location (§4.4)."""
        keys = {key_of(exchange)} | locations(exchange, response, address)
        for key in keys:
            self._shelf.purge(key)
        return keys

    def purge(self, key: bytes) -> int:
        return self._shelf.purge(key)

    def stored(self) -> list[bytes]:
        return self._shelf.keys()

    def clear(self) -> int:
        return self._shelf.clear()

    def adopt(self, old: HttpCache) -> None:
        """Take the entries over; one that lived by the old `ttl` lives by the new one."""
        for entry in old._shelf:
            if entry.silent:
                entry.lifetime = self.ttl
            self._shelf.put(entry)

    def snapshot(self, now: float) -> dict[str, Any]:
        return self._shelf.snapshot(now)


def _request_directives(exchange: Exchange, seen: dict[bytes, bytes]) -> fields.Directives:
    """The request's Cache-Control; without one, Pragma: no-cache counts as no-cache (RFC 9111 §5.4)."""
    if b"cache-control" in seen:
        return fields.directives(fields.combined(exchange.headers, b"cache-control") or b"")
    if b"pragma" in seen and b"no-cache" in seen[b"pragma"].lower():
        return {"no-cache": None}
    return {}


def _fits(entry: Entry, exchange: Exchange, *, cookie: bool) -> bool:
    if entry.owner is not None and entry.owner != exchange.identity:
        return False
    if entry.silent and cookie:
        return False
    return not entry.vary or fields.selecting(entry.vary, exchange) == entry.selected


def _judge(entry: Entry, wants: fields.Directives, now: float) -> tuple[Verdict, bytes]:
    """Whether a stored response may be used without asking, and if not, why (RFC 9111 §4.2, §5.2.1)."""
    if entry.no_cache:
        return Verdict.FORWARD, b"stale"
    age = now - entry.born
    left = entry.lifetime - age
    if wants:
        if "no-cache" in wants:
            return Verdict.FORWARD, b"request"
        oldest = fields.seconds(wants, "max-age")
        margin = fields.seconds(wants, "min-fresh") or 0
        if (oldest is not None and age >= oldest) or 0 < left <= margin:
            return Verdict.FORWARD, b"request"
        if left <= 0 and not entry.strict and "max-stale" in wants:
            any_age = wants["max-stale"] is None
            if any_age or -left <= (fields.seconds(wants, "max-stale") or 0):
                return Verdict.HIT, b""
    if left > 0:
        return Verdict.HIT, b""
    if not entry.strict and -left < entry.stale_while_revalidate:
        return Verdict.STALE, b"stale"
    return Verdict.FORWARD, b"stale"


def locations(exchange: Exchange, response: Response, address: str) -> set[bytes]:
    """The keys that Location and Content-Location name, as far as they are of the same service.

    A reference may be relative, or name the host by which the client or the service knows the service
    (`address`). Whatever it names, it must lie in the service's own space: another service's answers are not
    its to void.
    """
    keys: set[bytes] = set()
    prefix = b"/" + exchange.service.encode()
    own = urlsplit(address)
    below = own.path.encode("latin-1")  # what stands before every path at the service's address
    for name in (b"location", b"content-location"):
        value = response.header(name)
        if value is None:
            continue
        try:
            base = f"http://service{exchange.rest.decode('latin-1')}"
            url = urlsplit(urljoin(base, value.decode("latin-1")))
        except ValueError:
            continue
        path = url.path.encode("latin-1") or b"/"
        query = b"?" + url.query.encode("latin-1") if url.query else b""
        if url.netloc == "service":
            keys.add(prefix + path + query)
        if url.netloc in ("service", own.netloc) and path.startswith(below + b"/"):
            keys.add(prefix + path.removeprefix(below) + query)
        if url.netloc in ("service", exchange.host.decode("latin-1")) and path.startswith(prefix + b"/"):
            keys.add(path + query)  # written from the client's point of view
    return keys
