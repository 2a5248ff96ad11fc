# Starlette and aiohttp, a fixed window, plain tables; the pool is made when the application starts.
from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from yarl import URL

print("starting …")
setting = os.environ.get
counts: dict = {}
kept: dict = {}
failures: Counter = Counter()
opened: dict = {}


@asynccontextmanager
async def lifespan(app):
    app.state.urls = {
        "service-a": setting("SERVICE_A_URL", "http://localhost:8001"),
        "service-b": setting("SERVICE_B_URL", "http://localhost:8002"),
    }
    app.state.limit = int(setting("RATE_LIMIT", 10))
    app.state.window = float(setting("RATE_WINDOW", 60))
    app.state.ttl = float(setting("CACHE_TTL", 30))
    app.state.keys = setting("API_KEYS", "").split(",") if setting("API_KEYS") else []
    app.state.failures = int(setting("BREAKER_FAILURES", 5))
    app.state.open_for = float(setting("BREAKER_OPEN_FOR", 10))
    async with aiohttp.ClientSession(auto_decompress=False) as app.state.session:
        yield


def stopped(connection) -> Response | None:
    state = connection.app.state
    key = connection.headers.get("X-API-Key")
    if state.keys and key not in state.keys:
        return JSONResponse({"error": "unauthorized"}, 401)
    if connection.path_params["service"] not in state.urls:
        return JSONResponse({"error": "not found"}, 404)
    who = key if state.keys else connection.client.host
    now = time.time()
    begin, count = counts.get(who, (now, 0))
    if now - begin >= state.window:
        begin, count = now, 0
    counts[who] = begin, count + 1
    if count >= state.limit:
        return JSONResponse(
            {"error": "slow down"}, 429, {"Retry-After": str(int(begin + state.window - now) + 1)}
        )
    return None


async def http(request: Request) -> Response:
    name = request.headers.get("x-request-id", str(uuid.uuid4()))
    response = stopped(request) or await cached(request, name)
    response.headers["x-request-id"] = name
    return response


async def cached(request: Request, name: str) -> Response:
    path = request.scope["raw_path"].decode()
    key = path, request.url.query
    if request.method == "GET" and key in kept:
        born, status, headers, body = kept[key]
        if time.time() - born < request.app.state.ttl:
            return answer(status, headers, body)
        del kept[key]
    status, headers, body = await guarded(request, path, name)
    if request.method == "GET" and status == 200:
        kept[key] = time.time(), status, headers, body
    return answer(status, headers, body)


def answer(status, headers, body) -> Response:
    response = Response(body, status)
    for field, value in headers:
        response.headers.append(field, value)
    return response


async def guarded(request: Request, path: str, name: str):
    service = request.path_params["service"]
    if opened.get(service, 0) > time.time():
        return 503, [("retry-after", "1")], b"later"
    try:
        got = await call(request, service, path, name)
    except (aiohttp.ClientError, TimeoutError):
        got = 502, [], b"nobody there"
    if got[0] >= 500:
        failures[service] += 1
        if failures[service] >= request.app.state.failures:
            opened[service] = time.time() + request.app.state.open_for
    else:
        failures[service] = 0
    return got


async def call(request: Request, service: str, path: str, name: str):
    rest = path[len(service) + 1 :]
    url = request.app.state.urls[service] + rest
    if request.url.query:
        url += "?" + request.url.query
    left_out = ("host", "content-length", "connection", "transfer-encoding", "x-request-id", "x-api-key")
    headers = {k: v for k, v in request.headers.items() if k not in left_out} | {"x-request-id": name}
    async with request.app.state.session.request(
        request.method,
        URL(url, encoded=True),
        headers=headers,
        data=await request.body() or None,
        allow_redirects=False,
    ) as got:
        left_out = ("connection", "transfer-encoding", "content-length", "keep-alive")
        fields = [(k, v) for k, v in got.headers.items() if k.lower() not in left_out]
        return got.status, fields, await got.read()


async def socket(client: WebSocket) -> None:
    refused = stopped(client)
    if refused is not None:
        await client.close()  # the server makes a 403 of it
        return
    base = client.app.state.urls[client.path_params["service"]]
    url = f"{base}/{client.path_params['rest']}" + (f"?{client.url.query}" if client.url.query else "")
    async with client.app.state.session.ws_connect(url) as service:
        await client.accept()

        async def there():
            try:
                while True:
                    message = await client.receive()
                    if message["type"] == "websocket.disconnect":
                        break
                    if message.get("text") is not None:
                        await service.send_str(message["text"])
                    else:
                        await service.send_bytes(message["bytes"])
            except WebSocketDisconnect:
                pass
            await service.close()

        task = asyncio.create_task(there())
        async for message in service:
            if message.type is aiohttp.WSMsgType.TEXT:
                await client.send_text(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await client.send_bytes(message.data)
        if not task.done():
            task.cancel()
            with contextlib.suppress(RuntimeError):
                await client.close(service.close_code or 1000)


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
app = Starlette(
    routes=[
        Route("/{service}/{rest:path}", http, methods=METHODS),
        WebSocketRoute("/{service}/{rest:path}", socket),
    ],
    lifespan=lifespan,
)
