"""The real gateway with one thing wrong with it, chosen while it runs by `GET /break/NAME`."""

import asyncio

from gateway import app as gateway

broken = ""


def replace(headers, name, value):
    kept = [(key, old) for key, old in headers if key.lower() != name]
    return kept if value is None else [*kept, (name, value)]


def head(message):
    """A response head, with what is broken about it."""
    headers = [(bytes(key), bytes(value)) for key, value in message["headers"]]
    found = {key.lower(): value for key, value in headers}
    status = message["status"]
    if broken == "request-id":
        headers = replace(headers, b"x-request-id", b"another")
    if broken == "cache" and found.get(b"x-cache") == b"HIT":
        headers = replace(headers, b"x-cache", b"MISS")
    if broken == "hit-at-once" and found.get(b"x-cache") == b"MISS":
        headers = replace(headers, b"x-cache", b"HIT")
    if broken == "plain-404" and status == 404:
        headers = replace(headers, b"content-type", b"text/plain")
    if broken == "no-429" and status == 429:
        status = 200
    if broken == "no-retry-after":
        headers = replace(headers, b"retry-after", None)
    if broken == "no-503" and status == 503:
        status = 200
    return {**message, "status": status, "headers": headers}


async def app(scope, receive, send):
    global broken
    if scope["type"] == "lifespan":

        async def plain():  # under its own server the gateway would be called directly, past this function
            return await receive()

        await gateway(scope, plain, send)
        return
    if scope["path"].startswith("/break/"):
        broken = scope["path"].removeprefix("/break/")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if broken == "blind-feed" and scope["path"] == "/admin/events":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "{}"})
        await asyncio.Event().wait()  # not a word until the viewer goes
    if broken == "locked" and scope["path"].startswith("/admin"):
        scope = {**scope, "headers": []}
    if broken == "empty-metrics" and scope["path"] == "/metrics":
        scope = {**scope, "path": "/health", "raw_path": b"/health"}
    held = []

    async def changed(message):
        kind = message["type"]
        if kind == "http.response.start":
            message = head(message)
        if kind == "http.response.body" and scope["path"] == "/service-a/stream" and broken == "buffers":
            held.append(message["body"])
            if message.get("more_body"):
                return
            message = {**message, "body": b"".join(held)}
        if (
            kind == "http.response.body"
            and scope["path"].startswith("/service-a/bytes")
            and broken == "short"
        ):
            message = {**message, "body": b""}
        if kind == "websocket.accept" and broken == "subprotocol":
            message = {**message, "subprotocol": None}
        if kind == "websocket.send" and broken == "text-only" and message.get("bytes"):
            message = {"type": kind, "text": message["bytes"].hex()}
        if kind == "websocket.send" and broken == "echo" and message.get("text"):
            message = {"type": kind, "text": message["text"] + "!"}
        if kind == "websocket.close" and broken == "close-code":
            message = {**message, "code": 1000}
        await send(message)

    async def changed_request():
        message = await receive()
        if broken == "upload" and scope["path"] == "/service-a/upload" and message.get("body"):
            message = {**message, "body": b"x" * len(message["body"])}
        return message

    await gateway(scope, changed_request, changed)
