"""WebSockets through the gateway: dial the service, then carry messages both ways until either side ends.

Two handshakes, one for each hop. The service's comes first, so that it chooses the subprotocol and may refuse
before the client is accepted (RFC 6455 §4.2.2).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as HandshakeHeaders
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.http11 import Response as HandshakeResponse
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from lab.model import Exchange, Headers, Response
from lab.proxy import tls
from lab.proxy.endpoint import ABNORMAL, Closed, Data, Endpoint
from lab.proxy.endpoint import logger as quiet

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECT_TIMEOUT = 2.0
"""Seconds for the TCP (and TLS) connection, as for HTTP."""

_CUT_SHORT = "the service closed the connection during the handshake"
_NOT_HTTP = "the service did not answer in valid HTTP"

_HANDSHAKE = frozenset({b"connection", b"upgrade", b"content-length", b"transfer-encoding"})
"""Fields of one hop's handshake, beside everything that begins with Sec-WebSocket-."""


class WebSocketTunnel:
    """The service's half of a proxied WebSocket (a `lab.model.Tunnel`)."""

    def __init__(self, endpoint: Endpoint, subprotocol: str | None, headers: Headers) -> None:
        self._endpoint = endpoint
        self.subprotocol = subprotocol
        self.headers = headers
        """What the service's 101 said beside the handshake itself (Set-Cookie, for one)."""

    async def receive(self) -> Data:
        """The service's next message. Raises `Closed`."""
        return await self._endpoint.receive()

    async def send(self, message: Data) -> None:
        """Raises `Closed`."""
        await self._endpoint.send(message)

    async def aclose(self, code: int = 1001, reason: str = "") -> None:
        """Close with this code and reason; returns when the connection is gone, within seconds."""
        try:
            await self._endpoint.close(code, reason)
        except asyncio.CancelledError:
            self._endpoint.abort()
            raise


@dataclass(frozen=True)
class Refused:
    """The service's answer to an upgrade that it did not accept."""

    status: int
    headers: Headers
    body: bytes


class _Dialling(asyncio.Protocol):
    """The client's part of the opening handshake (RFC 6455 §4.1)."""

    def __init__(self, handshake: ClientProtocol, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self._handshake = handshake
        self._request = request
        self._endpoint = Endpoint(handshake, loop)
        self._transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[HandshakeResponse, Endpoint]] = loop.create_future()
        self.answer.add_done_callback(_look_at)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self._handshake.send_request(self._request)
        transport.writelines(self._handshake.data_to_send())

    def data_received(self, data: bytes) -> None:
        self._handshake.receive_data(data)
        self._look()

    def eof_received(self) -> None:
        self._handshake.receive_eof()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshake.receive_eof()
        self._look()
        if not self.answer.done():
            self.answer.set_exception(httpx.ReadError(_CUT_SHORT))

    def _look(self) -> None:
        if self.answer.done():
            return
        error = self._handshake.handshake_exc
        events = self._handshake.events
        if events and isinstance(events[0], HandshakeResponse):
            response = events.pop(0)
            assert isinstance(response, HandshakeResponse)
            if error is None:
                assert self._transport is not None
                self._endpoint.attach(self._transport)
                self._endpoint.start()
            elif not isinstance(error, InvalidStatus):
                self.answer.set_exception(httpx.RemoteProtocolError("the service's handshake is not valid"))
                return
            self.answer.set_result((response, self._endpoint))
        elif error is not None:
            if isinstance(error.__cause__, EOFError):
                self.answer.set_exception(httpx.ReadError(_CUT_SHORT))
            else:
                self.answer.set_exception(
                    httpx.RemoteProtocolError("the service did not answer in valid HTTP")
                )


def _look_at(answer: asyncio.Future[Any]) -> None:
    # An error that nobody waits for any more is no news.
    if not answer.cancelled():
        answer.exception()


async def dial(
    url: str,
    *,
    target: bytes,
    headers: Headers,
    subprotocols: list[str],
    max_message: int,
    open_timeout: float,
    ssl_context: ssl.SSLContext | None = None,
) -> WebSocketTunnel | Refused:
    """Open a WebSocket to the service at `url`, asking for exactly `target` with exactly these `headers`.

    Only the fields of this hop's own handshake are added: no User-Agent, no Origin, no extension; redirects
    are not followed and no proxy is used. `max_message` is in bytes, `open_timeout` in seconds for
    everything. Raises httpx.ConnectError, ConnectTimeout, ReadTimeout, ReadError or RemoteProtocolError.
    """
    parts = urlsplit(url)
    secure = parts.scheme in ("https", "wss")
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    handshake = ClientProtocol(
        WebSocketURI(secure, host, port, "/", ""),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=max_message,
        logger=quiet,
    )
    fields = HandshakeHeaders((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    own = handshake.connect().headers
    if "host" in fields:
        del own["Host"]
    for name, value in own.raw_items():
        fields[name] = value
    dialling = _Dialling(handshake, Request(target.decode("ascii"), fields), loop)
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(open_timeout):
            try:
                async with asyncio.timeout(min(CONNECT_TIMEOUT, open_timeout)):
                    transport, _ = await loop.create_connection(
                        lambda: dialling, host, port, ssl=(ssl_context or tls.context()) if secure else None
                    )
            except TimeoutError as error:
                raise httpx.ConnectTimeout("no connection in time") from error
            except OSError as error:
                raise httpx.ConnectError(str(error)) from error
            response, endpoint = await dialling.answer
    except BaseException as error:
        if transport is not None:
            cast("asyncio.Transport", transport).abort()
        if isinstance(error, TimeoutError):
            raise httpx.ReadTimeout("no answer to the handshake in time") from error
        raise
    passed = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.raw_items()
        if not _of_handshake(name.lower().encode("latin-1"))
    ]
    if response.status_code == 101:
        return WebSocketTunnel(endpoint, handshake.subprotocol, passed)
    transport.close()
    return Refused(response.status_code, passed, bytes(response.body))


def _of_handshake(name: bytes) -> bool:
    return name in _HANDSHAKE or name.startswith(b"sec-websocket-")


async def connect_service(
    exchange: Exchange,
    url: str,
    *,
    target: bytes,
    headers: Headers,
    open_timeout: float,
    max_message: int,
    ssl_context: ssl.SSLContext | None = None,
) -> Response:
    """The pipeline's last step for a handshake: 101 with a tunnel, or the service's refusal.

    Raises what `dial` raises.
    """
    offered = [
        name
        for key, value in exchange.headers
        if key == b"sec-websocket-protocol"
        for name in (part.strip() for part in value.decode("latin-1").split(","))
        if name
    ]
    answer = await dial(
        url,
        target=target,
        headers=[field for field in headers if not _of_handshake(field[0])],
        subprotocols=offered,
        max_message=max_message,
        open_timeout=open_timeout,
        ssl_context=ssl_context,
    )
    if isinstance(answer, WebSocketTunnel):
        return Response(101, answer.headers, tunnel=answer)
    if not 200 <= answer.status <= 599:
        raise httpx.RemoteProtocolError(f"the service answered an upgrade with {answer.status}")
    return Response(answer.status, answer.headers, answer.body)


async def serve_websocket(scope: object, receive: Receive, send: Send, response: Response) -> Ended:
    """Accept the client with what the service said in `response`, then relay until the end."""
    tunnel = response.tunnel
    assert isinstance(tunnel, WebSocketTunnel)
    await send({"type": "websocket.accept", "subprotocol": tunnel.subprotocol, "headers": response.headers})
    return await relay(receive, send, tunnel)


@dataclass
class Ended:
    """How a relay ended, and what went through it. Up is from the client to the service."""

    by: str = ""
    """`client` or `service`: who closed first."""
    code: int = ABNORMAL
    reason: str = ""
    messages_up: int = 0
    messages_down: int = 0
    bytes_up: int = 0
    """Bytes of binary messages, characters of text."""
    bytes_down: int = 0


async def relay(
    receive: Receive,
    send: Send,
    tunnel: WebSocketTunnel,
    *,
    on_message: Callable[[str, int], None] | None = None,
) -> Ended:
    """Carry messages between an accepted client and a service until one of them closes, then close the other.

    `on_message("up" | "down", size)` is called for each. Nothing is read from one side while the other
    is slow to take it. A side that vanished without a close frame becomes 1001 for the service (the client
    went away) and 1011 for the client.
    """
    ended = Ended()
    down = asyncio.create_task(_down(send, tunnel, ended, on_message))
    try:
        await _up(receive, tunnel, ended, on_message, down)
    finally:
        down.cancel()
    return ended


async def _up(
    receive: Receive,
    tunnel: WebSocketTunnel,
    ended: Ended,
    on_message: Callable[[str, int], None] | None,
    down: asyncio.Task[None],
) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code, reason = message.get("code") or ABNORMAL, message.get("reason") or ""
            if not ended.by:
                ended.by, ended.code, ended.reason = "client", code, reason
            await tunnel.aclose(1001 if code == ABNORMAL else code, reason)
            return
        data = message.get("text")
        if data is None:
            data = message["bytes"]
        ended.messages_up += 1
        ended.bytes_up += len(data)
        if on_message is not None:
            on_message("up", len(data))
        try:
            await tunnel.send(data)
        except Closed:
            await down  # which still delivers what the service had said, and its close


async def _down(
    send: Send, tunnel: WebSocketTunnel, ended: Ended, on_message: Callable[[str, int], None] | None
) -> None:
    try:
        while True:
            try:
                data = await tunnel.receive()
            except Closed as closed:
                if not ended.by:
                    ended.by, ended.code, ended.reason = "service", closed.code, closed.reason
                code = 1011 if closed.code == ABNORMAL else closed.code
                await send({"type": "websocket.close", "code": code, "reason": closed.reason})
                return
            ended.messages_down += 1
            ended.bytes_down += len(data)
            if on_message is not None:
                on_message("down", len(data))
            kind = "text" if isinstance(data, str) else "bytes"
            await send({"type": "websocket.send", kind: data})
    except OSError:
        pass  # the client is gone; its side hears that from `receive`
