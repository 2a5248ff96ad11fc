"""Exercise 16, capstone: one way to write a whole gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import time
import uuid

import httpx
import uvicorn
import websockets
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketException, status

# -- configuration -------------------------------------------------------------------------------------------

SERVICES = {
    "service-a": os.environ.get("SERVICE_A_URL", "http://127.0.0.1:8001"),
    "service-b": os.environ.get("SERVICE_B_URL", "http://127.0.0.1:8002"),
}
LIMIT = int(os.environ.get("RATE_LIMIT", "10"))
WINDOW = float(os.environ.get("RATE_WINDOW", "60"))
TTL = float(os.environ.get("CACHE_TTL", "30"))
KEYS = {key for key in os.environ.get("API_KEYS", "").split(",") if key}
FAILURES = int(os.environ.get("BREAKER_FAILURES", "5"))
OPEN_FOR = float(os.environ.get("BREAKER_OPEN_FOR", "10"))

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

# -- policies ------------------------------------------------------------------------------------------------


def left(moment: float) -> float:
    """Seconds until that moment; 0.0 where it is over."""
    return max(0.0, moment - time.monotonic())


class Limiter:
    """A sliding window: for each client the moments at which its admitted requests will no longer count."""

    def __init__(self) -> None:
        self._ends: dict[str, list[float]] = {}

    def wait(self, client: str) -> float:
        """0.0: admitted, and counted; else the seconds until a request is."""
        ends = self._ends[client] = [end for end in self._ends.get(client, []) if left(end)]
        if len(ends) >= LIMIT:
            return left(min(ends))
        ends.append(time.monotonic() + WINDOW)
        return 0.0


class Cache:
    """Answers, by service, path and query, each with the moment at which it is too old."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], tuple[float, Response]] = {}

    def get(self, key: tuple[str, str]) -> Response | None:
        if key in self._entries:
            until, response = self._entries[key]
            if left(until):
                return response
        return None

    def put(self, key: tuple[str, str], response: Response) -> None:
        self._entries[key] = time.monotonic() + TTL, response


class Breaker:
    """After `FAILURES` failures in a row a service is left alone for `OPEN_FOR` seconds."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._until: float  # there is none before the first note

    def wait(self) -> float:
        """Seconds for which the service is left alone."""
        return left(self._until) if self._in_a_row >= FAILURES else 0.0

    def note(self, good: bool) -> None:
        self._in_a_row = 0 if good else self._in_a_row + 1
        self._until = time.monotonic() + OPEN_FOR


limiter = Limiter()
cache = Cache()
breakers = {service: Breaker() for service in SERVICES}
client = httpx.AsyncClient(trust_env=False)
log = logging.getLogger("gateway")
app = FastAPI()


def refusal(status: int, detail: str, **fields: str) -> Response:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(json.dumps({"detail": detail}), status, headers, "application/json")


def admit(service: str, key: str | None, address: str) -> Response | None:
    """None, or why the request goes no further."""
    if KEYS and key not in KEYS:
        return refusal(401, "an API key is needed", WWW_Authenticate="ApiKey")
    if service not in SERVICES:
        return refusal(404, "no such service")
    if wait := limiter.wait(key if KEYS and key else address):
        return refusal(429, "too many requests", Retry_After=str(math.ceil(wait)))
    if wait := breakers[service].wait():
        return refusal(503, "the service is unavailable", Retry_After=str(math.ceil(wait)))
    return None


# -- HTTP ----------------------------------------------------------------------------------------------------


@app.api_route("/{service}/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def http(request: Request, service: str) -> Response:
    assert request.client is not None
    request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
    refused = admit(service, request.headers.get("x-api-key"), request.client.host)
    response = refused or await answer(request, service, request_id)
    response.headers["X-Request-ID"] = request_id
    log.info("%s %s %s %s", request_id, request.method, request.url.path, response.status_code)
    return response


async def answer(request: Request, service: str, request_id: str) -> Response:
    """From the cache, or from the service."""
    # The path as it was sent: the decoded one has lost the difference between / and %2F.
    target = request.scope["raw_path"].decode("latin-1").removeprefix(f"/{service}")
    if request.url.query:
        target += f"?{request.url.query}"
    key = service, target
    if request.method == "GET" and (kept := cache.get(key)) is not None:
        return copy(kept)
    response = await forward(request, SERVICES[service] + target, request_id)
    breakers[service].note(response.status_code < 500)
    if request.method == "GET" and response.status_code == 200:
        cache.put(key, copy(response))
    return response


async def forward(request: Request, url: str, request_id: str) -> Response:
    own = {"host", "content-length", "x-api-key", "x-request-id"}
    headers = end_to_end(request.headers.items(), own)
    try:
        async with client.stream(
            request.method,
            url,
            headers=[*headers, ("x-request-id", request_id)],
            content=await request.body(),
        ) as upstream:
            # The bytes as they come: httpx would unpack them, and Content-Encoding says that they are packed.
            response = Response(
                b"".join([chunk async for chunk in upstream.aiter_raw()]), upstream.status_code
            )
    except httpx.TransportError:
        return refusal(502, "the service cannot be reached")
    for name, value in end_to_end(upstream.headers.multi_items(), {"content-length"}):
        response.headers.append(name, value)
    return response


def end_to_end(headers: list[tuple[str, str]], own: set[str]) -> list[tuple[str, str]]:
    """The fields that are for the other end: without those of one connection, and without our `own`."""
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP | own]


def copy(response: Response) -> Response:
    """A response of one's own: what is kept must not change any more."""
    fresh = Response(response.body, response.status_code)
    fresh.raw_headers = list(response.raw_headers)
    return fresh


# -- WebSocket -----------------------------------------------------------------------------------------------


@app.websocket("/{service}/{rest:path}")
async def websocket(socket: WebSocket, service: str, rest: str) -> None:
    assert socket.client is not None
    if admit(service, socket.headers.get("x-api-key"), socket.client.host) is not None:
        raise WebSocketException(status.WS_1008_POLICY_VIOLATION)  # before it was accepted: that is a 403
    url = f"ws{SERVICES[service].removeprefix('http')}/{rest}"
    if socket.url.query:
        url += f"?{socket.url.query}"
    # Whatever happens in here: at its end the service's side is closed, and both directions are over.
    async with websockets.connect(url, proxy=None) as upstream, asyncio.TaskGroup() as directions:
        await socket.accept()
        upwards = directions.create_task(to_service(socket, upstream))
        # A close code other than 1000 and 1001 ends the loop with an exception.
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in upstream:
                await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
        if not upwards.done():
            await socket.close(upstream.close_code, upstream.close_reason)


async def to_service(socket: WebSocket, upstream: websockets.ClientConnection) -> None:
    """The other direction, at its own pace, until the client has gone; then the service hears of it."""
    while (message := await socket.receive())["type"] == "websocket.receive":
        data = message.get("text")
        await upstream.send(message["bytes"] if data is None else data)
    try:
        await upstream.close(message["code"])
    except websockets.ProtocolError:
        # 1005 and 1006 mean that there was no code. They are never sent.
        await upstream.close()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
