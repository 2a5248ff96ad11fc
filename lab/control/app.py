"""The gateway as one ASGI application: the edge in front, FastAPI for the gateway's own paths behind it."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI

import lab
from lab.control import api
from lab.control.feed import Feed
from lab.control.metrics import Metrics
from lab.control.swap import Policies
from lab.model import Clock, Exchange, Response
from lab.policies import Context, Stage
from lab.policies.access_log import AccessLog
from lab.policies.pipeline import compose
from lab.policies.plug import PlugError
from lab.proxy.edge import Edge, Receive, Send
from lab.proxy.forward import Forward
from lab.proxy.server import Front, install
from lab.proxy.services import Directory
from lab.settings import ConfigError, Settings


class Gateway(FastAPI):
    """What `uvicorn gateway:app` serves.

    A FastAPI application whose router only ever sees the gateway's own paths: a request whose first segment
    names a service goes through the pipeline and never touches it.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Sequence[type[Stage]],
        *,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        super().__init__(
            title="Gateway Lab",
            version=lab.__version__,
            summary="The gateway's own API. Services are reached at /{service}/….",
            redoc_url=None,
            lifespan=_lifespan,
        )
        self.settings_in_force = settings
        self.feed = Feed(wall)
        self.wall = wall
        self.clock = clock
        self.started = wall()
        self.draining = False
        self.front: Front | None = None
        self.services = Directory(settings.services, clock=clock, emit=self.feed.emit)
        context = Context(services=self.services.settings, clock=clock, wall=wall, emit=self.feed.emit)
        stages = []
        for stage in pipeline:
            try:
                stages.append(stage(getattr(settings, stage.section, None), context))
            except PlugError as error:
                raise ConfigError(f"{stage.section}.{error}") from None
        forward = Forward(self.services, settings.limits, clock, settings.admin.token)
        handler, slots = compose(stages, forward.__call__)
        outer, _ = compose([stage for stage in stages if getattr(stage, "always", False)], _refuse)
        self.policies = Policies(slots, settings, context, self.feed.emit)
        kept = (stage for stage in stages if isinstance(stage, AccessLog))
        self.access_log = next(kept, AccessLog(context=context))  # without one in the row nothing is counted
        self.tally = self.access_log.tally
        own = api.protect(super().__call__, settings.admin.token)
        self.edge = Edge(handler, outer, own, self.services, settings.limits, settings.trusted_proxies, clock)
        self.metrics = Metrics(self.tally, self.services, self.policies.breakers, self.connections)
        api.mount(self)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.front = install(receive, self.edge.__call__, self.settings_in_force.limits, self._refused)
            await super().__call__(scope, receive, send)
        else:
            await self.edge(scope, receive, send)

    def _refused(self, client: str, request_id: str, response: Response) -> None:
        """What could not be read as a request is logged and counted all the same, as far as it is known."""
        exchange = Exchange("", b"", peer=client, started=self.clock())
        exchange.request_id = request_id
        exchange.bytes_out = len(response.content)
        self.access_log.record(exchange, response.status)

    def connections(self) -> dict[str, int]:
        """Open connections of clients by kind; without uvicorn only WebSockets are known."""
        http = len(self.front.connections) if self.front is not None else 0
        return {"http": http, "websocket": self.edge.websockets}


async def _refuse(exchange: Exchange) -> Response:
    """The last step for what the edge has decided itself."""
    assert exchange.refusal is not None
    return exchange.refusal


@asynccontextmanager
async def _lifespan(gateway: FastAPI) -> AsyncIterator[None]:
    assert isinstance(gateway, Gateway)
    logging.getLogger("gateway").setLevel(logging.INFO)
    gateway.services.start()
    try:
        with _calm_collector():
            yield
    finally:
        gateway.draining = True
        await gateway.policies.aclose()
        await gateway.services.stop()
        gateway.access_log.close()


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Spare requests the garbage collector, which otherwise takes a tenth of their time.

    What is loaded by now stays for good and need not be looked at again: one such look stops the gateway for
    some thirty milliseconds. What a request leaves behind is freed at once, by its reference counts; only
    cycles wait for the collector, and there are few.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
