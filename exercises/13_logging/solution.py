"""Exercise 13, structured logging and request ids: the worked solution."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from functools import partial

from lab.model import Clock, Exchange, Handler, Headers, Response

SANE = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestLog:
    """Gives every exchange a name, and writes one line about it when it is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        return list(self._lines)

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        began = self._clock()
        exchange.request_id = shown(exchange.headers) or uuid.uuid4().hex
        try:
            response = await call_next(exchange)
        except asyncio.CancelledError:
            self._write(exchange, 0, began)
            raise
        except Exception:
            self._write(exchange, 500, began)
            raise
        response.headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
        # The head is not the end: the body may still be on its way.
        response.on_end(partial(self._write, exchange, response.status, began))
        return response

    def _write(
        self, exchange: Exchange, status: int, began: float, error: BaseException | None = None
    ) -> None:
        line = {
            "level": "info" if status < 500 else "error",
            "event": "request",
            "request_id": exchange.request_id,
            "client": exchange.identity or exchange.client,
            "method": exchange.method,
            "path": exchange.raw_path.decode("latin-1"),
            "service": exchange.service,
            "status": status,
            "duration_ms": (self._clock() - began) * 1000,
        }
        self._lines.append(json.dumps(line))


def shown(headers: Headers) -> str | None:
    """The client's own id, where it is sane: a single one, of visible ASCII, not too long."""
    match [value for name, value in headers if name == b"x-request-id"]:
        case [one] if SANE.fullmatch(one):
            return one.decode("ascii")
    return None
