"""The gateway of countless tutorials: a catch-all route and one `httpx.AsyncClient`, streaming both ways.

`uvicorn loadtests.bench.fastapi_httpx:app`; see `apps` for the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from loadtests.bench.apps import SERVICES

client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await client.aclose()


app = FastAPI(lifespan=lifespan)


@app.api_route("/{service}/{path:path}", methods=["GET", "POST"])
async def forward(service: str, path: str, request: Request) -> StreamingResponse:
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    answer = await client.send(
        client.build_request(
            request.method,
            f"{SERVICES[service]}/{path}",
            headers=[field for field in request.headers.raw if field[0] not in (b"host", b"connection")],
            content=request.stream() if has_body else None,
        ),
        stream=True,
    )
    response = StreamingResponse(
        answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
    )
    response.raw_headers = [
        (name.lower(), value) for name, value in answer.headers.raw if name.lower() != b"connection"
    ]
    return response
