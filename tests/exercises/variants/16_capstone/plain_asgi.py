# No framework: an ASGI class, a token bucket over the window, one table of everything for each service.
import asyncio
import os
import sys
import time

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


class Gateway:
    def __init__(self, env):
        self.services = {
            b"service-a": env.get("SERVICE_A_URL") or "http://127.0.0.1:8001",
            b"service-b": env.get("SERVICE_B_URL") or "http://127.0.0.1:8002",
        }
        self.limit = int(env.get("RATE_LIMIT", 10))
        self.window = float(env.get("RATE_WINDOW", 60))
        self.ttl = float(env.get("CACHE_TTL", 30))
        self.keys = [key.encode() for key in env.get("API_KEYS", "").split(",") if key]
        self.failures = int(env.get("BREAKER_FAILURES", 5))
        self.open_for = float(env.get("BREAKER_OPEN_FOR", 10))
        self.admitted = []
        self.cache = {}
        self.trouble = {}
        self.http = None
        self.count = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            self.http = httpx.AsyncClient(timeout=9, trust_env=False)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.http.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = dict(scope["headers"])
        _, name, rest = scope["raw_path"].split(b"?")[0].split(b"/", 2)
        self.count += 1
        ident = headers.get(b"x-request-id", b"%d-%d" % (self.count, time.time_ns()))
        refusal = self.refuse(name, headers.get(b"x-api-key"), scope["client"][0])
        if scope["type"] == "websocket":
            await self.tunnel(scope, receive, send, name, rest, refusal)
            return
        status, fields, body = refusal or await self.answer(scope, receive, headers, name, rest, ident)
        print(ident, scope["method"], scope["path"], status, file=sys.stderr)
        fields = [*fields, (b"x-request-id", ident), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def refuse(self, name, key, address):
        if self.keys and key not in self.keys:
            return 401, [(b"www-authenticate", b"ApiKey")], b"who are you?"
        if name not in self.services:
            return 404, [], b"no such service"
        now = time.monotonic()
        who = key if self.keys else address
        self.admitted = [(w, t) for w, t in self.admitted if t > now - self.window]
        mine = [t for w, t in self.admitted if w == who]
        if len(mine) >= self.limit:
            return 429, [(b"retry-after", b"%d" % (1 + int(mine[0] + self.window - now)))], b"too many"
        self.admitted.append((who, now))
        return None

    async def answer(self, scope, receive, headers, name, rest, ident):
        what = (name, rest, scope["query_string"]) if scope["method"] == "GET" else None
        if what in self.cache and self.cache[what][0] > time.monotonic():
            status, fields, body = self.cache[what][1]
            return status, [*fields, (b"x-cache", b"HIT")], body
        run, since = self.trouble.get(name, (0, 0))
        if run >= self.failures and time.monotonic() < since + self.open_for:
            return 503, [], b"leave it alone"
        got = await self.ask(scope, receive, headers, name, rest, ident)
        self.trouble[name] = (run + 1, time.monotonic()) if got[0] >= 500 else (0, 0)
        if what and got[0] == 200:
            self.cache[what] = time.monotonic() + self.ttl, got
        return got

    async def ask(self, scope, receive, headers, name, rest, ident):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        for field in (b"host", b"content-length", b"transfer-encoding", b"connection", b"x-api-key"):
            headers.pop(field, None)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        url = self.services[name] + (b"/" + rest + query).decode("latin-1")
        headers[b"x-request-id"] = ident
        try:
            got = await self.http.request(scope["method"], url, headers=headers, content=body)
        except httpx.HTTPError:
            return 502, [], b"bad gateway"
        dropped = (b"content-length", b"content-encoding", b"transfer-encoding", b"connection")
        fields = [(k, v) for k, v in got.headers.raw if k.lower() not in dropped]
        return got.status_code, fields, got.content

    async def tunnel(self, scope, receive, send, name, rest, refusal):
        await receive()
        if refusal:
            await send({"type": "websocket.http.response.start", "status": refusal[0], "headers": refusal[1]})
            await send({"type": "websocket.http.response.body", "body": refusal[2]})
            return
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        url = self.services[name].replace("http", "ws", 1) + (b"/" + rest + query).decode("latin-1")
        async with connect(url, proxy=None) as service:
            await send({"type": "websocket.accept"})

            async def up():
                while True:
                    message = await receive()
                    if message["type"] == "websocket.disconnect":
                        return await service.close()
                    text = message.get("text")
                    await service.send(message["bytes"] if text is None else text)

            task = asyncio.ensure_future(up())
            try:
                while True:
                    data = await service.recv()
                    await send({"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data})
            except ConnectionClosed:
                if task.done():
                    return
                task.cancel()
                await send({"type": "websocket.close", "code": service.close_code or 1000})


app = Gateway(os.environ)
