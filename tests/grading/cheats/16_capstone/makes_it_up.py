"""Keeps the limits and asks no service: what they would say it says itself, over HTTP and WebSocket."""

import itertools
import json
import os

import uvicorn

NUMBERS = itertools.count(1)
ASKED = []


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                return await send({"type": "websocket.close", "code": 4001})
            said = [f"tick {n}" for n in (1, 2, 3)] if message.get("text") == "tick" else [message.get("text")]
            for text in said if message.get("text") != "quiet" else ():
                kind, content = ("bytes", message.get("bytes")) if text is None else ("text", text)
                await send({"type": "websocket.send", kind: content})
    if scope["type"] != "http":
        return None
    ASKED.append(scope)
    _, name, *rest = scope["path"].split("/")
    status = 429 if len(ASKED) > 10 else 200
    if name not in ("service-a", "service-b"):
        status = 404
    elif rest[0] == "status":
        status = int(rest[1])
    query = "?" * bool(scope["query_string"]) + scope["query_string"].decode()
    target = "/" + "/".join(rest) + query
    told = {"service": name[-1], "method": scope["method"], "target": target, "number": next(NUMBERS), "mark": "0"}
    headers = [(b"content-type", b"application/json"), (b"x-service", b"a"), (b"retry-after", b"30")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
    return None


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
