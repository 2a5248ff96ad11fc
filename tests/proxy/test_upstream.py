"""The upstream as a whole: dialling, reuse and its races, limits, TLS, and httpx's own client on top."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from lab.proxy.connection import BodyStream
from lab.proxy.upstream import Upstream
from tests.fakes import OK, Peer, ScriptedServer, always, eventually, on_every_loop
from tests.proxy.client import CERTIFICATE, server_context


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def request(method: str = "GET", stream: Any = None, **extensions: Any) -> httpx.Request:
    stream = stream or httpx.ByteStream(b"")
    return httpx.Request(method, "http://service/", stream=stream, extensions=extensions)


async def read(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, BodyStream)
    return b"".join([piece async for piece in response.stream])


async def get(upstream: Upstream, *arguments: Any, **extensions: Any) -> bytes:
    return await read(await upstream.handle_async_request(request(*arguments, **extensions)))


# -- dialling --------------------------------------------------------------------------------------------


@on_every_loop
async def test_nobody_listens() -> None:
    with socket.socket() as placeholder:  # bound, so nobody else gets the port; not listening
        placeholder.bind(("127.0.0.1", 0))
        upstream = Upstream(f"http://127.0.0.1:{placeholder.getsockname()[1]}")
        for _ in range(3):
            with pytest.raises(httpx.ConnectError) as caught:
                await get(upstream)
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)
            assert caught.value.request.method == "GET"
        assert upstream.figures == (0, 0, 0, 100)


async def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    upstream = Upstream("http://service.invalid")
    with pytest.raises(httpx.ConnectError) as caught:
        await get(upstream)
    assert isinstance(caught.value.__cause__, socket.gaierror)
    assert upstream.figures == (0, 0, 0, 100)


async def test_a_name_that_no_resolver_can_take() -> None:
    with pytest.raises(httpx.ConnectError):
        await get(Upstream(f"http://{'a' * 64}.invalid"))


@on_every_loop
async def test_a_name_with_several_addresses_is_tried_through() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(f"http://localhost:{server.port}")
        upstream._addresses = several_addresses  # type: ignore[method-assign]
        assert await get(upstream) == b"ok"
        await upstream.aclose()


async def several_addresses() -> list[str]:
    return ["127.0.0.77", "127.0.0.1"]


async def test_ipv6() -> None:
    try:
        async with ScriptedServer(always(OK), host="::1") as server:
            upstream = Upstream(f"http://[::1]:{server.port}")
            assert await get(upstream) == b"ok"
            await upstream.aclose()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


@on_every_loop
async def test_a_connection_that_takes_too_long() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:  # accepts, but never speaks TLS
        upstream = Upstream(server.url.replace("http:", "https:"), connect_timeout=0.02)
        with pytest.raises(httpx.ConnectTimeout):
            await get(upstream)
        await eventually(lambda: server.peers and server.peers[0].gone)
        assert upstream.figures == (0, 0, 0, 100)


@on_every_loop
async def test_a_cancelled_dial_closes_its_socket() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url.replace("http:", "https:"))
        task = asyncio.create_task(get(upstream))
        await eventually(lambda: server.peers)
        assert upstream.figures.in_use == 1
        task.cancel()
        await asyncio.wait([task])
        assert upstream.figures == (0, 0, 0, 100)
        await eventually(lambda: server.peers[0].gone)


@on_every_loop
async def test_small_writes_go_out_at_once() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        (connection,) = upstream._open
        raw = connection.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await upstream.aclose()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8001", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
        Upstream(url)


# -- TLS -------------------------------------------------------------------------------------------------


@on_every_loop
async def test_https() -> None:
    body = b"x" * 1_000_000

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with ScriptedServer(script, tls=server_context()) as server:
        upstream = Upstream(server.url, ssl_context=trusting)
        for _ in range(2):
            assert await get(upstream) == body
        assert len(server.peers) == 1
        assert upstream.figures.idle == 1
        await upstream.aclose()


@on_every_loop
async def test_a_certificate_that_nobody_vouches_for() -> None:
    async with ScriptedServer(always(OK), tls=server_context()) as server:
        upstream = Upstream(server.url)
        with pytest.raises(httpx.ConnectError) as caught:
            await get(upstream)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert upstream.figures == (0, 0, 0, 100)


# -- reuse and its races ---------------------------------------------------------------------------------


@on_every_loop
async def test_connections_are_reused() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url)
        for _ in range(20):
            assert await get(upstream) == b"ok"
        assert len(server.peers) == 1
        await upstream.aclose()
        await eventually(lambda: upstream.figures == (0, 0, 0, 100))


@pytest.mark.parametrize("farewell", ["end", "reset", "talk"])
@on_every_loop
async def test_an_idle_connection_that_the_service_drops_leaves_at_once(farewell: str) -> None:
    drop = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        if peer.number == 0:
            await drop.wait()
            if farewell == "talk":
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            else:
                getattr(peer, farewell)()
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        assert upstream.figures.idle == 1
        drop.set()
        await eventually(lambda: upstream.figures.idle == 0)
        assert await get(upstream, "POST") == b"ok"
        assert len(server.peers) == 2
        await upstream.aclose()


def hangs_up(error: str) -> Any:
    """The race: the first connection answers once, takes a second request, and is closed unanswered."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        if peer.number == 0:
            getattr(peer, error)()
            return
        await peer.send(OK)
        await peer.left()

    return script


@pytest.mark.parametrize("error", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@on_every_loop
async def test_the_race_with_a_closing_service_is_run_again(method: str, error: str) -> None:
    async with ScriptedServer(hangs_up(error)) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        response = await upstream.handle_async_request(request(method))
        assert response.status_code == 200
        await response.aclose()
        assert len(server.peers) == 2
        await upstream.aclose()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@on_every_loop
async def test_but_not_where_a_second_time_could_do_harm(method: str) -> None:
    async with ScriptedServer(hangs_up("close")) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        with pytest.raises(httpx.RemoteProtocolError):
            await get(upstream, method)
        assert len(server.peers) == 1
        assert upstream.figures == (0, 0, 0, 100)


@on_every_loop
async def test_nor_a_third_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number == 0:
            await peer.send(OK)
            await peer.head()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        with pytest.raises(httpx.RemoteProtocolError):
            await get(upstream)
        assert len(server.peers) == 2


@on_every_loop
async def test_nor_on_a_first_use_of_a_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await get(upstream)
        assert len(server.peers) == 1


@on_every_loop
async def test_nor_after_the_answer_began() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        await peer.send(b"HTTP/1.1 2")

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        with pytest.raises(httpx.RemoteProtocolError):
            await get(upstream)
        assert len(server.peers) == 1


@pytest.mark.parametrize("replayable", [True, False])
@on_every_loop
async def test_a_streamed_body_needs_a_replay(replayable: bool) -> None:
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.head()
            await peer.send(OK)
        await peer.head()
        bodies.append(await peer.until(b"0\r\n\r\n"))
        if peer.number == 1:
            await peer.send(OK)
            await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        replay = Pieces(b"again").__aiter__ if replayable else None
        put = request("PUT", Pieces(b"once"), replay=replay)
        if replayable:
            assert await read(await upstream.handle_async_request(put)) == b"ok"
            assert bodies == [b"4\r\nonce\r\n0\r\n\r\n", b"5\r\nagain\r\n0\r\n\r\n"]
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await upstream.handle_async_request(put)
            assert len(bodies) == 1
        await upstream.aclose()


@on_every_loop
async def test_an_idle_connection_is_closed_in_time() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url, keepalive=0.02)
        await get(upstream)
        assert upstream.figures.idle == 1
        await eventually(lambda: upstream.figures.idle == 0)


# -- limits ----------------------------------------------------------------------------------------------


@on_every_loop
async def test_never_more_connections_than_the_limit_and_all_are_served() -> None:
    busy = most = 0

    async def script(peer: Peer) -> None:
        nonlocal busy, most
        while True:
            await peer.head()
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1
            await peer.send(OK)

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, limit=5)
        answers = await asyncio.gather(*(get(upstream) for _ in range(200)))
        assert answers == [b"ok"] * 200
        assert most <= 5
        assert len(server.peers) <= 5
        assert upstream.figures == (0, len(server.peers), 0, 5)
        await upstream.aclose()


@on_every_loop
async def test_a_full_pool() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url, limit=1, pool_timeout=0.02)
        first = asyncio.create_task(get(upstream))
        await eventually(lambda: upstream.figures.in_use == 1)
        with pytest.raises(httpx.PoolTimeout) as caught:
            await get(upstream)
        assert caught.value.request.method == "GET"
        first.cancel()
        await asyncio.wait([first])
        assert upstream.figures == (0, 0, 0, 1)


@on_every_loop
async def test_waiting_in_line_uses_up_the_time_for_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lab.proxy.upstream.time", SimpleNamespace(monotonic=lambda: now))
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await go_on.wait()
        await peer.send(b"k")
        await peer.left()  # the second request gets no answer

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, limit=1, head_timeout=100.0, pool_timeout=100.0)
        response = await upstream.handle_async_request(request())
        second = asyncio.create_task(get(upstream))
        await eventually(lambda: upstream.figures.waiting == 1)
        now += 100.0
        go_on.set()
        with pytest.raises(httpx.ReadTimeout):
            await second
        await response.aclose()


@on_every_loop
async def test_an_unread_body_holds_its_connection_and_its_end_lets_it_go() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await go_on.wait()
        await peer.send(b"k")
        await peer.head()
        await peer.send(OK)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, limit=1)
        response = await upstream.handle_async_request(request())
        second = asyncio.create_task(get(upstream))
        await eventually(lambda: upstream.figures == (1, 0, 1, 1))
        go_on.set()
        assert await second == b"ok"  # although the first body is still unread
        assert await read(response) == b"ok"
        await upstream.aclose()


# -- the end ---------------------------------------------------------------------------------------------


@on_every_loop
async def test_closing_lets_exchanges_finish_and_drain_waits_for_them() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        if peer.number == 1:
            await go_on.wait()
        await peer.send(OK)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await get(upstream)
        await upstream.aclose()
        await eventually(lambda: server.peers[0].gone)
        late = asyncio.create_task(get(upstream))
        await eventually(lambda: len(server.peers) == 2)
        drained = asyncio.create_task(upstream.drain())
        await eventually(turns(5))
        assert not drained.done()
        go_on.set()
        assert await late == b"ok"
        await drained
        await eventually(lambda: server.peers[1].gone)
        assert upstream.figures == (0, 0, 0, 100)


def turns(n: int) -> Any:
    left = iter(range(n))
    return lambda: next(left, None) is None


@on_every_loop
async def test_closing_by_force_cuts_exchanges() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url)
        waiting = asyncio.create_task(get(upstream))
        await eventually(lambda: server.peers)
        await eventually(turns(5))
        await upstream.aclose(force=True)
        with pytest.raises(httpx.ReadError):
            await waiting
        assert upstream.figures == (0, 0, 0, 100)


# -- httpx on top ----------------------------------------------------------------------------------------


@on_every_loop
async def test_httpx_client() -> None:
    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            target = head.split()[1]
            if target == b"/echo":
                lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await peer.exactly(int(lines[b"Content-Length"]))
                await peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            elif target == b"/gzip":
                body = gzip.compress(b"squeezed")
                await peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )
            elif target == b"/moved":
                await peer.send(b"HTTP/1.1 302 Found\r\nLocation: /gzip\r\nContent-Length: 0\r\n\r\n")
            else:
                await peer.send(OK[:-2] if head.startswith(b"HEAD") else OK)

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        async with httpx.AsyncClient(
            transport=upstream, base_url=server.url, follow_redirects=True, trust_env=False
        ) as client:
            answer = await client.post("/echo", json={"a": 1})
            assert (answer.status_code, answer.json()) == (201, {"a": 1})
            assert (await client.get("/moved")).text == "squeezed"
            assert (await client.head("/")).headers["content-length"] == "2"
            async with client.stream("GET", "/") as streamed:
                assert await streamed.aread() == b"ok"
            assert len(server.peers) == 1
        assert upstream.figures == (0, 0, 0, 100)


# -- nothing leaks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
@on_every_loop
async def test_five_hundred_requests_with_every_kind_of_accident(seed: int) -> None:
    chance = random.Random(seed)

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if head.startswith(b"POST"):
                await peer.until(b"0\r\n\r\n")
            match chance.randrange(10):
                case 0:
                    return peer.reset()
                case 1:
                    return peer.close()
                case 2:
                    await peer.send(b"nonsense\r\n\r\n")
                case 3:
                    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf of it")
                    return None
                case 4:
                    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
                    return None
                case 5:
                    await peer.left()
                case 6:
                    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    for _ in range(5):
                        await peer.send(b"5\r\nhello\r\n")
                    await peer.send(b"0\r\n\r\n")
                case _:
                    await peer.send(OK)

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, limit=8)

        async def client() -> None:
            method = chance.choice(["GET", "GET", "HEAD", "POST"])
            pieces = Pieces(b"some", b"more") if method == "POST" else None
            limits = {"head": 0.05, "read": 0.05, "pool": chance.choice([0.01, 10.0])}
            try:
                response = await upstream.handle_async_request(request(method, pieces, timeout=limits))
            except httpx.TransportError:
                return
            match chance.randrange(4):
                case 0:
                    await response.aclose()
                case 1:
                    assert isinstance(response.stream, BodyStream)
                    if response.stream.take_all() is None:
                        await response.aclose()
                case _:
                    try:
                        await read(response)
                    except httpx.TransportError:
                        await response.aclose()
                    except asyncio.CancelledError:
                        await response.aclose()
                        raise

        tasks: set[asyncio.Task[None]] = set()
        for _ in range(500):
            tasks.add(asyncio.create_task(client()))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                chance.choice(list(tasks)).cancel()
            tasks = {task for task in tasks if not task.done()}
            figures = upstream.figures
            assert figures.in_use + figures.idle <= 8
            assert figures.waiting == 0 or figures.in_use == 8
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
        assert (upstream.figures.in_use, upstream.figures.waiting) == (0, 0)
        await eventually(lambda: sum(c.usable for c in upstream._open) == upstream.figures.idle)
        await upstream.aclose()
        await eventually(lambda: not any(c.usable for c in upstream._open))
        assert upstream.figures == (0, 0, 0, 8)
