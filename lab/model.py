"""The vocabulary that every room of the gateway shares; it imports nothing of ours.

A client's request enters as an `Exchange` and leaves as a `Response`. What stands between is a list of
policies, each `async (exchange, call_next) -> Response`: a policy answers by itself, calls `call_next` once,
or calls it again.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any, Literal, Protocol

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order they arrived; names in lower case, repeated fields stay repeated."""

Clock = Callable[[], float]
"""Seconds that only ever grow (`time.monotonic`); a test passes its own."""

OnEnd = Callable[["BaseException | None"], None]


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the field `name` (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


class BodyTooLarge(Exception):
    """The request's body is longer than `limits.max_body` allows."""


class BodyGone(Exception):
    """The body was asked for a second time, but was too long to be kept."""


class Body:
    """A request's body: a stream that can be read again while it is no longer than `keep` bytes.

    `source` yields the chunks as they arrive; None is a request without a body. `length` is what
    Content-Length says in bytes, None where the framing is chunked. Reading more than `limit` bytes raises
    `BodyTooLarge`.
    """

    __slots__ = ("_kept", "_source", "_started", "_whole", "keep", "length", "limit", "seen")

    def __init__(
        self,
        source: AsyncIterator[bytes] | None = None,
        *,
        length: int | None = 0,
        keep: int = 65_536,
        limit: float = math.inf,
    ) -> None:
        self._source = source
        self._kept: list[bytes] | None = []
        self._started = False
        self._whole = source is None
        self.length = length
        self.keep = keep
        self.limit = limit
        self.seen = 0

    @property
    def empty(self) -> bool:
        """True where the request has no body at all (not even one of length zero in chunks)."""
        return self._source is None

    @property
    def replayable(self) -> bool:
        """True while everything that was read so far can be read once more."""
        return self._kept is not None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body from its first byte; a second reader gets what was kept, then the rest.

        Raises `BodyGone` where the beginning is no longer there, `BodyTooLarge` past `limit`.
        """
        if self._kept is None:
            raise BodyGone
        kept = self._kept
        at = 0
        while True:
            while at < len(kept):
                at += 1
                yield kept[at - 1]
            if self._whole or self._source is None:
                return
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self._whole = True
                return
            except BaseException:
                # The source may be closed now and end early when asked again: half a body must never be
                # replayed as a whole one.
                self._kept = None
                raise
            self.seen += len(chunk)
            if self.seen > self.limit:
                raise BodyTooLarge
            if self._kept is not None and self.seen > self.keep:
                self._kept = None
                kept = kept[at:]
                at = 0
            if self._kept is None:
                yield chunk
            else:
                kept.append(chunk)


NO_BODY = Body()
"""Shared by all requests without a body."""


class Exchange:
    """One request on its way through the gateway, and what the stages found out about it.

    The upper half is the request as it came. The lower half is filled in by the stages and read by the
    access log, the metrics and the upstream.
    """

    __slots__ = (
        "attempts",
        "body",
        "breaker",
        "bytes_out",
        "cache",
        "cache_status",
        "client",
        "deadline",
        "headers",
        "host",
        "http_version",
        "identity",
        "kind",
        "limited",
        "method",
        "path",
        "peer",
        "query",
        "raw_path",
        "refusal",
        "request_id",
        "rest",
        "scheme",
        "service",
        "started",
        "trusted",
    )

    def __init__(
        self,
        method: str,
        raw_path: bytes,
        *,
        path: str | None = None,
        rest: bytes = b"/",
        query: bytes = b"",
        headers: Headers | None = None,
        body: Body = NO_BODY,
        service: str = "",
        client: str = "",
        peer: str = "",
        scheme: str = "http",
        host: bytes = b"",
        http_version: str = "1.1",
        kind: Literal["http", "websocket"] = "http",
        started: float = 0.0,
    ) -> None:
        self.kind = kind
        self.method = method
        self.raw_path = raw_path
        """The target's path exactly as the client sent it, service prefix included, without the query."""
        self.path = raw_path.decode("latin-1") if path is None else path
        """The same, with escapes of unreserved characters decoded (RFC 3986 §6.2.2): what policies match."""
        self.rest = rest
        """`raw_path` without the service prefix: what the service is asked for."""
        self.query = query
        """The query's bytes without the question mark."""
        self.headers: Headers = [] if headers is None else headers
        self.body = body
        self.service = service
        self.peer = peer
        """The address at the other end of the socket."""
        self.client = client or peer
        """The address the request is counted for: the peer, or what a trusted proxy says."""
        self.trusted = False
        """Whether the peer is one of `trusted_proxies`, whose forwarding headers are believed."""
        self.scheme = scheme
        self.host = host
        self.http_version = http_version
        self.started = started

        self.request_id = ""
        self.identity: str | None = None
        """The name of the API key that was shown; None for anonymous requests."""
        self.deadline: float | None = None
        """The moment (monotonic seconds) by which the service's response head must be there."""
        self.attempts = 0
        """How often the service was asked."""
        self.limited: bool | None = None
        """True: refused by the rate limiter; False: admitted; None: never seen by it."""
        self.cache: str | None = None
        """HIT, MISS or BYPASS."""
        self.cache_status: bytes | None = None
        self.bytes_out = 0
        """Bytes of the body that went to the client so far."""
        self.refusal: Response | None = None
        """What the edge answers by itself: a request that names no service or may not be forwarded."""
        self.breaker: str | None = None
        """The state of the service's circuit breaker as this exchange met it."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of the request header `name` (lower case), or None."""
        return header(self.headers, name)


class Tunnel(Protocol):
    """The far half of an accepted WebSocket: what the last stage hands to the edge."""

    subprotocol: str | None

    async def aclose(self, code: int = 1001, reason: str = "") -> None: ...


class Response:
    """The answer on its way back to the client.

    The body is `content`, whole, or `stream`, in pieces as they arrive. `failure` names why the gateway
    answers on a service's behalf (an error type of RFC 9209 §2.3, such as `connection_refused`); it is None
    for what a service said itself. Whoever drops a response instead of passing it on calls `aclose`.
    """

    __slots__ = ("_on_end", "content", "failure", "headers", "status", "stream", "tunnel")

    def __init__(
        self,
        status: int,
        headers: Headers | None = None,
        content: bytes = b"",
        stream: AsyncIterator[bytes] | None = None,
        *,
        failure: str | None = None,
        tunnel: Tunnel | None = None,
    ) -> None:
        self.status = status
        self.headers: Headers = [] if headers is None else headers
        self.content = content
        self.stream = stream
        self.failure = failure
        self.tunnel = tunnel
        self._on_end: list[OnEnd] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of the response header `name` (lower case), or None."""
        return header(self.headers, name)

    def on_end(self, callback: OnEnd) -> None:
        """Call `callback(error)` once, when the last byte is out (error None) or the exchange broke off.

        The error is an `asyncio.CancelledError` where the client went away, else what the service did
        wrong after its response head.
        """
        if self._on_end is None:
            self._on_end = [callback]
        else:
            self._on_end.append(callback)

    def end(self, error: BaseException | None = None) -> None:
        """Tell those who asked through `on_end`, the innermost stage first. Further calls do nothing."""
        callbacks, self._on_end = self._on_end, None
        if callbacks is not None:
            for callback in callbacks:
                try:
                    callback(error)
                except Exception:
                    # One stage's mistake must not keep the others from hearing that it is over.
                    logging.getLogger("gateway").exception("a stage failed at the end of an exchange")

    async def aclose(self, error: BaseException | None = None) -> None:
        """Let go of the body and of the connection behind it."""
        stream, self.stream = self.stream, None
        tunnel, self.tunnel = self.tunnel, None
        try:
            if stream is not None and hasattr(stream, "aclose"):
                await stream.aclose()
            if tunnel is not None:
                await tunnel.aclose()
        finally:
            self.end(error)


Handler = Callable[[Exchange], Awaitable[Response]]
"""What a policy gets as `call_next`: the rest of the pipeline."""


class Policy(Protocol):
    """One stage of the pipeline."""

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response: ...


Emit = Callable[..., None]
"""`emit(kind, **data)`: something changed that a viewer must not miss (a breaker's state, a policy's swap).

Transitions only; figures that change with each request are counted, and read by the snapshot.
"""


def ignore(kind: str, **data: Any) -> None:
    """An `Emit` that nobody listens to."""


PROBLEM_JSON = (b"content-type", b"application/problem+json")


def problem(
    status: int,
    name: str,
    detail: str,
    *,
    service: str | None = None,
    retry_after: float | None = None,
    failure: str | None = None,
    headers: Headers | None = None,
) -> Response:
    """An error that the gateway makes itself, as problem details (RFC 9457).

    `name` ends the problem's type, such as `limit-exceeded`. `retry_after` is in seconds and is rounded up,
    to 1 at least. `failure` is the error type for Proxy-Status (RFC 9209), where a service is to blame.
    """
    body: dict[str, Any] = {
        "type": f"tag:gateway-lab,2026:{name}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    fields: Headers = [PROBLEM_JSON]
    if service:
        body["service"] = service
    if retry_after is not None:
        seconds = max(1, math.ceil(retry_after))
        body["retry_after"] = seconds
        fields.append((b"retry-after", b"%d" % seconds))
    if failure is not None:
        fields.append((b"proxy-status", b"gateway-lab; error=" + failure.encode("ascii")))
    if headers:
        fields.extend(headers)
    content = json.dumps(body).encode()
    fields.append((b"content-length", b"%d" % len(content)))
    return Response(status, fields, content, failure=failure)
