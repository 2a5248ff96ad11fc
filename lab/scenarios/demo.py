"""`lab demo`: a tour of the gateway without a terminal, seen over the wire.

Each step of the tour is a coroutine that sends real requests to a real gateway and either returns what it
saw, in one line, or raises `NotSeen`. Nothing is taken for granted: that the cache answered is read from
service A's own counter, that a breaker opened from the gateway's live feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import websockets
from websockets.asyncio.client import connect

STEP_TIMEOUT = 10.0
"""Seconds that one step may take before it counts as not seen."""
TOUR_TIMEOUT = 24.0
"""Seconds for all of it, so that a demo of a broken gateway also ends within half a minute."""
UPLOAD = 8 * 2**20
DOWNLOAD = 64 * 2**20
"""Bytes; the upload stays below the built-in `limits.max_body` of 10 MiB."""
LIMIT = 3
FAILURES = 3
OPEN_FOR = 1.0
PROBES = 2


class NotSeen(Exception):
    """The gateway did not do what the step is there to show; the text says what it did instead."""


def expect(condition: bool, what: str) -> None:
    """Raise `NotSeen(what)` unless `condition`."""
    if not condition:
        raise NotSeen(what)


UNREACHABLE = (httpx.HTTPError, websockets.WebSocketException, OSError)


@dataclass(frozen=True)
class Sight:
    """One thing that was to be seen, and whether it was."""

    name: str
    seen: bool
    text: str
    seconds: float


class Tour:
    """The steps, on the gateway at `url` with its admin `token`.

    `kill_service_a` kills the process of service A, to be restarted by its launcher; None leaves that step
    out. While the tour lasts, the policies are set as it needs them; at its end they are put back.
    """

    def __init__(
        self, url: str, token: str, *, kill_service_a: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.url = url
        self._token = token
        self._kill_service_a = kill_service_a
        self._run = random.randrange(10**6, 9 * 10**8)
        """New in each tour: its paths were never asked for before, so they are in no cache and no window."""
        self._paths = 0
        self._service_a = ""
        self._events: list[dict[str, Any]] = []
        self._heard = asyncio.Event()

    async def walk(self) -> AsyncIterator[Sight]:
        """All steps one after the other, each `Sight` as soon as it is there."""
        try:
            async with self:
                for name, step in self.steps():
                    yield await self.look(name, step)
        except NotSeen as error:
            yield Sight("control", False, f"the gateway cannot be controlled: {error}", 0.0)

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        """The tour in order; some steps build on those before."""
        crash = [("crash and restart", self.crash_and_restart)] if self._kill_service_a else []
        return [
            ("health", self.health),
            ("request id", self.request_id),
            ("miss", self.miss),
            ("hit", self.hit),
            ("no such service", self.unknown_service),
            ("429", self.limit),
            ("streaming", self.streaming),
            ("download", self.download),
            ("upload", self.upload),
            ("websocket text", self.websocket_text),
            ("websocket binary", self.websocket_binary),
            ("websocket close", self.websocket_close),
            ("breaker opens", self.breaker_opens),
            ("503 while open", self.refused_while_open),
            ("breaker recovers", self.breaker_recovers),
            *crash,
            ("metrics", self.metrics),
        ]

    async def look(self, name: str, step: Callable[[], Awaitable[str]]) -> Sight:
        """Take one step; whatever goes wrong in it is something not seen."""
        began = time.monotonic()
        patience = min(STEP_TIMEOUT, max(0.0, self._began + TOUR_TIMEOUT - began))
        try:
            async with asyncio.timeout(patience):
                text, seen = await step(), True
        except TimeoutError:
            text, seen = f"nothing to see within {patience:.2g} s", False
        except (NotSeen, *UNREACHABLE, ValueError, KeyError) as error:
            text, seen = _oneline(error), False
        return Sight(name, seen, text, round(time.monotonic() - began, 3))

    async def __aenter__(self) -> Self:
        """Connect, and set the policies. Raises `NotSeen` where the gateway does not let us."""
        self._began = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            client = httpx.AsyncClient(base_url=self.url, timeout=STEP_TIMEOUT, trust_env=False)
            self._client = await stack.enter_async_context(client)
            try:
                await stack.enter_async_context(self._tuned())
                await stack.enter_async_context(self._feed())
            except UNREACHABLE as error:
                raise NotSeen(_oneline(error)) from None
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    # -- the plain path --------------------------------------------------------------------------------------

    async def health(self) -> str:
        response = await self._client.get("/health/services")
        expect(response.status_code == 200, f"/health/services answered {response.status_code}")
        services = response.json()["services"]
        for name in ("service-a", "service-b"):
            expect(name in services, f"the gateway has no {name}")
            expect(services[name]["status"] == "up", f"{name} is {services[name]['status']}")
        return f"the gateway at {self.url} says that {' and '.join(services)} are up"

    async def request_id(self) -> str:
        mine = f"demo-{self._run}"
        response = await self._get("/service-a/headers", 200, {"X-Request-ID": mine})
        arrived = dict(response.json())
        expect(response.headers.get("X-Request-ID") == mine, "the answer does not carry our X-Request-ID")
        expect(arrived.get("x-request-id") == mine, "service A did not get our X-Request-ID")
        expect("x-forwarded-for" in arrived and "via" in arrived, "X-Forwarded-For or Via did not arrive")
        made = (await self._get("/service-a/headers", 200)).headers.get("X-Request-ID")
        expect(bool(made) and made != mine, "a request without an id got none")
        return f"X-Request-ID {mine} reached service A and came back; without one the gateway made {made}"

    async def miss(self) -> str:
        path = self._item = f"/items/{self._run}"
        before = await self._asked(path)
        response = await self._get("/service-a" + path, 200)
        cache = response.headers.get("X-Cache")
        expect(cache == "MISS", f"X-Cache is {cache}")
        asked = await self._asked(path) - before
        expect(asked == 1, f"service A counted {asked} requests instead of 1")
        self._body = response.content
        return f"GET /service-a{path} → 200, X-Cache: MISS; service A counted 1 request"

    async def hit(self) -> str:
        response = await self._get("/service-a" + self._item, 200)
        cache = response.headers.get("X-Cache")
        expect(cache == "HIT", f"X-Cache is {cache}")
        expect(response.content == self._body, "the answer differs from the first one")
        asked = await self._asked(self._item)
        expect(asked == 1, f"service A counted {asked} requests instead of 1")
        return "the same again → 200, X-Cache: HIT, the same bytes; service A still counts 1 request"

    async def unknown_service(self) -> str:
        response = await self._get("/no-such-service/x", 404)
        kind = response.headers.get("Content-Type", "")
        expect(kind.startswith("application/problem+json"), f"Content-Type is {kind}")
        return f"GET /no-such-service/x → 404, problem+json: {response.json()['detail']}"

    async def limit(self) -> str:
        path = self._limited
        for n in range(LIMIT):
            response = await self._get("/service-a" + path, 200)
            left = response.headers.get("X-RateLimit-Remaining")
            expect(left == str(LIMIT - 1 - n), f"after request {n + 1} X-RateLimit-Remaining is {left}")
        asked = await self._asked(path)
        response = await self._get("/service-a" + path, 429)
        wait = response.headers.get("Retry-After", "")
        expect(wait.isdecimal() and int(wait) >= 1, f"Retry-After is {wait!r}")
        expect(await self._asked(path) == asked, "the refused request reached service A")
        return f"request {LIMIT + 1} of {LIMIT} allowed → 429, Retry-After: {wait}; service A was not asked"

    # -- streams ---------------------------------------------------------------------------------------------

    async def streaming(self) -> str:
        chunks, pause = 3, 0.2
        arrivals = []
        async with self._client.stream(
            "GET", "/service-a/stream", params={"chunks": chunks, "pause": pause, "run": self._run}
        ) as response:
            expect(response.status_code == 200, f"/stream answered {response.status_code}")
            async for _ in response.aiter_lines():
                arrivals.append(time.monotonic())
        spread = arrivals[-1] - arrivals[0] if arrivals else 0.0
        expect(len(arrivals) == chunks, f"{len(arrivals)} of {chunks} chunks arrived")
        expect(spread >= pause, "the chunks came all at once: the gateway held them back")
        return f"{chunks} chunks arrived one by one over {spread:.1f} s"

    async def download(self) -> str:
        size = 0
        async with self._client.stream("GET", f"/service-a/bytes/{DOWNLOAD}") as response:
            expect(response.status_code == 200, f"/bytes answered {response.status_code}")
            async for block in response.aiter_raw():
                size += len(block)
        expect(size == DOWNLOAD, f"{size} of {DOWNLOAD} bytes arrived")
        return (
            f"{size / 2**20:.0f} MiB streamed from service A, {response.headers.get('X-Cache', 'not cached')}"
        )

    async def upload(self) -> str:
        block = random.Random(self._run).randbytes(65_536)
        digest = hashlib.sha256()

        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(UPLOAD // len(block)):
                digest.update(block)
                yield block

        response = await self._client.post("/service-a/upload", content=blocks())
        expect(response.status_code == 200, f"/upload answered {response.status_code}")
        expect(response.json()["bytes"] == UPLOAD, f"service A counted {response.json()['bytes']} bytes")
        expect(response.json()["sha256"] == digest.hexdigest(), "the bytes arrived changed")
        return f"{UPLOAD / 2**20:.0f} MiB streamed to service A in chunks, checksum right"

    # -- WebSocket -------------------------------------------------------------------------------------------

    def _websocket(self, path: str, **options: Any) -> connect:
        address = urlsplit(self.url)._replace(scheme="ws").geturl() + path
        return connect(address, proxy=None, **options)

    async def websocket_text(self) -> str:
        return await self._echo(f"tour {self._run}: grüße")

    async def websocket_binary(self) -> str:
        return await self._echo(random.Random(self._run).randbytes(100_000))

    async def _echo(self, message: str | bytes) -> str:
        subprotocols = [websockets.Subprotocol("echo.v1")]
        async with self._websocket("/service-b/ws", subprotocols=subprotocols) as socket:
            expect(socket.subprotocol == "echo.v1", f"the subprotocol is {socket.subprotocol}")
            await socket.send(message)
            back = await socket.recv()
        expect(type(back) is type(message), f"{type(message).__name__} came back as {type(back).__name__}")
        expect(back == message, "another message came back")
        kind = f"text {message!r}" if isinstance(message, str) else f"{len(message)} bytes"
        return f"{kind} came back from service B; it chose the subprotocol echo.v1"

    async def websocket_close(self) -> str:
        async with self._websocket("/service-b/ws/close/4001?reason=demo") as socket:
            await socket.wait_closed()
        code, reason = socket.close_code, socket.close_reason
        expect((code, reason) == (4001, "demo"), f"closed with {code} {reason!r}")
        return "service B closed with 4001 'demo', and that is what arrived"

    # -- failure and recovery --------------------------------------------------------------------------------

    async def breaker_opens(self) -> str:
        self._events.clear()
        for _ in range(FAILURES):
            await self._get(f"/service-a/status/500?run={self._next()}", 500)
        event = await self._transition("open")
        return f"{FAILURES} answers of 500 → breaker {event['from']} → open: {event['reason']}"

    async def refused_while_open(self) -> str:
        path = f"/items/{self._next()}"
        response = await self._get("/service-a" + path, 503)
        wait = response.headers.get("Retry-After", "")
        expect(wait.isdecimal() and int(wait) >= 1, f"Retry-After is {wait!r}")
        expect(await self._asked(path) == 0, "the request reached service A")
        return f"GET /service-a{path} → 503, Retry-After: {wait}; service A was not asked"

    async def breaker_recovers(self) -> str:
        began = time.monotonic()
        admitted = 0
        while not any(event["to"] == "closed" for event in self._transitions()):
            response = await self._client.get(f"/service-a/items/{self._next()}")
            admitted += response.status_code == 200
            await asyncio.sleep(0.05)
        order = [event["to"] for event in self._transitions()]
        expect(order[-2:] == ["half_open", "closed"], f"the breaker went {' → '.join(order)}")
        expect(admitted >= PROBES, f"{admitted} probes were answered instead of {PROBES}")
        took = time.monotonic() - began
        return f"{' → '.join(order)} after {PROBES} probes that succeeded, {took:.1f} s later"

    async def crash_and_restart(self) -> str:
        assert self._kill_service_a is not None
        while (await self._client.get(f"/service-a/items/{self._next()}")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # it must be well before, or what follows would show nothing
        began = time.monotonic()
        await self._kill_service_a()
        refused: list[int] = []
        while True:
            response = await self._client.get(f"/service-a/items/{self._next()}")
            if response.status_code == 200 and refused:
                break
            if response.status_code != 200:
                refused.append(response.status_code)
            await asyncio.sleep(0.05)
        statuses = sorted(set(refused))
        expect(set(statuses) <= {502, 503}, f"it answered {statuses}")
        seen = " and ".join(str(status) for status in statuses)
        took = time.monotonic() - began
        return f"service A killed → {seen}; restarted by the launcher, 200 again after {took:.1f} s"

    async def metrics(self) -> str:
        text = (await self._get("/metrics", 200)).text
        wanted = {
            "requests": "gateway_requests_total",
            "hits": "gateway_cache_hits_total",
            "misses": "gateway_cache_misses_total",
            "refused by the limiter": 'gateway_rate_limit_requests_total{limited="true"}',
        }
        counts = {what: _sum(text, name) for what, name in wanted.items()}
        for what, name in wanted.items():
            expect(counts[what] >= 1, f"{name} is missing or zero")
        return "/metrics counts " + ", ".join(f"{count:.0f} {what}" for what, count in counts.items())

    # -- tools -----------------------------------------------------------------------------------------------

    def _next(self) -> int:
        """A number for a path that nobody asked for before."""
        self._paths += 1
        return -self._run - self._paths

    async def _get(self, path: str, status: int, headers: dict[str, str] | None = None) -> httpx.Response:
        response = await self._client.get(path, headers=headers)
        expect(response.status_code == status, f"GET {path} → {response.status_code} instead of {status}")
        return response

    async def _asked(self, path: str) -> int:
        """How often service A was asked for `path`, by its own count, which the gateway has no part in."""
        async with httpx.AsyncClient(trust_env=False, timeout=STEP_TIMEOUT) as direct:
            paths: dict[str, int] = (await direct.get(self._service_a + "/stats")).json()["paths"]
        return paths.get(path, 0)

    async def _control(self, method: str, path: str, body: Any = None) -> Any:
        response = await self._client.request(
            method, "/admin" + path, json=body, headers={"Authorization": f"Bearer {self._token}"}
        )
        expect(response.is_success, f"{method} /admin{path} → {response.status_code}: {response.text}")
        return response.json()

    @property
    def _limited(self) -> str:
        return f"/items/{self._run + 1}"

    @contextlib.asynccontextmanager
    async def _tuned(self) -> AsyncIterator[None]:
        """The policies as the tour needs them; afterwards as they were."""
        before = await self._control("GET", "/policies")
        self._service_a = (await self._control("GET", "/services/service-a"))["url"]
        route = {"match": f"/service-a{self._limited}", "limit": LIMIT, "window": 60}
        limit = {"limit": 10_000, "window": 60, "routes": [route]}
        breaker = {"failures": FAILURES, "open_for": OPEN_FOR, "probes": PROBES}
        wanted: dict[str, dict[str, Any]] = {
            "auth": {"enabled": False},  # what is asked for with a key is not cached for everyone
            "rate_limit": {"enabled": True, "use": "sliding_window", "options": limit},
            "cache": {"enabled": True, "use": "http"},
            "breaker": {"enabled": True, "use": "consecutive", "options": breaker},
        }
        changed = []
        try:
            for name, change in wanted.items():
                changed.append(name)
                await self._control("PUT", f"/policies/{name}", change)
            yield
        finally:
            for name in changed:
                kept = ("enabled", "use", "options")
                old = {key: before[name][key] for key in kept if before[name][key] is not None}
                with contextlib.suppress(NotSeen, httpx.HTTPError):
                    await self._control("PUT", f"/policies/{name}", old)

    @contextlib.asynccontextmanager
    async def _feed(self) -> AsyncIterator[None]:
        """Listens to the gateway's live feed, for the transitions of the breaker."""
        address = urlsplit(self.url)._replace(scheme="ws").geturl() + "/admin/events"
        token = {"Authorization": f"Bearer {self._token}"}
        async with connect(address, additional_headers=token, proxy=None, max_size=None) as socket:
            await socket.recv()  # the snapshot: what was before the tour
            listener = asyncio.create_task(self._listen(socket))
            try:
                yield
            finally:
                listener.cancel()

    async def _listen(self, socket: websockets.ClientConnection) -> None:
        async for message in socket:
            event = json.loads(message)
            if event.get("type") == "event":
                self._events.append(event)
                self._heard.set()

    def _transitions(self) -> list[dict[str, Any]]:
        return [e for e in self._events if e["kind"] == "breaker" and e["service"] == "service-a"]

    async def _transition(self, to: str) -> dict[str, Any]:
        """The breaker's first transition to the state `to` since the events were cleared."""
        while True:
            for event in self._transitions():
                if event["to"] == to:
                    return event
            self._heard.clear()
            await self._heard.wait()


def _sum(text: str, name: str) -> float:
    """The sum of the samples of a Prometheus text whose name (and labels) begin with `name`."""
    lines = [line for line in text.splitlines() if line.startswith(name) and line[len(name)] in " {"]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def _oneline(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
