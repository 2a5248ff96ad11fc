"""The peers that run under uvicorn, each written the way its own documentation shows it.

BENCH_WEB and BENCH_OWN are the addresses of the two services; /web/… and /own/… lead to them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
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
