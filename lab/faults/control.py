"""How faults are set: HTTP on the target itself, for this machine only.

    GET    /_faults           what is set, and what ended by itself
    PUT    /_faults/{name}    set one: {"kind": "latency", "ms": 300}; its kind is the name if left out
    DELETE /_faults           clear all
    DELETE /_faults/{name}    clear one

A mistake is answered with problem details (RFC 9457). Faults never strike these requests, and the service
never counts them. A request from elsewhere, one that came
through a proxy, and one that a web page's script makes are not for us: the service answers them, with a 404.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lab.faults.model import Active, FaultError, Receive, Scope, Send
from lab.faults.registry import parse

if TYPE_CHECKING:
    from lab.faults.target import Target

PATH = "/_faults"
FORWARDED = frozenset({b"via", b"forwarded", b"x-forwarded-for", b"origin"})
"""Fields that show that somebody else asked: a client of the gateway, or a page in a browser."""
METHODS = ("GET", "PUT", "DELETE")
MAX_BODY = 65_536


class Control:
    """The ASGI application behind `/_faults`."""

    def __init__(self, target: Target) -> None:
        self._target = target

    @staticmethod
    def is_addressed(scope: Scope) -> bool:
        """Whether a request is for the control, by its path, its peer and its fields."""
        path: str = scope["path"]
        if scope["type"] != "http" or not (path == PATH or path.startswith(PATH + "/")):
            return False
        peer = (scope.get("client") or ("",))[0]
        local = peer == "::1" or peer.startswith("127.")
        return local and not any(name.lower() in FORWARDED for name, _ in scope["headers"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        set_now: Active | None = None
        try:
            status, document, set_now = await self._respond(scope, receive)
        except FaultError as error:
            status, document = 422, problem(422, str(error))
        await _answer(send, status, document)
        if set_now is not None:
            self._target.after_answer(set_now)

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any], Active | None]:
        """The answer's status and document, and the fault that was set. Raises `FaultError`."""
        if not self.is_addressed(scope):  # at the side door
            return 404, problem(404, f"there is only {PATH} here"), None
        target = self._target
        name = scope["path"][len(PATH) :].strip("/")
        if scope["method"] == "GET":
            faults = [active.describe(target.clock()) for active in target.active.values()]
            return 200, {"faults": faults, "ended": list(target.ended)}, None
        if scope["method"] == "DELETE":
            cleared = await target.clear(name or None)
            return 200, {"cleared": [active.describe(target.clock()) for active in cleared]}, None
        if scope["method"] != "PUT":
            return 405, problem(405, f"{' and '.join(METHODS)} are possible here"), None
        if not name or len(name) > 100 or not name.isprintable():
            raise FaultError(f"a fault needs a name: PUT {PATH}/latency")
        active = await target.set(name, parse({"kind": name, **await _read_json(receive)}))
        return 200, active.describe(target.clock()), active


async def _read_json(receive: Receive) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise FaultError(f"at most {MAX_BODY} bytes were expected")
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        raise FaultError("the body is not readable as JSON") from None
    if not isinstance(data, dict):
        raise FaultError('a fault is a mapping such as {"kind": "latency", "ms": 300}')
    return data


def problem(status: int, detail: str) -> dict[str, Any]:
    """Problem details without a type of their own: the status says it (RFC 9457 §4.2.1)."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


async def _answer(send: Send, status: int, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/json" if status == 200 else b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
