# rejected by: test_a_refused_request_is_not_forwarded
# recognised as: forwarded
# Asks the service first and looks at the limit afterwards.
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import time
import uuid
from collections import deque

import httpx
import websockets
from fastapi import FastAPI, Request, Response, WebSocket

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


class Limiter:
    """A sliding window: the moments of each client's admitted requests."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def wait(self, client: str) -> float:
        """0.0: admitted, and counted; else the seconds until a request is."""
        now = time.monotonic()
        times = self._times.setdefault(client, deque())
        while times and times[0] + WINDOW <= now:
            times.popleft()
        if len(times) >= LIMIT:
            return times[0] + WINDOW - now
        times.append(now)
        return 0.0


class Cache:
    """Answers, by service, path and query, each with the moment at which it is too old."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], tuple[float, Response]] = {}

    def get(self, key: tuple[str, str, str]) -> Response | None:
        until, response = self._entries.get(key, (0.0, None))
        return response if time.monotonic() < until else None

    def put(self, key: tuple[str, str, str], response: Response) -> None:
        self._entries[key] = (time.monotonic() + TTL, response)


class Breaker:
    """After `FAILURES` failures in a row a service is left alone for `OPEN_FOR` seconds."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._until = 0.0

    @property
    def open(self) -> bool:
        return self._in_a_row >= FAILURES and time.monotonic() < self._until

    def note(self, good: bool) -> None:
        self._in_a_row = 0 if good else self._in_a_row + 1
        self._until = time.monotonic() + OPEN_FOR


limiter = Limiter()
cache = Cache()
breakers = {service: Breaker() for service in SERVICES}
client = httpx.AsyncClient(timeout=10, trust_env=False)
log = logging.getLogger("gateway")
app = FastAPI()


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps({"detail": detail}), status, headers, "application/json")


def admit(service: str, key: str | None, address: str) -> Response | None:
    """None, or why the request goes no further."""
    if KEYS and key not in KEYS:
        return refusal(401, "an API key is needed", {"WWW-Authenticate": "ApiKey"})
    if service not in SERVICES:
        return refusal(404, "no such service")
    if breakers[service].open:
        return refusal(503, "the service is unavailable", {"Retry-After": str(math.ceil(OPEN_FOR))})
    return None


# -- HTTP ----------------------------------------------------------------------------------------------------


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.api_route("/{service}/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def http(request: Request, service: str) -> Response:
    began = time.perf_counter()
    request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
    response = await answer(request, service, request_id)
    response.headers["X-Request-ID"] = request_id
    line = {"request_id": request_id, "method": request.method, "path": request.url.path}
    line |= {"status": response.status_code, "ms": round(1000 * (time.perf_counter() - began), 1)}
    log.info(json.dumps(line))
    return response


async def answer(request: Request, service: str, request_id: str) -> Response:
    assert request.client is not None
    refused = admit(service, request.headers.get("x-api-key"), request.client.host)
    if refused is not None:
        return refused
    # The path as it was sent: the decoded one has lost the difference between / and %2F.
    rest = request.scope["raw_path"].decode("latin-1").removeprefix(f"/{service}")
    query = request.url.query
    key = (service, rest, query)
    if request.method == "GET" and (kept := cache.get(key)) is not None:
        return copy(kept, "HIT")
    response = await forward(request, service, rest + (f"?{query}" if query else ""), request_id)
    breakers[service].note(response.status_code < 500)
    if wait := limiter.wait(request.headers["x-api-key"] if KEYS else request.client.host):
        return refusal(429, "too many requests", {"Retry-After": str(math.ceil(wait))})
    if request.method == "GET" and response.status_code == 200:
        cache.put(key, copy(response))
    return copy(response, "MISS") if request.method == "GET" else response


async def forward(request: Request, service: str, target: str, request_id: str) -> Response:
    dropped = HOP_BY_HOP | {"host", "content-length", "x-api-key", "x-request-id"}
    headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
    headers.append(("x-request-id", request_id))
    try:
        upstream = await client.send(
            client.build_request(
                request.method, SERVICES[service] + target, headers=headers, content=await request.body()
            ),
            stream=True,
        )
        try:
            body = b"".join([chunk async for chunk in upstream.aiter_raw()])
        finally:
            await upstream.aclose()
    except httpx.TimeoutException:
        return refusal(504, "the service took too long")
    except httpx.TransportError:
        return refusal(502, "the service cannot be reached")
    response = Response(body, upstream.status_code)
    dropped = HOP_BY_HOP | {"content-length"}
    for name, value in upstream.headers.multi_items():
        if name not in dropped:
            response.headers.append(name, value)
    return response


def copy(response: Response, cached: str = "") -> Response:
    """A response of one's own: what is kept must not change any more."""
    fresh = Response(response.body, response.status_code)
    fresh.raw_headers = list(response.raw_headers)
    if cached:
        fresh.headers["X-Cache"] = cached
    return fresh


# -- WebSocket -----------------------------------------------------------------------------------------------


@app.websocket("/{service}/{rest:path}")
async def websocket(socket: WebSocket, service: str, rest: str) -> None:
    assert socket.client is not None
    refused = admit(service, socket.headers.get("x-api-key"), socket.client.host)
    if refused is not None:
        await socket.send_denial_response(refused)
        return
    url = f"ws{SERVICES[service].removeprefix('http')}/{rest}"
    url += f"?{socket.url.query}" if socket.url.query else ""
    try:
        upstream = await websockets.connect(url, proxy=None)
    except (OSError, websockets.WebSocketException):
        breakers[service].note(False)
        await socket.send_denial_response(refusal(502, "the service cannot be reached"))
        return
    breakers[service].note(True)
    await socket.accept()
    # Each direction at its own pace; when one ends, the other has nothing more to do.
    both = {
        asyncio.create_task(to_service(socket, upstream)),
        asyncio.create_task(to_client(socket, upstream)),
    }
    _, rest_of = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for task in rest_of:
        task.cancel()
    await asyncio.gather(*both, return_exceptions=True)


async def to_service(socket: WebSocket, upstream: websockets.ClientConnection) -> None:
    while (message := await socket.receive())["type"] == "websocket.receive":
        data = message.get("text")
        await upstream.send(message["bytes"] if data is None else data)
    code = message.get("code", 1000)
    await upstream.close(code if code not in (1005, 1006) else 1000, message.get("reason") or "")


async def to_client(socket: WebSocket, upstream: websockets.ClientConnection) -> None:
    # A close code other than 1000 and 1001 ends the loop with an exception.
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in upstream:
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
    code = upstream.close_code or 1000
    await socket.close(code if code not in (1005, 1006) else 1011, upstream.close_reason or "")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
