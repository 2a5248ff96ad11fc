"""The cache's place in the pipeline: asks the core, asks the service, and keeps what the core wants kept."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial
from typing import Any, ClassVar, Self

from cachetools import TTLCache

from lab.model import Exchange, Handler, Headers, Response, problem
from lab.policies import Context, plug
from lab.policies.cache.body import SharedBody
from lab.policies.cache.core import CacheCore, Decision, Store, Verdict
from lab.policies.cache.entry import Entry, answer
from lab.policies.cache.http import HttpCache
from lab.policies.cache.lift import Lifted
from lab.policies.cache.ttl import TtlCache
from lab.settings import CacheSettings

ALGORITHMS: dict[str, type[Any]] = {"http": HttpCache, "ttl": TtlCache}

NAME = b"gateway-lab"
"""This cache in Cache-Status."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing at the service (RFC 9110 §9.2.1)."""

UNSHARED_FOR = 30.0
"""Seconds for which requests are not made to wait for each other after an answer could not be shared."""

UNSHARED_MAX = 1024

ERRORS = frozenset({500, 502, 503, 504})
"""Statuses that stale-if-error speaks of (RFC 5861 §4)."""

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


class Flight:
    """A request on its way to the service, and what others who want the same may expect of it."""

    __slots__ = ("_bell", "body", "entry", "gone", "key", "landed", "void")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.landed = False
        """The response's head is there, or it will never be."""
        self.gone = False
        """It will never be: whoever asked went away."""
        self.entry: Entry | None = None
        """What the head made; None where it cannot be shared."""
        self.body: SharedBody | None = None
        """The body while it is still coming; without one the entry's own is complete."""
        self.void = False
        """Something was invalidated meanwhile: this answer may be from before, it is not kept."""
        self._bell: asyncio.Future[None] | None = None  # most flights have nobody who waits for them

    def share(self, entry: Entry | None) -> None:
        self.entry = entry
        self._land()

    def leave(self) -> None:
        """Whoever asked is done with it; without a head by now, it went away."""
        if not self.landed:
            self.gone = True
            self._land()

    def _land(self) -> None:
        self.landed = True
        if self._bell is not None:
            self._bell.set_result(None)

    async def landing(self, seconds: float) -> None:
        """Wait for the head, for so many seconds at most."""
        if not self.landed:
            if self._bell is None:
                self._bell = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._bell,), timeout=seconds)


class Cache:
    """Answers from what is stored, and keeps what may be kept.

    `core` is a `CacheCore`, or a `Store` (an object or a class of either).
    """

    section: ClassVar[str] = "cache"

    def __init__(self, options: CacheSettings, context: Context, *, core: Any = None) -> None:
        self._options = options
        self._services = context.services
        self._clock = context.clock
        self._wall = context.wall
        self._emit = context.emit
        self._received = context.guard(self._receive)
        if core is None:
            core = plug.find(options.use, ALGORITHMS)
        if isinstance(core, type):
            core = plug.construct(core, **dict(options))
        self.core: CacheCore = (
            core if hasattr(core, "lookup") else Lifted(core, options.ttl, options.max_entries)
        )
        self._flights: dict[Hashable, Flight] = {}
        self._fetching: set[Flight] = set()
        self._unshared: TTLCache[Hashable, bool] = TTLCache(UNSHARED_MAX, UNSHARED_FOR, timer=self._clock)
        self._refreshes: set[asyncio.Task[None]] = set()

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        if exchange.kind == "websocket":
            return await call_next(exchange)
        if exchange.method != "GET" and exchange.method != "HEAD":
            return await self._other_method(exchange, call_next)
        now = self._clock()
        decision = self.core.lookup(exchange, now)
        verdict = decision.verdict
        entry = decision.entry
        if verdict is Verdict.HIT and entry is not None:
            status = b"gateway-lab; hit; ttl=%d" % (entry.born + entry.lifetime - now)
            exchange.cache = "HIT"
            exchange.cache_status = status
            return answer(exchange, entry, now, status, plain=decision.plain)
        if verdict is Verdict.STALE and entry is not None:
            self._refresh(exchange, call_next, decision)
            entry.hits += 1
            return self._from(entry, exchange, b"; hit; detail=stale-while-revalidate")
        if verdict is Verdict.REFUSE:
            detail = "the request asks for a stored answer, and there is none"
            refusal = problem(504, "not-cached", detail, service=exchange.service)
            return _marked(refusal, exchange, "MISS", b"; fwd=%b; detail=only-if-cached" % decision.why)
        if verdict is Verdict.BYPASS:
            response = await call_next(exchange)
            return _marked(
                response, exchange, "BYPASS", b"; fwd=%b; fwd-status=%d" % (decision.why, response.status)
            )
        return await self._fetch(exchange, call_next, decision)

    @classmethod
    def prove(cls, options: CacheSettings, context: Context) -> None:
        """Put something into the table that `options.use` names and take it out. Raises `PlugError`.

        A whole `CacheCore` is only looked at: what it decides is its own affair.
        """
        core = cls(options, context).core
        expect = partial(plug.promise, options.use)
        if not isinstance(core, Lifted):
            expect(*plug.methods(core, CacheCore))
            return
        store, key, thing = core.store, b"/service-a/proof", object()
        expect(*plug.methods(store, Store))
        expect(store.get(key, 0.0) is None, "get() of a new table gives something that nobody put there")
        store.put(key, thing, 0.0)
        expect(options.ttl <= 0 or store.get(key, 0.0) is thing, "get() does not give back what was put")
        expect(
            store.get(b"/service-a/other", 0.0) is None, "get() of one key gives what was put under another"
        )
        expect(
            store.get(key, 2 * options.ttl + 1) is None,
            f"get() still gives it after {options.ttl:g} s and more",
        )
        store.put(key, thing, 0.0)
        store.delete(key)
        expect(store.get(key, 0.0) is None, "get() still gives what was deleted")
        store.delete(key)
        store.put(key, thing, 0.0)
        store.clear()
        expect(store.get(key, 0.0) is None, "get() still gives something after clear()")

    async def _other_method(self, exchange: Exchange, call_next: Handler) -> Response:
        response = await call_next(exchange)
        if exchange.method not in SAFE and 200 <= response.status < 400:
            service = self._services.get(exchange.service)
            address = "" if service is None else service.url
            self._void(self.core.invalidate(exchange, response, address))
        return response

    # -- asking the service ----------------------------------------------------------------------------------

    async def _fetch(self, exchange: Exchange, call_next: Handler, decision: Decision) -> Response:
        """Ask the service, or wait for one who already does: one call for many equal requests."""
        wanted = decision.collapse
        if wanted is None or not decision.plain or wanted in self._unshared or not self._options.coalesce:
            return await self._lead(exchange, call_next, decision, Flight(decision.key))
        while (flight := self._flights.get(wanted)) is not None:
            entry = await self._follow(flight, exchange)
            if flight.gone:
                continue  # the first to get here asks in its place
            if flight.body is not None and not flight.body.open:
                continue  # its last reader left, or it grew too long, before we got here
            too_old = flight.body is not None and entry is not None and not entry.fresh(self._clock())
            if entry is None or too_old or not self.core.fits(entry, exchange):
                return await self._lead(exchange, call_next, decision, Flight(decision.key))
            return self._collapsed(flight, entry, exchange, decision)
        flight = self._flights[wanted] = Flight(decision.key)
        try:
            return await self._lead(exchange, call_next, decision, flight)
        finally:
            if flight.body is None:
                self._land(wanted, flight)

    async def _follow(self, flight: Flight, exchange: Exchange) -> Entry | None:
        """What the flight brings, None where it cannot be shared or does not come in time.

        The wait counts against the time that the service has for this exchange.
        """
        now = self._clock()
        if exchange.deadline is None:
            service = self._services.get(exchange.service)
            exchange.deadline = now + (service.timeout if service is not None else 10.0)
        await flight.landing(max(0.0, exchange.deadline - now))
        return flight.entry

    def _collapsed(self, flight: Flight, entry: Entry, exchange: Exchange, decision: Decision) -> Response:
        status = b"; fwd=%b; fwd-status=%d; collapsed" % (decision.why, entry.status)
        response = self._from(entry, exchange, status)
        if flight.body is not None:
            response.content = b""
            response.headers = _without_length(response.headers, entry)
            response.stream = flight.body.reader()
        return response

    async def _lead(
        self, exchange: Exchange, call_next: Handler, decision: Decision, flight: Flight
    ) -> Response:
        self._fetching.add(flight)
        try:
            asked = self._clock()
            if decision.conditions:
                response = await self._validate(exchange, call_next, decision.conditions)
            else:
                response = await call_next(exchange)
            return await self._settle(exchange, call_next, decision, flight, response, asked)
        finally:
            flight.leave()
            if flight.body is None:
                self._fetching.discard(flight)

    async def _validate(self, exchange: Exchange, call_next: Handler, conditions: Headers) -> Response:
        """Forward the request, with the stored response's validators in place of the client's conditions."""
        own = exchange.headers
        exchange.headers = [field for field in own if field[0] not in CONDITIONS] + conditions
        try:
            return await call_next(exchange)
        finally:
            exchange.headers = own

    async def _settle(
        self,
        exchange: Exchange,
        call_next: Handler,
        decision: Decision,
        flight: Flight,
        response: Response,
        asked: float,
    ) -> Response:
        """What becomes of the service's answer: the client's, the store's, or nothing."""
        entry = decision.entry
        about = b"; fwd=%b; fwd-status=%d" % (decision.why, response.status)
        if entry is not None:
            if response.status == 304 and decision.conditions:
                fresh = self._validated(entry, flight, response, asked)
                await response.aclose()
                if fresh is not None:
                    return self._from(fresh, exchange, about)
                # It was not about what is stored: ask for the whole.
                decision = Decision(Verdict.FORWARD, why=decision.why, key=decision.key, plain=decision.plain)
                asked = self._clock()
                response = await call_next(exchange)
                return await self._settle(exchange, call_next, decision, flight, response, asked)
            failed = response.status in ERRORS or response.failure is not None
            if failed and entry.usable_on_error(self._clock(), decision.if_error):
                await response.aclose()
                flight.share(entry)
                return self._from(entry, exchange, about + b"; detail=stale-if-error")
        if exchange.method == "HEAD":
            if entry is not None and response.status == 200:
                self.core.update(entry, response, asked=asked, now=self._clock(), wall=self._wall())
            return _marked(response, exchange, "MISS", about)
        new = self._store(exchange, decision, flight, response, asked)
        if new is not None:
            about += b"; stored; ttl=%d" % (new.born + new.lifetime - self._clock())
        elif entry is not None and response.status < 500:
            self.core.drop(entry)  # the service has a newer answer, which is not for keeping
        return _marked(response, exchange, "MISS", about)

    def _validated(self, entry: Entry, flight: Flight, response: Response, asked: float) -> Entry | None:
        """The stored response as a 304 leaves it; None where the 304 is about another version."""
        now = self._clock()
        fresh = self.core.update(entry, response, asked=asked, now=now, wall=self._wall())
        if fresh is not None:
            if flight.void:
                self.core.drop(fresh)
            flight.share(fresh if fresh.fresh(now) and not flight.void else None)
        return fresh

    def _store(
        self, exchange: Exchange, decision: Decision, flight: Flight, response: Response, asked: float
    ) -> Entry | None:
        """Store the response, or collect it to be stored; the entry it makes, None where it makes none."""
        now = self._clock()
        most = self._options.max_body
        length = response.header(b"content-length")
        new = self.core.admit(exchange, response, asked=asked, now=now, wall=self._wall())
        if new is None or flight.void or (length is not None and int(length) > most):
            # Others may be waiting for a flight that is listed; of one that is not, this is known already.
            if response.failure is None and self._flights.get(decision.collapse) is flight:
                self._unshared[decision.collapse] = True
            flight.share(None)
            return None
        if response.stream is not None:
            self._collect(response, new, flight, decision, length)
        elif len(response.content) > most or _short(length, len(response.content)):
            flight.share(None)
            return None
        else:
            new.complete(response.content)
            self._keep(new, decision)
        flight.share(new if new.fresh(now) else None)
        return new

    def _collect(
        self, response: Response, entry: Entry, flight: Flight, decision: Decision, length: bytes | None
    ) -> None:
        """Keep the body while it streams to the client; store it when all of it has come."""
        assert response.stream is not None

        done = partial(self._received, entry, flight, decision, length)
        flight.body = SharedBody(response.stream, self._options.max_body, done)
        response.stream = flight.body.reader()

    def _receive(
        self, entry: Entry, flight: Flight, decision: Decision, length: bytes | None, body: bytes | None
    ) -> None:
        """The body is complete; None: it will not be."""
        self._fetching.discard(flight)
        self._land(decision.collapse, flight)
        if body is not None and not flight.void and not _short(length, len(body)):
            entry.complete(body)
            self._keep(entry, decision)
        elif flight.body is not None and flight.body.outgrown:
            self._unshared[decision.collapse] = True

    def _keep(self, entry: Entry, decision: Decision) -> None:
        self.core.put(entry)
        self._unshared.pop(decision.collapse, None)

    def _land(self, wanted: Hashable, flight: Flight) -> None:
        """From now on others do not join this flight."""
        if self._flights.get(wanted) is flight:
            del self._flights[wanted]

    # -- in the background -----------------------------------------------------------------------------------

    def _refresh(self, exchange: Exchange, call_next: Handler, decision: Decision) -> None:
        """Ask the service anew while the client has the stale answer; once for many (RFC 5861 §3)."""
        wanted = decision.collapse
        if wanted in self._flights:
            return
        flight = self._flights[wanted] = Flight(decision.key)
        task = asyncio.ensure_future(self._refreshed(_copy(exchange), call_next, decision, flight))
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    async def _refreshed(
        self, exchange: Exchange, call_next: Handler, decision: Decision, flight: Flight
    ) -> None:
        try:
            response = await self._lead(exchange, call_next, decision, flight)
            try:
                if response.stream is not None:
                    async for _ in response.stream:
                        if flight.body is None or not flight.body.open:
                            break  # it is not going to be stored: nobody needs the rest
            finally:
                await response.aclose()
        except Exception:
            return  # the stored response stays as stale as it was; the next request tries again
        finally:
            self._land(decision.collapse, flight)

    async def aclose(self) -> None:
        """Stop what runs in the background."""
        tasks = list(self._refreshes)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- answers ---------------------------------------------------------------------------------------------

    def _from(self, entry: Entry, exchange: Exchange, status: bytes) -> Response:
        """An answer from a stored response, other than the plain hit."""
        now = self._clock()
        status = NAME + status + b"; ttl=%d" % (entry.born + entry.lifetime - now)
        exchange.cache = "HIT"
        exchange.cache_status = status
        return answer(exchange, entry, now, status)

    # -- control ---------------------------------------------------------------------------------------------

    def purge(self, path: str | bytes) -> int:
        """Forget what is stored for a path and query of the gateway, byte for byte; how many entries."""
        raw = path.encode() if isinstance(path, str) else path
        target, mark, query = raw.partition(b"?")
        service, _, rest = target.lstrip(b"/").partition(b"/")
        key = b"/" + service + b"/" + rest + (mark + query if query else b"")
        self._void({key})
        count = self.core.purge(key)
        self._emit("cache", action="purged", path=raw.decode("utf-8", "replace"), entries=count)
        return count

    def forget(self, service: str) -> int:
        """Forget everything of a service: it is gone, or lives elsewhere now; how many entries that was."""
        prefix = b"/%b/" % service.encode()
        keys = {key for key in self.core.stored() if key.startswith(prefix)}
        self._void(keys | {flight.key for flight in self._fetching if flight.key.startswith(prefix)})
        return sum(self.core.purge(key) for key in keys)

    def clear(self) -> int:
        """Forget everything; how many entries that was."""
        self._void(None)
        count = self.core.clear()
        self._emit("cache", action="purged", path=None, entries=count)
        return count

    def _void(self, keys: set[bytes] | None) -> None:
        """Answers on their way may be older than what just happened: they are passed on, but not kept."""
        for flight in list(self._fetching):
            if keys is None or flight.key in keys:
                flight.void = True
        for wanted, flight in list(self._flights.items()):
            if flight.void:
                del self._flights[wanted]

    def snapshot(self) -> dict[str, Any]:
        """Entries, bytes, their bounds and the most used entries (at most 50)."""
        return {"max_entries": self._options.max_entries, **self.core.snapshot(self._clock())}

    def adopt(self, old: Self) -> None:
        """Go on with the entries of `old`, as far as there is room."""
        self.core.adopt(old.core)


def _marked(response: Response, exchange: Exchange, cache: str, status: bytes) -> Response:
    """Say on a response of the service, and to the log, what the cache did."""
    status = NAME + status
    exchange.cache = cache
    exchange.cache_status = status
    headers: Headers = [field for field in response.headers if field[0] != b"x-cache"]
    headers += [(b"x-cache", cache.encode()), (b"cache-status", status)]
    response.headers = headers
    return response


def _short(length: bytes | None, received: int) -> bool:
    """Whether the body is not as long as Content-Length says: then it is not complete."""
    return length is not None and int(length) != received


def _without_length(headers: Headers, entry: Entry) -> Headers:
    """The fields for a body that is still coming: a length only where the service named it."""
    if any(name == b"content-length" for name, _ in entry.headers):
        return headers
    return [field for field in headers if field[0] != b"content-length"]


def _copy(exchange: Exchange) -> Exchange:
    """A GET for the same, without conditions and ranges, that lives on when the client has its answer."""
    dropped = CONDITIONS | {b"range", b"if-range"}
    copy = Exchange(
        "GET",
        exchange.raw_path,
        path=exchange.path,
        rest=exchange.rest,
        query=exchange.query,
        headers=[field for field in exchange.headers if field[0] not in dropped],
        service=exchange.service,
        client=exchange.client,
        peer=exchange.peer,
        scheme=exchange.scheme,
        host=exchange.host,
        http_version=exchange.http_version,
        started=exchange.started,
    )
    copy.identity = exchange.identity
    copy.request_id = exchange.request_id
    return copy
