"""WebSockets through a relay: a raw client, the gateway's server protocol, and a real service behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import websockets.asyncio.server as service_library
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers as LibraryHeaders
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response as LibraryResponse

from lab.model import Exchange, Response
from lab.proxy import websocket
from lab.proxy.connection import NoAnswer
from lab.proxy.endpoint import Endpoint
from lab.proxy.websocket import Ended, WebSocketTunnel, connect_service, dial, serve_websocket
from lab.settings import LimitsSettings
from tests.proxy.client import (
    CERTIFICATE,
    PATIENCE,
    Client,
    Running,
    server_context,
    serving,
    until,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
)


class Service:
    """A real WebSocket service that remembers who came, and does what `behave` says."""

    def __init__(self) -> None:
        self.port = 0
        self.behave: Callable[[ServerConnection], Awaitable[None]] = self.echo
        self.seen: list[ServerConnection] = []
        self.closes: list[tuple[int | None, str | None]] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.seen.append(connection)
        try:
            await self.behave(connection)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.closes.append((connection.close_code, connection.close_reason))

    async def echo(self, connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def service_running(**options: Any) -> AsyncIterator[Service]:
    service = Service()
    options = {"max_size": None, "compression": None} | options
    async with service_library.serve(service, "127.0.0.1", 0, **options) as server:
        service.port = next(iter(server.sockets)).getsockname()[1]
        yield service


class Relay:
    """The gateway reduced to its WebSocket parts: handshake exchange, dial, relay."""

    def __init__(self, url: str, max_message: int = 16_777_216, target: bytes | None = None) -> None:
        self.url = url
        self.max_message = max_message
        self.target = target
        self.ends: list[Ended | str] = []
        self.tunnels: list[WebSocketTunnel] = []
        self.dialling = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        assert (await receive())["type"] == "websocket.connect"
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self.dialling.set()
        try:
            response = await connect_service(
                Exchange("GET", scope["raw_path"], headers=scope["headers"], kind="websocket"),
                self.url,
                target=self.target or scope["raw_path"] + query,
                headers=scope["headers"],
                open_timeout=5.0,
                max_message=self.max_message,
            )
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise
        if response.tunnel is None:
            await self.refuse(response, send)
        else:
            assert isinstance(response.tunnel, WebSocketTunnel)
            self.tunnels.append(response.tunnel)
            self.ends.append(await serve_websocket(scope, receive, send, response))

    async def refuse(self, response: Response, send: Any) -> None:
        start = {
            "type": "websocket.http.response.start",
            "status": response.status,
            "headers": response.headers,
        }
        await send(start)
        half = len(response.content) // 2
        await send(
            {"type": "websocket.http.response.body", "body": response.content[:half], "more_body": True}
        )
        await send({"type": "websocket.http.response.body", "body": response.content[half:]})


@contextlib.asynccontextmanager
async def relayed(
    limits: LimitsSettings | None = None, max_message: int = 16_777_216, **options: Any
) -> AsyncIterator[tuple[Service, Relay, Running]]:
    async with service_running(**options) as service:
        relay = Relay(service.url, max_message)
        async with serving(relay, limits) as gateway:
            yield service, relay, gateway


def client(gateway: Running, path: str = "/ws", **options: Any) -> connect:
    return connect(
        f"ws://127.0.0.1:{gateway.port}{path}", proxy=None, max_size=None, **({"compression": None} | options)
    )


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked frame (the mask is zero), as a client sends it."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65_536:
        head += bytes([0x80 | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", len(data))
    return head + bytes(4) + data


async def raw_client(gateway: Running, *lines: bytes, behind: bytes = b"") -> Client:
    """A client past its handshake that sends and reads frames by hand."""
    raw = await gateway.client()
    extra = b"".join(line + b"\r\n" for line in lines)
    await raw.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + extra + b"\r\n" + behind)
    answer = await raw.head()
    assert answer.status == 101
    return raw


async def read_frame(raw: Client) -> tuple[int, bytes]:
    first, length = await raw.exactly(2)
    if length == 126:
        [length] = struct.unpack("!H", await raw.exactly(2))
    elif length == 127:
        [length] = struct.unpack("!Q", await raw.exactly(8))
    return first & 0x0F, await raw.exactly(length)


# -- TLS -----------------------------------------------------------------------------------------------------


async def shaken(service: Service, scheme: str, context: ssl.SSLContext | None) -> Response:
    return await connect_service(
        Exchange("GET", b"/ws", kind="websocket"),
        f"{scheme}://127.0.0.1:{service.port}",
        target=b"/ws",
        headers=[(b"host", b"x")],
        open_timeout=PATIENCE,
        max_message=1000,
        ssl_context=context,
    )


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_a_service_behind_tls(scheme: str) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with service_running(ssl=server_context()) as service:
        response = await shaken(service, scheme, trusting)
        assert response.status == 101
        assert isinstance(response.tunnel, WebSocketTunnel)
        await response.tunnel.send("secret")
        assert await soon(response.tunnel.receive()) == "secret"
        await response.tunnel.aclose()
        assert service.seen[0].transport.get_extra_info("cipher") is not None


async def test_a_service_that_nobody_vouches_for_is_not_spoken_to() -> None:
    async with service_running(ssl=server_context()) as service:
        with pytest.raises(httpx.ConnectError) as caught:
            await shaken(service, "https", None)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert service.seen == []


# -- messages (row 60) -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    ["", b"", "\N{SNOWMAN}" * 100, b"\x00\xff\xfe", "a" * 70_000, bytes(16_777_216), "b" * 16_777_216],
    ids=["empty text", "empty binary", "text", "binary", "70 kB", "16 MiB binary", "16 MiB text"],
)
async def test_messages_keep_their_type_and_content(message: str | bytes) -> None:
    async with relayed() as (_, _, gateway), client(gateway) as ours:
        await soon(ours.send(message))
        assert await soon(ours.recv()) == message


async def test_fragments_arrive_as_one_message_with_control_frames_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with relayed() as (_, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(frame(1, "\N{SNOWMAN}".encode()[:1], fin=False))
        await raw.send(frame(9, b"in between"))
        await raw.send(frame(0, "\N{SNOWMAN}".encode()[1:], fin=False) + frame(0, b"", fin=True))
        assert await read_frame(raw) == (10, b"in between")
        assert await read_frame(raw) == (1, "\N{SNOWMAN}".encode())


async def test_frames_behind_the_handshake_are_not_lost_and_not_answered_before_it() -> None:
    async with relayed() as (_, _, gateway):
        raw = await raw_client(gateway, behind=frame(9, b"p") + frame(2, b"early"))
        assert await read_frame(raw) == (10, b"p")
        assert await read_frame(raw) == (2, b"early")


async def test_a_large_message_that_does_not_wait_for_the_handshake_arrives() -> None:
    async with relayed() as (_, _, gateway):
        message = bytes(1_000_000)
        raw = await raw_client(gateway, behind=frame(2, message))
        assert await soon(read_frame(raw)) == (2, message)


async def test_messages_stay_in_order_both_ways() -> None:
    async with relayed() as (_, relay, gateway):
        async with client(gateway) as ours:
            for i in range(500):
                await ours.send(str(i))
            assert [await soon(ours.recv()) for _ in range(500)] == [str(i) for i in range(500)]
        await until(lambda: relay.ends)
        [ended] = relay.ends
        assert isinstance(ended, Ended)
        assert (ended.messages_up, ended.messages_down, ended.bytes_up) == (500, 500, 1390)


async def test_a_message_over_the_limit_closes_with_1009_whichever_side_sent_it() -> None:
    async with relayed(LimitsSettings(max_message=1000), max_message=1000) as (service, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(frame(2, bytes(1000)))
        assert await read_frame(raw) == (2, bytes(1000))
        raw.writer.write(frame(2, bytes(1_000_000)))  # the code arrives though all this is still on its way
        opcode, data = await read_frame(raw)
        assert (opcode, data[:2]) == (8, struct.pack("!H", 1009))
        raw.close()
        await until(lambda: service.closes)
        assert service.closes[0][0] == 1009

        async def too_much(connection: ServerConnection) -> None:
            await connection.send(bytes(1001))

        service.behave = too_much
        async with client(gateway) as ours:
            await soon(ours.wait_closed())
            assert ours.close_code == 1009


async def test_text_that_is_not_utf_8_closes_with_1007() -> None:
    async with relayed() as (service, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(frame(1, b"\xff"))
        opcode, data = await read_frame(raw)
        assert (opcode, data[:2]) == (8, struct.pack("!H", 1007))
        raw.close()
        await until(lambda: service.closes)
        assert service.closes[0][0] == 1007


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x81\x01a",
        frame(3),
        frame(0, b"a"),
        b"\xc1\x80\0\0\0\0",
        frame(9, b"a" * 126),
        frame(8, b"\x03\xed"),
    ],
    ids=["unmasked", "unknown opcode", "stray continuation", "reserved bit", "long ping", "close with 1005"],
)
async def test_a_protocol_error_closes_with_1002(bytes_: bytes) -> None:
    async with relayed() as (_, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(bytes_)
        opcode, data = await read_frame(raw)
        assert (opcode, data[:2]) == (8, struct.pack("!H", 1002))


# -- the handshake (rows 57, 58, 62) -----------------------------------------------------------------------


async def test_the_service_chooses_the_subprotocol_and_nothing_is_extended() -> None:
    async with relayed(subprotocols=["two"], server_header=None) as (_, _, gateway):
        raw = await gateway.client()
        offer = b"Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol: three\r\n"
        offer += b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        await raw.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + offer + b"\r\n")
        answer = await raw.head()
        assert (answer.status, answer[b"sec-websocket-protocol"]) == (101, b"two")
        assert answer[b"sec-websocket-accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.all(b"sec-websocket-extensions") == []
        assert answer.all(b"server") == answer.all(b"set-cookie") == []


async def test_the_service_gets_the_clients_fields_and_exactly_its_target() -> None:
    def hello(connection: ServerConnection, request: Any, response: LibraryResponse) -> None:
        response.headers["Set-Cookie"] = "a=1"
        response.headers["Set-Cookie"] = "b=2"

    async with relayed(process_response=hello, server_header=None) as (service, _, gateway):
        raw = await gateway.client()
        lines = b"X-A: 1\r\nX-A: 2\r\nCookie: c\r\nAuthorization: z\r\nOrigin: http://o\r\nX-L: \xe9\r\n"
        await raw.send(b"GET //a%2Fb//%00?x=%20&&x HTTP/1.1\r\n" + UPGRADE + lines + b"\r\n")
        assert (await raw.head()).all(b"set-cookie") == [b"a=1", b"b=2"]
        request = service.seen[0].request
        assert request is not None
        assert request.path == "//a%2Fb//%00?x=%20&&x"
        fields = {name.lower(): request.headers.get_all(name) for name in request.headers}
        assert fields.pop("sec-websocket-key") != [KEY.decode()]
        assert fields == {
            "host": ["x"],
            "x-a": ["1", "2"],
            "cookie": ["c"],
            "authorization": ["z"],
            "origin": ["http://o"],
            "x-l": ["\xe9"],
            "connection": ["Upgrade"],
            "upgrade": ["websocket"],
            "sec-websocket-version": ["13"],
        }


async def test_a_refused_upgrade_keeps_status_fields_and_body() -> None:
    def no(connection: ServerConnection, request: Any) -> LibraryResponse:
        body = b"only\nfor members"
        headers = LibraryHeaders(
            {"X-Why": "members", "Content-Length": str(len(body)), "WWW-Authenticate": "Basic"}
        )
        return LibraryResponse(401, "Unauthorized", headers, body)

    async with relayed(process_request=no) as (_, _, gateway):
        with pytest.raises(InvalidStatus) as refused:
            async with client(gateway):
                pass
        response = refused.value.response
        assert (response.status_code, bytes(response.body)) == (401, b"only\nfor members")
        assert (response.headers["X-Why"], response.headers["WWW-Authenticate"]) == ("members", "Basic")
        assert response.headers.get_all("Content-Length") == ["16"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 12"), 426),
        ((b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        ((b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""), 400),
        ((KEY, b"short"), 400),
        ((b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: websocket"), 426),
    ],
)
async def test_a_handshake_that_is_none_is_refused_before_the_application(
    change: tuple[bytes, bytes], status: int
) -> None:
    async with service_running() as service:
        relay = Relay(service.url)
        async with serving(relay) as gateway:
            answer = await gateway.ask(b"GET /ws HTTP/1.1\r\n" + UPGRADE.replace(*change) + b"\r\n")
            assert answer.status == status
            assert answer.all(b"content-type") == [b"application/problem+json"]
            # RFC 6455 §4.4: a client of another version learns which one is spoken here.
            assert answer.all(b"sec-websocket-version") == ([b"13"] if status == 426 else [])
            assert not relay.dialling.is_set()


async def test_a_client_that_leaves_during_the_handshake_ends_the_dialling() -> None:
    held: list[asyncio.StreamWriter] = []
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        gone.set()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        relay = Relay(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        async with serving(relay) as gateway:
            raw = await gateway.client()
            await raw.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n")
            await until(lambda: held)
            raw.close()
            await soon(gone.wait())
            await until(lambda: relay.ends)
            assert relay.ends == ["CancelledError"]
            await until(lambda: not gateway.state.connections)


# -- dialling ----------------------------------------------------------------------------------------------


async def ring(url: str, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "target": b"/",
        "headers": [],
        "subprotocols": [],
        "max_message": 100,
        "open_timeout": 5.0,
    }
    return await soon(dial(url, **(defaults | options)))


@contextlib.asynccontextmanager
async def answering(raw: bytes | None) -> AsyncIterator[str]:
    """A server that answers every handshake with `raw` and closes; None: never."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if raw is None:
            await reader.read()
        else:
            writer.write(raw)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", NoAnswer),
        (b"HTTP/1.1 101 Sw", NoAnswer),
        (b"SSH-2.0-x\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 x\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 403 x\r\nContent-Length: 2\r\n\r\na", httpx.RemoteProtocolError),
    ],
)
async def test_an_answer_that_is_no_handshake_is_an_error(raw: bytes, error: type[Exception]) -> None:
    async with answering(raw) as url:
        with pytest.raises(error):
            await ring(url)


async def test_a_refusal_of_any_size_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_REFUSAL", 10)
    async with answering(b"HTTP/1.1 403 x\r\n\r\n" + bytes(11)) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await ring(url)


async def test_a_service_that_is_not_there_or_silent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        with pytest.raises(httpx.ConnectError):
            await ring(f"http://127.0.0.1:{taken.getsockname()[1]}")
    async with answering(None) as url:
        with pytest.raises(httpx.ReadTimeout):
            await ring(url, open_timeout=0.05)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.0 403 No\r\n\r\nno",
        b"HTTP/1.1 403\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nX-Long: " + bytes(b"v" * 20_000) + b"\r\n\r\nno",
    ],
    ids=["1xx before it", "HTTP/1.0", "no reason, chunked", "a long field"],
)
async def test_a_refusal_is_read_as_any_other_response(raw: bytes) -> None:
    async with answering(raw) as url:
        answer = await ring(url)
    assert isinstance(answer, websocket.Refused)
    assert (answer.status, answer.body) == (403, b"no")


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: http://evil\r\nContent-Length: 0\r\n\r\n") as url:
        answer = await ring(url)
    assert isinstance(answer, websocket.Refused)
    assert (answer.status, answer.headers) == (302, [(b"location", b"http://evil")])


async def test_a_subprotocol_that_nobody_offered_is_an_error() -> None:
    async with service_running(select_subprotocol=lambda connection, offered: "mine") as service:
        with pytest.raises(httpx.RemoteProtocolError):
            await ring(service.url, subprotocols=["other"])


# -- closing (row 59) --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "bye"), (3000, "\N{SNOWMAN}" * 41), (4999, "x" * 123)]
)
async def test_code_and_reason_cross_both_ways(code: int, reason: str) -> None:
    async with relayed() as (service, relay, gateway):
        async with client(gateway) as ours:
            await soon(ours.close(code, reason))
        await until(lambda: service.closes and relay.ends)
        assert service.closes == [(code, reason)]
        [ended] = relay.ends
        assert isinstance(ended, Ended)
        assert (ended.by, ended.code, ended.reason) == ("client", code, reason)

        async def leave(connection: ServerConnection) -> None:
            await connection.send("last words")
            await connection.close(code, reason)

        service.behave = leave
        async with client(gateway) as ours:
            assert await soon(ours.recv()) == "last words"
            await soon(ours.wait_closed())
            assert (ours.close_code, ours.close_reason) == (code, reason)
        await until(lambda: len(relay.ends) == 2)
        assert relay.ends[1].by == "service"  # type: ignore[union-attr]
        await until(lambda: not gateway.state.connections and not gateway.state.tasks)


async def test_a_close_without_a_code_stays_one() -> None:
    async with relayed() as (service, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(frame(8))
        assert await read_frame(raw) == (8, b"")
        assert await raw.closed()
        await until(lambda: service.closes)
        assert service.closes == [(1005, "")]


async def test_a_side_that_vanishes_never_becomes_a_reserved_code() -> None:
    async with relayed() as (service, _, gateway):
        raw = await raw_client(gateway)
        raw.abort()
        await until(lambda: service.closes)
        assert service.closes == [(1001, "")]

        async def vanish(connection: ServerConnection) -> None:
            connection.transport.abort()

        service.behave = vanish
        async with client(gateway) as ours:
            await soon(ours.wait_closed())
            assert ours.close_code == 1011


async def test_what_the_service_said_before_closing_still_arrives_while_the_client_sends() -> None:
    async with relayed(close_timeout=0.1) as (service, _, gateway):

        async def answer_and_leave(connection: ServerConnection) -> None:
            await connection.recv()
            for i in range(100):
                await connection.send(str(i))
            await connection.close(4001, "done")

        service.behave = answer_and_leave
        raw = await raw_client(gateway)
        await raw.send(frame(1, b"x") * 200)
        got = []
        while (found := await read_frame(raw))[0] == 1:
            got.append(found[1])
        assert got == [b"%d" % i for i in range(100)]
        assert found == (8, struct.pack("!H", 4001) + b"done")
        raw.close()


# -- pings, silence, slowness (rows 61, 63) ----------------------------------------------------------------


async def test_a_ping_is_answered_on_its_own_hop() -> None:
    async with relayed(ping_interval=None) as (_, _, gateway):
        raw = await raw_client(gateway)
        await raw.send(frame(9, b"anyone?"))
        assert await read_frame(raw) == (10, b"anyone?")


async def test_a_silent_client_is_pinged_and_one_that_answers_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "silence", 0.05)
    async with relayed() as (service, _, gateway):
        raw = await raw_client(gateway)
        for _ in range(3):
            assert await read_frame(raw) == (9, b"")
            await raw.send(frame(10))
        await raw.send(frame(1, b"here"))
        opcode = 9
        while opcode == 9:
            opcode, data = await read_frame(raw)
        assert data == b"here"
        assert service.closes == []


async def test_a_dead_client_is_noticed_and_the_service_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 3 * Endpoint.silence <= 60
    monkeypatch.setattr(Endpoint, "silence", 0.05)
    async with relayed() as (service, relay, gateway):
        raw = await raw_client(gateway)
        await until(lambda: service.closes)
        assert service.closes == [(1001, "")]
        await until(lambda: relay.ends and not gateway.state.connections)
        raw.abort()


async def test_a_client_whose_bytes_we_do_not_read_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "silence", 0.02)
    async with relayed(ping_interval=None, max_queue=1) as (service, relay, gateway):
        stalled, go = asyncio.Event(), asyncio.Event()

        async def stall(connection: ServerConnection) -> None:
            connection.transport.pause_reading()
            stalled.set()
            await go.wait()
            connection.transport.resume_reading()
            async for _ in connection:
                pass

        service.behave = stall
        # The far end is a service that answers no ping for a while; only the client's end is of interest.
        raw = await raw_client(gateway)
        await soon(stalled.wait())
        [session] = gateway.state.connections
        tunnel = relay.tunnels[0]._endpoint
        tunnel._timer.cancel()  # type: ignore[union-attr]
        while not session._endpoint._read_paused:
            await raw.send(frame(2, bytes(65_536)))
            await asyncio.sleep(0)
        ticks = 0

        def count(original: Any = session._endpoint._tick) -> None:
            nonlocal ticks
            ticks += 1
            original()

        session._endpoint._timer.cancel()
        for _ in range(4):
            count()
            session._endpoint._timer.cancel()
        assert session._endpoint.closed is None
        go.set()
        await until(lambda: not session._endpoint._read_paused)
        raw.abort()


async def flooded(gateway: Running, service: Service, size: int) -> tuple[Client, Any, asyncio.Event]:
    """A client that has not begun to read a message of `size` bytes, the gateway's session with it, and
    whether something the client said has reached the service."""
    heard = asyncio.Event()

    async def flood(connection: ServerConnection) -> None:
        await connection.send(bytes(size))
        async for message in connection:
            heard.set()
            await connection.send(message)

    service.behave = flood
    raw = await gateway.client()
    # What the system holds would otherwise grow to many megabytes, or not.
    raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await raw.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n")
    await until(lambda: gateway.state.connections)
    [session] = gateway.state.connections
    session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    await until(lambda: session._transport.get_write_buffer_size() > Endpoint.high_water)
    return raw, session, heard


async def test_who_pings_and_does_not_read_gets_one_pong_and_costs_no_memory() -> None:
    async with relayed(ping_interval=None) as (service, _, gateway):
        raw, session, heard = await flooded(gateway, service, 16_000_000)
        before = session._transport.get_write_buffer_size()
        for _ in range(100):
            await raw.send(frame(9, bytes(100)) * 100)
        await raw.send(frame(9, b"the last") + frame(1, b"read them all"))
        await soon(heard.wait())
        assert session._transport.get_write_buffer_size() <= before + 1000
        raw.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert (await raw.head()).status == 101
        assert await read_frame(raw) == (2, bytes(16_000_000))
        found = {await read_frame(raw), await read_frame(raw)}
        assert found == {(10, b"the last"), (1, b"read them all")}
        raw.close()


async def test_a_client_that_reads_slowly_is_not_dead() -> None:
    async with relayed(ping_interval=None) as (service, _, gateway):
        raw, session, _ = await flooded(gateway, service, 16_000_000)
        endpoint, transport = session._endpoint, session._transport
        raw.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert (await raw.head()).status == 101
        left = 16_000_000
        for _ in range(5):
            await raw.exactly(1_500_000)
            await until(lambda left=left: transport.get_write_buffer_size() < left)
            left = transport.get_write_buffer_size()
            assert left > Endpoint.high_water
            endpoint._timer.cancel()
            endpoint._tick()
        assert endpoint.closed is None
        for _ in range(3):  # it takes nothing any more, and no pong can come
            endpoint._timer.cancel()
            endpoint._tick()
        assert endpoint.closed.code == 1006
        raw.abort()


async def test_a_slow_service_stalls_the_client_and_memory_stays_bounded() -> None:
    async with relayed(ping_interval=None, max_queue=1) as (service, relay, gateway):
        go = asyncio.Event()

        async def stall(connection: ServerConnection) -> None:
            await go.wait()
            async for _ in connection:
                pass

        service.behave = stall
        raw = await raw_client(gateway)
        [session] = gateway.state.connections
        blocked = False
        message = frame(2, bytes(65_000))
        for _ in range(1000):
            raw.writer.write(message)
            try:
                await asyncio.wait_for(raw.writer.drain(), 0.5)
            except TimeoutError:
                blocked = True
                break
        assert blocked
        tunnel = relay.tunnels[0]._endpoint
        held = session._endpoint._queued + tunnel._transport.get_write_buffer_size()  # type: ignore[union-attr]
        assert held < 1_048_576
        go.set()
        await asyncio.wait_for(raw.writer.drain(), PATIENCE)
        raw.abort()


async def test_a_slow_client_stalls_the_service() -> None:
    async with relayed(ping_interval=None) as (service, relay, gateway):
        sent = 0
        blocked = asyncio.Event()

        async def flood(connection: ServerConnection) -> None:
            nonlocal sent
            while True:
                send = asyncio.ensure_future(connection.send(bytes(65_000)))
                done, _ = await asyncio.wait({send}, timeout=0.5)
                if not done:
                    blocked.set()
                await send
                sent += 1

        service.behave = flood
        raw = await raw_client(gateway)
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await soon(blocked.wait())
        [session] = gateway.state.connections
        held = session._transport.get_write_buffer_size() + relay.tunnels[0]._endpoint._queued
        assert held < 1_048_576
        raw.abort()


async def test_a_client_that_vanishes_before_all_its_echoes_ends_the_service_s_side_too() -> None:
    """The service reads no more until we read its echoes, and we read none until the client takes some."""
    async with relayed(ping_interval=None, max_queue=1) as (service, relay, gateway):
        raw = await raw_client(gateway)
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(1000):
            raw.writer.write(frame(2, bytes(65_000)))
            try:
                await asyncio.wait_for(raw.writer.drain(), 0.5)
            except TimeoutError:
                break
        tunnel = relay.tunnels[0]._endpoint
        await until(lambda: tunnel._read_paused and tunnel._writable is not None)
        raw.abort()
        try:
            await until(lambda: tunnel.lost and relay.ends)
        finally:
            service.seen[0].transport.abort()  # it may wait in its library, for nobody, and we for it


# -- ASGI and stopping (row 64) ----------------------------------------------------------------------------


async def test_a_stop_tells_both_sides_and_waits_for_the_closing_handshake() -> None:
    async with relayed() as (service, relay, gateway):
        raw = await raw_client(gateway)
        gateway.server.should_exit = True
        opcode, data = await read_frame(raw)
        assert (opcode, data[:2]) == (8, struct.pack("!H", 1012))
        assert not gateway.task.done()
        await raw.send(frame(8, data))
        assert await raw.closed()
        await asyncio.wait_for(asyncio.shield(gateway.task), PATIENCE)
        assert service.closes == [(1001, "the gateway stops")]
        assert relay.ends


async def test_websockets_count_as_connections() -> None:
    async with relayed(LimitsSettings(max_connections=1)) as (_, _, gateway), client(gateway):
        answer = await (await gateway.client()).answer()
        assert answer.status == 503


async def converse(app: Any, steps: Callable[[ClientConnection], Awaitable[None]]) -> None:
    async with serving(app) as gateway, client(gateway) as ours:
        await steps(ours)


async def test_an_application_sees_disconnects_with_code_and_reason() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["type"], scope["scheme"], scope["subprotocols"]) == ("websocket", "ws", ["a", "b"])
        seen.append(await receive())
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-h", b"1")]})
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(OSError, match="4000"):
            await send({"type": "websocket.send", "text": "too late"})

    async with serving(app) as gateway:
        async with client(gateway, subprotocols=["a", "b"]) as ours:
            assert ours.subprotocol == "b"
            assert ours.response is not None
            assert ours.response.headers["x-h"] == "1"
            await ours.send(b"\x00")
            await ours.close(4000, "enough")
        await until(lambda: not gateway.state.tasks)
    assert seen == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"\x00"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
    ]


@pytest.mark.parametrize(("then", "code"), [("return", 1000), ("raise", 1011), ("close", 1008)])
async def test_however_an_application_ends_the_client_gets_a_close(then: str, code: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        if then == "close":
            await send({"type": "websocket.close", "code": 1008, "reason": "no"})
        if then == "raise":
            raise ZeroDivisionError

    async with serving(app) as gateway, client(gateway) as ours:
        await soon(ours.wait_closed())
        assert ours.close_code == code


@pytest.mark.parametrize(("then", "status"), [("return", 500), ("raise", 500), ("close", 403)])
async def test_an_application_that_does_not_accept(then: str, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if then == "close":
            await send({"type": "websocket.close"})
        if then == "raise":
            raise ZeroDivisionError

    async with serving(app) as gateway:
        answer = await gateway.ask(b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        assert (answer.status, answer[b"connection"]) == (status, b"close")
