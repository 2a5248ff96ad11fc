"""The peers that run under uvicorn, each written the way its own documentation shows it.

BENCH_WEB and BENCH_OWN are the addresses of the two services; /web/… and /own/… lead to them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from loadtests.bench.service import BIG, BODY

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SERVICES = {name: os.environ.get(f"BENCH_{name.upper()}", "http://127.0.0.1:9") for name in ("web", "own")}


def _fields(length: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"public, max-age=3600"),
        (b"content-length", b"%d" % length),
    ]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """No proxy at all: the same bytes from memory, the least that an ASGI application can cost."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    elif scope["type"] == "http":
        body = BODY
        if scope["path"].endswith("/big"):
            body = bytes(BIG)
        elif scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": _fields(len(body))})
        await send({"type": "http.response.body", "body": body})


def fastapi_httpx() -> Any:
    """The gateway of countless tutorials: a catch-all route and one `httpx.AsyncClient`, streaming."""
    import httpx
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse
    from starlette.background import BackgroundTask

    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.api_route("/{service}/{path:path}", methods=["GET", "POST"])
    async def forward(service: str, path: str, request: Request) -> StreamingResponse:
        headers = [field for field in request.headers.raw if field[0] not in (b"host", b"connection")]
        has_body = request.headers.get("content-length") or request.headers.get("transfer-encoding")
        answer = await client.send(
            client.build_request(
                request.method,
                f"{SERVICES[service]}/{path}",
                headers=headers,
                content=request.stream() if has_body else None,
            ),
            stream=True,
        )
        response = StreamingResponse(
            answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = [f for f in answer.headers.raw if f[0].lower() != b"connection"]
        return response

    return app


def fastapi_proxy_lib() -> Any:
    """The library's own applications; which of them is asked is decided by the path's first segment."""
    from fastapi_proxy_lib.fastapi.app import reverse_http_app, reverse_ws_app

    http = {name: reverse_http_app(base_url=f"{url}/") for name, url in SERVICES.items()}
    websocket = {name: reverse_ws_app(base_url=f"{url}/") for name, url in SERVICES.items()}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await http["web"](scope, receive, send)
            return
        service, _, rest = scope["path"][1:].partition("/")
        scope = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
        await (websocket if scope["type"] == "websocket" else http)[service](scope, receive, send)

    return app
