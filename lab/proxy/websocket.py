"""WebSockets through the gateway: dial the service, then carry messages both ways until either side ends.

Two handshakes, one for each hop. The service's comes first, so that it chooses the subprotocol and may refuse
before the client is accepted (RFC 6455 §4.2.2).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response as HandshakeResponse
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from lab.model import Exchange, Headers, Response
from lab.proxy import tls
from lab.proxy.connection import BodyStream, Connection, Request, Timeouts, outgoing
from lab.proxy.endpoint import ABNORMAL, Closed, Data, Endpoint, library_headers
from lab.proxy.endpoint import logger as quiet

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECT_TIMEOUT = 2.0
"""Seconds for the TCP (and TLS) connection, as for HTTP."""

MAX_REFUSAL = 1_048_576
"""Bytes of the body of a service's refusal."""

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


class _Alone:
    """The owner of a connection that is in no pool."""

    def release(self, connection: Connection, *, reusable: bool) -> None:
        connection.abort()

    def forget(self, connection: Connection) -> None: ...


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
    # Frames from the first byte on: the handshake's two heads are ours to write and to read.
    frames = ClientProtocol(
        WebSocketURI(secure, host, port, "/", ""),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        state=State.OPEN,
        max_size=max_message,
        logger=quiet,
    )
    endpoint = Endpoint(frames, loop)

    def switch(fields: Headers, transport: asyncio.Transport, rest: bytes) -> None:
        try:
            frames.process_response(HandshakeResponse(101, "", library_headers(fields)))
        except InvalidHandshake as error:
            raise ValueError(f"the service's handshake is not valid: {error}") from error
        endpoint.attach(transport)
        endpoint.data_received(rest)
        endpoint.start()

    own = frames.connect().headers
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own.raw_items()]
    if any(name.lower() == b"host" for name, _ in headers):
        fields = [field for field in fields if field[0] != b"Host"]
    request = Request("GET", target, headers + fields, switch=switch)
    out = outgoing(request)
    try:
        async with asyncio.timeout(open_timeout):
            try:
                async with asyncio.timeout(min(CONNECT_TIMEOUT, open_timeout)):
                    _, connection = await loop.create_connection(
                        lambda: Connection(_Alone()),
                        *(host, port),
                        ssl=(ssl_context or tls.context()) if secure else None,
                    )
            except TimeoutError as error:
                raise httpx.ConnectTimeout("no connection in time") from error
            except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot hold
                raise httpx.ConnectError(str(error)) from error
            answer = await connection.exchange(request, out, _NO_LIMITS)
            if answer.status == 101:
                return WebSocketTunnel(endpoint, frames.subprotocol, _passed(answer.headers))
            return Refused(answer.status, _passed(answer.headers), await _small(answer.stream))
    except BaseException as error:
        endpoint.abort()  # which is attached where a 101 and the end of our patience came together
        if isinstance(error, TimeoutError):
            raise httpx.ReadTimeout("no answer to the handshake in time") from error
        raise


_NO_LIMITS = Timeouts(None, None, None, None, None)
"""One limit goes for all of a handshake."""


def _passed(headers: Headers) -> Headers:
    # Connection names further fields of this hop, for whoever takes them out.
    return [field for field in headers if field[0] == b"connection" or not _of_handshake(field[0])]


async def _small(stream: BodyStream) -> bytes:
    body = b""
    try:
        async for piece in stream:
            body += piece
            if len(body) > MAX_REFUSAL:
                raise httpx.RemoteProtocolError("the refusal is too large")
    finally:
        stream.close()
    return body


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
    except OSError as gone:
        # The client is gone. `_up` hears that from `receive`, unless it still waits for the service to read,
        # which may itself be waiting for us to read.
        code = gone.code if isinstance(gone, Closed) else ABNORMAL
        await tunnel.aclose(1001 if code == ABNORMAL else code)
