"""Loads what a gateway usually loads. A process that is forked afterwards has it already.

FastAPI and httpx load half of themselves only when they are first used, so they are used once.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import ssl

USUAL = (
    "aiohttp",
    "anyio._backends._asyncio",
    "encodings.idna",
    "fastapi",
    "httpx",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.uvloop",
    "uvloop",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "websockets.asyncio.client",
)

for name in USUAL:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

# HTTP clients make a TLS context whether they speak TLS or not, and no check does. Reading the web's root
# certificates anew takes 20 ms, for each client of each check.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]


def use() -> None:
    """An application with a route, a client with and without the environment's certificates."""
    import fastapi
    import httpx

    async def answer(request: fastapi.Request, name: str, size: int = 1) -> dict[str, str]:
        return {}

    fastapi.FastAPI().get("/{name}")(answer)
    httpx.AsyncClient()
    httpx.AsyncClient(trust_env=False)


with contextlib.suppress(Exception):
    use()

# What is there now stays: a fork whose garbage collection went through it would get a copy of each page.
gc.collect()
gc.freeze()
