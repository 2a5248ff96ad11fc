"""The gateway's own paths: health, metrics, and control under `/admin`."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi import Response as HTTPResponse
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from lab.control.snapshot import Ticks, snapshot
from lab.model import Response, problem
from lab.policies.plug import PlugError
from lab.proxy.edge import ASGIApp, Receive, Scope, Send, refuse_websocket, send_response
from lab.settings import ConfigError, ServiceSettings, check_service_name, describe

if TYPE_CHECKING:
    from lab.control.app import Gateway


class PolicyChange(BaseModel):
    """What may be changed of a policy; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    enabled: bool | None = None
    use: str | None = None
    options: dict[str, Any] | None = None


class ShadowChange(BaseModel):
    """A class that is to be compared with the algorithm that serves; null: none any more."""

    model_config = ConfigDict(extra="forbid")
    use: str | None


class BreakerState(BaseModel):
    model_config = ConfigDict(extra="forbid")
    state: Literal["open", "closed", "auto"]


class Purge(BaseModel):
    """What the cache is to forget. (A misspelt `path` must not mean everything.)"""

    model_config = ConfigDict(extra="forbid")
    path: str | None = None
    """The gateway's path and query; without one, all."""


class Note(BaseModel):
    """Something a tool did that viewers should see beside the figures, such as a fault or a load."""

    model_config = ConfigDict(extra="forbid")
    action: str
    text: str = ""
    source: str = ""
    service: str = ""
    until: float | None = None
    """Unix seconds at which it ends by itself."""


def mount(gateway: Gateway) -> None:
    """Put all routes and the error answers into the gateway's FastAPI application."""
    _errors(gateway)
    _health(gateway)
    _admin(gateway)


def protect(app: ASGIApp, token: str | None) -> ASGIApp:
    """`app` with every path under /admin behind the token, those it does not have included."""

    async def protected(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/admin" or path.startswith("/admin/"):
            refusal = _check(scope, token)
            if refusal is not None:
                if scope["type"] == "websocket":
                    await refuse_websocket(refusal, receive, send)
                else:
                    await send_response(refusal, send)
                return
        await app(scope, receive, send)

    return protected


def _check(scope: Scope, token: str | None) -> Response | None:
    if token is None:
        return problem(
            403, "admin-disabled", "no admin token is configured: set admin.token or GATEWAY_ADMIN_TOKEN"
        )
    given = b""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            given = value[7:].strip()
    if hmac.compare_digest(given, token.encode()):
        return None
    return problem(
        401,
        "admin-unauthorized",
        "the admin token is missing or wrong",
        headers=[(b"www-authenticate", b'Bearer realm="gateway-lab admin"')],
    )


# -- errors --------------------------------------------------------------------------------------------------


def _http(response: Response) -> HTTPResponse:
    headers = {name.decode(): value.decode() for name, value in response.headers if name != b"content-length"}
    return HTTPResponse(response.content, response.status, headers)


def _errors(gateway: FastAPI) -> None:
    @gateway.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> HTTPResponse:
        name = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        answer = _http(problem(error.status_code, name, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @gateway.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> HTTPResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _http(problem(422, "invalid", f"{where}: {first['msg']}"))

    @gateway.exception_handler(ConfigError)
    @gateway.exception_handler(PlugError)
    async def unusable(request: Request, error: Exception) -> HTTPResponse:
        return _http(problem(422, "invalid", str(error)))


# -- health and metrics --------------------------------------------------------------------------------------


def _health(gateway: Gateway) -> None:
    @gateway.get("/health", tags=["health"])
    async def health() -> dict[str, Any]:
        """Alive: the process answers."""
        return {"status": "ok", "uptime": round(gateway.wall() - gateway.started, 3)}

    @gateway.get("/health/ready", tags=["health"])
    async def ready() -> HTTPResponse:
        """Ready: new requests may come (200), or the gateway is draining (503)."""
        if gateway.draining:
            return _http(problem(503, "draining", "the gateway is stopping", retry_after=5))
        marked = {name: service.health for name, service in gateway.services.items()}
        return JSONResponse({"status": "ready", "services": marked})

    @gateway.get("/health/services", tags=["health"])
    async def services() -> dict[str, Any]:
        """Every service, asked at this moment."""
        found = {name: await gateway.services.ask(name) for name in list(gateway.services)}
        well = all(entry["status"] == "up" for entry in found.values())
        return {"status": "up" if well else "degraded", "services": found}

    @gateway.get("/health/services/{name}", tags=["health"])
    async def service(name: str) -> HTTPResponse:
        """One service, asked at this moment: 200 up, 503 down."""
        if name not in gateway.services:
            raise HTTPException(404, f"no service is called '{name}'")
        entry = await gateway.services.ask(name)
        return JSONResponse(entry, status_code=200 if entry["status"] == "up" else 503)

    @gateway.get("/metrics", tags=["metrics"], response_class=HTTPResponse)
    async def metrics() -> HTTPResponse:
        """Prometheus' text format."""
        return HTTPResponse(gateway.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# -- control -------------------------------------------------------------------------------------------------


def _admin(gateway: Gateway) -> None:
    bearer = [Depends(HTTPBearer(auto_error=False))]  # only for /docs: `protect` has checked before

    @gateway.get("/admin/snapshot", tags=["admin"], dependencies=bearer)
    async def whole() -> JSONResponse:
        """The whole state."""
        return JSONResponse(snapshot(gateway))

    @gateway.websocket("/admin/events")
    async def events(socket: WebSocket) -> None:
        """The live feed: a snapshot, then events and ticks."""
        await socket.accept()
        viewer = gateway.feed.join(Ticks(gateway))
        try:
            await gateway.feed.serve(viewer, snapshot(gateway), socket)
        except WebSocketDisconnect:
            pass
        finally:
            gateway.feed.leave(viewer)

    @gateway.get("/admin/services", tags=["admin"], dependencies=bearer)
    async def services() -> dict[str, Any]:
        return {name: entry.settings.model_dump() for name, entry in gateway.services.items()}

    @gateway.get("/admin/services/{name}", tags=["admin"], dependencies=bearer)
    async def service(name: str) -> dict[str, Any]:
        settings: ServiceSettings = _service(name).settings
        return settings.model_dump()

    def _service(name: str) -> Any:
        if name not in gateway.services:
            raise HTTPException(404, f"no service is called '{name}'")
        return gateway.services[name]

    @gateway.put("/admin/services/{name}", tags=["admin"], dependencies=bearer)
    async def put_service(name: str, body: dict[str, Any], response: HTTPResponse) -> dict[str, Any]:
        """Add a service or change one; keys that are left out keep their value."""
        old = gateway.services.get(name)
        try:
            check_service_name(name)
            settings = ServiceSettings.model_validate((old.settings.model_dump() if old else {}) | body)
        except ValidationError as error:
            raise ConfigError(describe(error, ServiceSettings)) from None
        except ValueError as error:
            raise ConfigError(str(error)) from None
        gateway.services.put(name, settings)
        if old is not None and old.settings.url != settings.url:
            gateway.policies.forget(name)
        gateway.feed.emit("service", name=name, action="changed" if old else "added")
        response.status_code = 200 if old else 201
        return settings.model_dump()

    @gateway.delete("/admin/services/{name}", tags=["admin"], dependencies=bearer, status_code=204)
    async def delete_service(name: str) -> None:
        _service(name)
        gateway.services.remove(name)
        gateway.tally.forget(name)
        gateway.policies.forget(name)
        gateway.feed.emit("service", name=name, action="removed")

    @gateway.get("/admin/policies", tags=["admin"], dependencies=bearer)
    async def policies() -> dict[str, Any]:
        return gateway.policies.snapshot()

    @gateway.get("/admin/policies/{name}", tags=["admin"], dependencies=bearer)
    async def policy(name: str) -> Any:
        _policy(name)
        return gateway.policies.snapshot()[name]

    def _policy(name: str) -> None:
        if name not in gateway.policies.names:
            raise HTTPException(
                404, f"no policy is called '{name}'; there are {', '.join(gateway.policies.names)}"
            )

    @gateway.put("/admin/policies/{name}", tags=["admin"], dependencies=bearer)
    async def put_policy(name: str, change: PolicyChange) -> Any:
        """Switch a policy on or off, exchange its algorithm, tune it; requests go on meanwhile."""
        _policy(name)
        await gateway.policies.put(name, change.enabled, change.use, change.options)
        return gateway.policies.snapshot()[name]

    @gateway.put("/admin/policies/{name}/shadow", tags=["admin"], dependencies=bearer)
    async def put_shadow(name: str, change: ShadowChange) -> Any:
        """Let a class answer beside the algorithm that serves; where they differ first is an event."""
        _policy(name)
        await gateway.policies.shadow(name, change.use)
        return gateway.policies.snapshot()[name]

    @gateway.delete("/admin/cache", tags=["admin"], dependencies=bearer)
    async def purge(what: Annotated[Purge, Query()]) -> Any:
        """Purge one entry, or all."""
        _policy("cache")
        return {"purged": gateway.policies.purge(what.path)}

    @gateway.put("/admin/breakers/{service}", tags=["admin"], dependencies=bearer)
    async def put_breaker(service: str, wanted: BreakerState) -> Any:
        """Hold a breaker open or closed, or let it decide again."""
        _policy("breaker")
        _service(service)
        return gateway.policies.force_breaker(service, wanted.state)

    @gateway.post("/admin/notes", tags=["admin"], dependencies=bearer, status_code=204)
    async def note(note: Note) -> None:
        """Tell the viewers that a tool does something."""
        gateway.feed.emit("note", **note.model_dump(exclude_none=True))
