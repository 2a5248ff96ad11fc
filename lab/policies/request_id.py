"""Every exchange gets a name: in the log, in the answer, and in what the service receives."""

from __future__ import annotations

import random
import re
from typing import Any, ClassVar, Self

from lab.model import Exchange, Handler, Headers, Response
from lab.policies import Context

_SANE = re.compile(rb"[\x21-\x7e]{1,128}")


def shown(headers: Headers) -> str | None:
    """The client's own id where it is sane, else None."""
    given = None
    for name, value in headers:
        if name == b"x-request-id":
            # Two ids would make two names for one request: neither is believed.
            given = value if given is None else b""
    return given.decode("ascii") if given is not None and _SANE.fullmatch(given) else None


class RequestId:
    """Keeps the client's `X-Request-ID` where it is sane, else makes one of 128 random bits.

    Sane means 1 to 128 visible ASCII characters, sent once: an id ends up in logs, where a line break or a
    megabyte would be an attack.
    """

    section: ClassVar[str] = "request_id"
    always: ClassVar[bool] = True

    def __init__(self, options: Any = None, context: Context | None = None, *, core: Any = None) -> None:
        # Ids need to be unique, not secret: a seeded generator is four times faster than the system's.
        self._bits = random.Random(random.SystemRandom().getrandbits(256)).getrandbits

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        exchange.request_id = shown(exchange.headers) or self._bits(128).to_bytes(16, "big").hex()
        response = await call_next(exchange)
        response.headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
        return response

    def snapshot(self) -> dict[str, Any]:
        return {}

    def adopt(self, old: Self) -> None:
        pass
