"""The dashboard's two lines to the gateway: the feed it watches, and the control calls it makes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    import httpx

    from lab.dashboard.state import Message

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds before each further attempt to reach the feed; the last one repeats."""


class ControlError(Exception):
    """The gateway refused a control call, or could not be asked; the text is one line."""


def websocket_url(url: str) -> str:
    """`http://host:port` → `ws://host:port/admin/events`."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/admin/events", "", ""))


async def follow(
    url: str,
    token: Callable[[], str],
    status: Callable[[str, str], None],
    *,
    pauses: tuple[float, ...] = PAUSES,
) -> AsyncIterator[Message]:
    """The messages of the gateway's feed, for ever: a lost connection is made again, with growing pauses.

    `token` is asked before each attempt. `status(state, reason)` hears `connecting`, `live`, `lost`, and
    `refused` where the token is wrong.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus, WebSocketException

    failures, away, where = 0, "connecting", urlsplit(url).netloc
    status(away, "")
    while True:
        try:
            async with connect(
                websocket_url(url),
                additional_headers={"Authorization": f"Bearer {token()}"},
                max_size=None,
                compression=None,  # on loopback it would cost the gateway more than it saves
                proxy=None,
                open_timeout=3,
                close_timeout=0.5,
            ) as socket:
                failures, away = 0, "lost"
                status("live", "")
                async for message in socket:
                    yield json.loads(message)
                reason = "the gateway closed the feed"
        except InvalidStatus as error:
            code = error.response.status_code
            if code in (401, 403):
                status(
                    "refused", "the token is wrong" if code == 401 else "the gateway has no admin token set"
                )
                failures = len(pauses)
            reason = f"the feed was answered {code}"
        except (OSError, TimeoutError) as error:
            reason = (
                f"{where} does not answer"
                if isinstance(error, TimeoutError)
                else f"nobody answers at {where}"
            )
        except WebSocketException:
            reason = "the connection to the gateway broke"
        except ValueError:
            reason = "the feed sent no JSON"
        if failures < len(pauses):
            status(away, reason)
        await asyncio.sleep(pauses[min(failures, len(pauses) - 1)])
        failures += 1


class Control:
    """The gateway's control API (`/admin/…`). Every method raises `ControlError` with one line."""

    def __init__(self, url: str, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url
        self.token = token
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def breaker(self, service: str, state: str) -> None:
        """Force a breaker `open` or `closed`, or leave it to itself again: `auto`."""
        await self._call("PUT", f"/admin/breakers/{quote(service)}", {"state": state})

    async def policy(self, name: str, **change: Any) -> None:
        """Change a policy while it runs: `enabled`, `use`, `options`."""
        await self._call("PUT", f"/admin/policies/{quote(name)}", change)

    async def purge(self, path: str | None = None) -> None:
        """Drop the cached response of one path (with its query), or all."""
        await self._call("DELETE", "/admin/cache", query={} if path is None else {"path": path})

    async def snapshot(self) -> dict[str, Any]:
        """The whole state, once."""
        document = await self._call("GET", "/admin/snapshot")
        return document if isinstance(document, dict) else {}

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _call(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
    ) -> Any:
        import httpx  # 0.1 s: not before the first paint

        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self.url,
                timeout=5,
                transport=self._transport,
                trust_env=False,
            )
        try:
            authorization = {"Authorization": f"Bearer {self.token}"}
            response = await self._client.request(
                method, path, json=body, params=query, headers=authorization
            )
        except httpx.HTTPError as error:
            raise ControlError(
                f"{method} {path}: the gateway is not reachable ({type(error).__name__})"
            ) from None
        if response.is_success:
            return response.json() if response.content else None
        detail = response.reason_phrase
        with contextlib.suppress(ValueError, AttributeError):
            detail = response.json().get("detail", detail)
        raise ControlError(f"{response.status_code}: {' '.join(str(detail).split())[:200]}")
