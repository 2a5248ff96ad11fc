"""Service B: the WebSocket service behind the gateway. Run it alone with `uvicorn service_b:app --port 8002`.

`/ws` sends every message back. The other paths do on request what services do to gateways: send without being
asked, close with a code, refuse the handshake.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import FastAPI, Path, Query, WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.responses import PlainTextResponse

from lab.faults.target import faulty

SUBPROTOCOLS = ("echo.v2", "echo.v1")
"""What this service speaks, the best first."""

api = FastAPI(title="Service B")


def choose(offered: list[str]) -> str | None:
    """The best subprotocol that both sides know; None goes on without one (RFC 6455 §4.2.2)."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)


@api.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@api.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Sends back each message as it came: text as text, binary as binary."""
    await websocket.accept(choose(websocket.scope["subprotocols"]))
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await websocket.send_text(text)
        else:
            await websocket.send_bytes(message["bytes"])


@api.websocket("/ws/ticker")
async def ticker(
    websocket: WebSocket,
    every: Annotated[float, Query(ge=0.01, le=60)] = 1.0,
    count: Annotated[int, Query(ge=1, le=100_000)] = 60,
) -> None:
    """Sends `tick 1`, `tick 2`, … `every` so many seconds, then closes."""
    await websocket.accept(choose(websocket.scope["subprotocols"]))
    try:
        for n in range(1, count + 1):
            await websocket.send_text(f"tick {n}")
            await asyncio.sleep(every)
        await websocket.close()
    except WebSocketDisconnect:
        pass  # the listener went away


@api.websocket("/ws/close/{code}")
async def close(
    websocket: WebSocket,
    code: Annotated[int, Path(ge=1000, le=4999)],
    reason: Annotated[str, Query(max_length=100)] = "",
) -> None:
    """Accepts, then closes with this code and reason. Refuses codes that nobody may send (RFC 6455 §7.4)."""
    if code in (1004, 1005, 1006) or 1015 <= code < 3000:
        raise WebSocketException(1008)  # before the handshake is answered: a 403
    await websocket.accept(choose(websocket.scope["subprotocols"]))
    await websocket.close(code, reason)


@api.websocket("/ws/refuse/{status}")
async def refuse(websocket: WebSocket, status: Annotated[int, Path(ge=400, le=599)]) -> None:
    """Answers the handshake with this status instead of accepting it."""
    await websocket.send_denial_response(PlainTextResponse(f"status {status}\n", status))


app = faulty(api)  # what the server runs; faults can be set on it: docs/faults.md
