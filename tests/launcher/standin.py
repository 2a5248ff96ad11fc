"""Tiny ASGI apps that stand in for the services and the gateway, so that starting them costs little."""

import asyncio
import os
import sys


def _app(health_status):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/hang":
            await asyncio.Event().wait()
        if scope["path"] == "/exit":
            print("leaving by request", file=sys.stderr, flush=True)
            os._exit(7)
        body = {
            "/token": os.environ.get("GATEWAY_ADMIN_TOKEN", "none"),
            "/url": os.environ.get("GATEWAY__SERVICES__SERVICE_A__URL", "none"),
        }.get(scope["path"], "ok")
        status = health_status if scope["path"] == "/health" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})

    return app


app = _app(200)
ill = _app(500)


def __getattr__(name):
    if name == "misconfigured":  # as gateway.py does with a configuration that it cannot use
        print("gateway: no.such.key: unknown key", file=sys.stderr)
        sys.exit(2)
    raise AttributeError(name)
