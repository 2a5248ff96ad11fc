"""A whole gateway without sockets: ASGI on the client's side, httpx.MockTransport on the service's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from gateway import PIPELINE
from lab.control import Gateway
from lab.policies import Stage
from lab.settings import build

TOKEN = "t0ken"

Answer = Callable[[httpx.Request], httpx.Response]


class World:
    def __init__(
        self,
        document: dict[str, Any] | None = None,
        token: str | None = TOKEN,
        pipeline: Sequence[type[Stage]] = PIPELINE,
    ) -> None:
        services = {"service-a": {"url": "http://127.0.0.1:1"}, "service-b": {"url": "http://127.0.0.1:2"}}
        settings = build({"services": services, "admin": {"token": token}, **(document or {})}, {})
        self.now = 1000.0
        self.gateway = Gateway(
            settings, pipeline, clock=lambda: self.now, wall=lambda: self.now + 1_790_000_000
        )
        self.seen: list[httpx.Request] = []
        self.answer: Answer = lambda request: httpx.Response(200, content=b"ok")
        for service in self.gateway.services.values():
            service.upstream = httpx.MockTransport(self._serve)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.gateway, raise_app_exceptions=False),
            base_url="http://gate",  # type: ignore[arg-type]
        )

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answer(request)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.client.get(path, **more)

    async def admin(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, path, headers={"authorization": f"Bearer {TOKEN}"}, **more)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in event.items() if k not in ("type", "seq", "time")}
            for event in self.gateway.feed.events
        ]


@asynccontextmanager
async def world(
    document: dict[str, Any] | None = None,
    token: str | None = TOKEN,
    pipeline: Sequence[type[Stage]] = PIPELINE,
) -> AsyncIterator[World]:
    made = World(document, token, pipeline)
    try:
        yield made
    finally:
        await made.client.aclose()
        await made.gateway.policies.aclose()
        made.gateway.access_log.close()
