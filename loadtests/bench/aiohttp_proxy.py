"""A proxy on aiohttp, server and client. `python aiohttp_proxy.py PORT`; see `apps` for the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

SERVICES = {name: os.environ[f"BENCH_{name.upper()}"] for name in ("web", "own")}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "host"}
CLIENT = web.AppKey("client", aiohttp.ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    url = f"{SERVICES[request.match_info['service']]}/{request.match_info['path']}"
    client = request.app[CLIENT]
    if request.headers.get("upgrade", "").lower() == "websocket":
        return await tunnel(request, client, url)
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    async with client.request(
        request.method, url, headers=headers, data=request.content if request.body_exists else None
    ) as answer:
        response = web.StreamResponse(
            status=answer.status,
            headers=[(n, v) for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP],  # type: ignore[arg-type]
        )
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def tunnel(request: web.Request, client: aiohttp.ClientSession, url: str) -> web.WebSocketResponse:
    near = web.WebSocketResponse(compress=False)
    await near.prepare(request)
    async with client.ws_connect(url) as far:
        pumps = [asyncio.create_task(pump(near, far)), asyncio.create_task(pump(far, near))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
    await near.close()
    return near


async def pump(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


async def client_session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
        app[CLIENT] = client
        yield


def main() -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    app = web.Application(client_max_size=2**31)
    app.cleanup_ctx.append(client_session)
    app.router.add_route("*", "/{service}/{path:.*}", forward)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=lambda *_: None,
        loop=asyncio.new_event_loop(),
    )


if __name__ == "__main__":
    main()
