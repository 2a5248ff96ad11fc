"""One connection, byte by byte: what goes out, what comes back, and whether it may be used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from lab.proxy.connection import HIGH_WATER, MAX_FIELDS, MAX_HEAD, BodyStream
from lab.proxy.upstream import Upstream
from tests.fakes import OK, Peer, ScriptedServer, always, eventually, on_every_loop

Fields = list[tuple[bytes, bytes]]


def request(
    method: str = "GET",
    target: bytes = b"/",
    headers: Fields | None = None,
    body: bytes | AsyncIterator[bytes] = b"",
    **extensions: Any,
) -> httpx.Request:
    stream = httpx.ByteStream(body) if isinstance(body, bytes) else Pieces(body)
    return httpx.Request(
        method,
        "http://service",
        headers=[(b"host", b"service")] if headers is None else headers,
        stream=stream,
        extensions={"target": target, **extensions},
    )


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


async def several(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def body_of(response: httpx.Response) -> BodyStream:
    assert isinstance(response.stream, BodyStream)
    return response.stream


async def read(response: httpx.Response) -> bytes:
    return b"".join([piece async for piece in body_of(response)])


async def sent_by(*requests: Callable[[], httpx.Request]) -> bytes:
    """What arrives at the service when these requests are sent one after the other."""
    got = b""

    async def script(peer: Peer) -> None:
        nonlocal got
        for _ in requests:
            while not (piece := await peer.some()).endswith(b"\n"):
                got += piece
            got += piece
            await peer.send(OK)
        got += await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        for make in requests:
            assert await read(await upstream.handle_async_request(make())) == b"ok"
        await upstream.aclose()
        await eventually(lambda: server.peers[0].gone)
    return got


# -- the request -----------------------------------------------------------------------------------------


@on_every_loop
async def test_target_and_header_fields_go_out_as_they_are() -> None:
    fields = [(b"X-B", b"2"), (b"Host", b"h"), (b"x-b", b"1"), (b"X-Raw", b"\xe9 \t;"), (b"x-empty", b"")]
    sent = await sent_by(lambda: request("PROPFIND", b"//a/%2F%3f?a=1&a=2&b&d=&%2f&;", fields))
    assert sent == (
        b"PROPFIND //a/%2F%3f?a=1&a=2&b&d=&%2f&; HTTP/1.1\r\n"
        b"X-B: 2\r\nHost: h\r\nx-b: 1\r\nX-Raw: \xe9 \t;\r\nx-empty: \r\n\r\n"
    )


@on_every_loop
async def test_without_a_target_the_url_gives_it_and_the_host() -> None:
    url = httpx.URL("http://service:81/a%20b?c=%2F")
    sent = await sent_by(lambda: httpx.Request("GET", url, stream=httpx.ByteStream(b"")))
    assert sent == b"GET /a%20b?c=%2F HTTP/1.1\r\nHost: service:81\r\n\r\n"


@on_every_loop
async def test_a_body_of_unknown_length_goes_out_in_chunks() -> None:
    sent = await sent_by(lambda: request("POST", body=several(b"hello", b"", b"x" * 17)))
    assert sent == (
        b"POST / HTTP/1.1\r\nhost: service\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    )


@on_every_loop
async def test_framing_that_the_caller_gave_is_kept() -> None:
    chunked = [(b"host", b"h"), (b"transfer-encoding", b"Chunked")]
    counted = [(b"host", b"h"), (b"content-length", b"6")]
    sent = await sent_by(
        lambda: request("PUT", headers=chunked, body=b"hi\n"),
        lambda: request("PUT", headers=counted, body=several(b"hel", b"lo\n")),
        lambda: request("PUT", body=b"whole\n"),
    )
    assert sent == (
        b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nhi\n\r\n0\r\n\r\n"
        b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nhello\n"
        b"PUT / HTTP/1.1\r\nhost: service\r\nContent-Length: 6\r\n\r\nwhole\n"
    )


@pytest.mark.parametrize(
    "bad",
    [
        lambda: request(target=b"/a b"),
        lambda: request(target=b"/a\r\nX: y"),
        lambda: request(target=b"/a\x00"),
        lambda: request(target=b""),
        lambda: request(method="GE T"),
        lambda: request(method="GÉT"),
        lambda: request(headers=[(b"host", b"h"), (b"x", b"a\r\nb: c")]),
        lambda: request(headers=[(b"host", b"h"), (b"x", b"a\rb")]),
        lambda: request(headers=[(b"host", b"h"), (b"x", b"a\nb")]),
        lambda: request(headers=[(b"host", b"h"), (b"x", b"a\x00b")]),
        lambda: request(headers=[(b"host", b"h"), (b"x y", b"a")]),
        lambda: request(headers=[(b"host", b"h"), (b"x:y", b"a")]),
        lambda: request(headers=[(b"host", b"h"), (b"", b"a")]),
        lambda: request(headers=[(b"host", b"h"), (b"host", b"i")]),
        lambda: request(headers=[(b"content-length", b"0"), (b"transfer-encoding", b"chunked")]),
        lambda: request(headers=[(b"content-length", b"0"), (b"content-length", b"0")]),
        lambda: request(headers=[(b"content-length", b"+1")], body=b"x"),
        lambda: request(headers=[(b"content-length", b"2")], body=b"x"),
        lambda: request(headers=[(b"transfer-encoding", b"gzip")], body=b"x"),
    ],
)
async def test_what_must_not_be_sent_is_refused_before_anything_is_dialled(
    bad: Callable[[], httpx.Request],
) -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url)
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await upstream.handle_async_request(bad())
        assert caught.value.request is not None
        assert server.peers == []
        assert upstream.figures.in_use == 0


@pytest.mark.parametrize("pieces", [[b"1234", b"56"], [b"1234"]], ids=["too long", "too short"])
async def test_a_body_that_breaks_its_promise_cuts_the_connection(pieces: list[bytes]) -> None:
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.left())

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        fields = [(b"host", b"h"), (b"content-length", b"5")]
        with pytest.raises(httpx.LocalProtocolError):
            await upstream.handle_async_request(request("POST", headers=fields, body=several(*pieces)))
        await eventually(lambda: got)
        assert len(got[0]) < 5
        assert upstream.figures == (0, 0, 0, 100)


async def test_an_error_of_the_request_body_comes_out_as_it_is_and_cuts_the_connection() -> None:
    class TooLarge(Exception):
        pass

    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        raise TooLarge

    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url)
        with pytest.raises(TooLarge):
            await upstream.handle_async_request(request("POST", body=pieces()))
        await eventually(lambda: server.peers[0].gone)
        assert upstream.figures == (0, 0, 0, 100)


# -- uploads ---------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_piece_of_the_upload_goes_out_before_the_next_is_there() -> None:
    arrived = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await arrived.wait()
        yield b"last"

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.until(b"5\r\nfirst\r\n")
        arrived.set()
        await peer.until(b"4\r\nlast\r\n0\r\n\r\n")
        await peer.send(OK)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        assert await read(await upstream.handle_async_request(request("POST", body=pieces()))) == b"ok"
        assert upstream.figures.idle == 1
        await upstream.aclose()


@on_every_loop
async def test_a_service_that_reads_slowly_holds_the_upload_back() -> None:
    total, piece = 64 * 2**20, b"x" * 65_536
    asked = 0
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal asked
        while asked < total:
            asked += len(piece)
            yield piece

    async def script(peer: Peer) -> None:
        await peer.head()
        await go_on.wait()
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        task = asyncio.create_task(upstream.handle_async_request(request("POST", body=pieces())))
        before = -1
        while before != asked:  # until the upload comes to a halt
            before = asked
            await eventually(turns(200))
        assert 0 < asked < total / 2
        task.cancel()
        go_on.set()
        await asyncio.wait([task])
        await eventually(lambda: server.peers[0].gone)
        assert upstream.figures.in_use == 0


def turns(n: int) -> Callable[[], bool]:
    """True at the n-th time of asking."""
    left = iter(range(n))
    return lambda: next(left, None) is None


async def test_a_service_that_takes_nothing_is_given_up() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    stay = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await stay.wait()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, write_timeout=0.05, head_timeout=None)
        with pytest.raises(httpx.WriteTimeout):
            await upstream.handle_async_request(request("POST", body=pieces()))
        assert upstream.figures == (0, 0, 0, 100)
        stay.set()


@on_every_loop
async def test_a_service_that_hangs_up_on_an_upload_without_reading_it() -> None:
    enough = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.end()
        await enough.wait()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, write_timeout=None, head_timeout=None)
        with pytest.raises(httpx.RemoteProtocolError):
            await upstream.handle_async_request(request("POST", body=pieces()))
        assert upstream.figures == (0, 0, 0, 100)
        enough.set()


@on_every_loop
async def test_an_early_error_stops_the_upload_and_is_returned() -> None:
    stopped = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request("POST", body=pieces()))
        assert (response.status_code, await read(response)) == (413, b"no!")
        await stopped.wait()
        await eventually(lambda: server.peers[0].gone)
        assert upstream.figures == (0, 0, 0, 100)


@on_every_loop
async def test_an_error_stops_the_upload_even_while_its_own_body_is_still_coming() -> None:
    stopped = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\n")
        await stopped.wait()
        await peer.send(b"no!")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request("POST", body=pieces()))
        assert await read(response) == b"no!"
        assert upstream.figures == (0, 0, 0, 100)


@on_every_loop
async def test_a_good_answer_may_stream_while_the_upload_goes_on() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        assert await heard.get() == b"A"
        yield b"b"
        assert await heard.get() == b"B"

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.until(b"1\r\na\r\n")
        await peer.send(b"1\r\nA\r\n")
        await peer.until(b"1\r\nb\r\n")
        await peer.send(b"1\r\nB\r\n")
        await peer.until(b"0\r\n\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request("POST", body=pieces()))
        async for piece in body_of(response):
            heard.put_nowait(piece)
        assert upstream.figures == (0, 1, 0, 100)
        await upstream.aclose()


# -- responses -------------------------------------------------------------------------------------------


async def ask(script: Any, *, method: str = "GET", **limits: Any) -> tuple[httpx.Response, bytes, int]:
    """The response to one request, its body, and how many connections are fit for another."""
    if isinstance(script, bytes):
        data = script

        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(data)
            await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, **limits)
        try:
            response = await upstream.handle_async_request(request(method))
            body = await read(response)
            await eventually(lambda: upstream.figures.in_use == 0)
            return response, body, upstream.figures.idle
        finally:
            assert upstream.figures.in_use == 0
            await upstream.aclose()


@on_every_loop
async def test_the_head_is_handed_on_as_it_came() -> None:
    response, body, idle = await ask(
        b"HTTP/1.1 299 Fine So\r\nSet-Cookie: a=1\r\nX-Raw: \xe9\r\nset-cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\xff"
    )
    assert response.status_code == 299
    assert response.extensions == {"http_version": b"HTTP/1.1", "reason_phrase": b"Fine So"}
    assert response.headers.raw == [
        (b"set-cookie", b"a=1"),
        (b"x-raw", b"\xe9"),
        (b"set-cookie", b"b=2"),
        (b"content-encoding", b"gzip"),
        (b"content-length", b"4"),
    ]
    assert body == b"\x1f\x8b\x00\xff"
    assert idle == 1


@pytest.mark.parametrize(
    ("method", "answer", "body", "idle"),
    [
        ("GET", b"200 OK\r\nContent-Length: 0\r\n\r\n", b"", 1),
        ("GET", b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2\r\nhi\r\n1;x=y\r\n!\r\n0\r\nX: t\r\n\r\n", b"hi!", 1),
        ("HEAD", b"200 OK\r\nContent-Length: 5\r\n\r\n", b"", 1),
        ("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"", 1),
        ("HEAD", b"200 OK\r\n\r\n", b"", 1),
        ("HEAD", b"200 OK\r\nConnection: close\r\n\r\n", b"", 0),
        ("HEAD", b"200 OK\r\nContent-Length: 5\r\n\r\nhello", b"", 0),
        ("GET", b"204 No Content\r\nContent-Length: 5\r\n\r\n", b"", 1),
        ("GET", b"304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", 1),
        ("GET", b"200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", b"hi", 0),
        ("GET", b"200 OK\r\nContent-Length: 2\r\n\r\nhi!", b"hi", 0),
        ("GET", b"200 OK\r\nContent-Length: 2\r\n\r\nhi"
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"hi", 0),
        ("GET", b"100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                b"HTTP/1.1 104 New\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", 1),
    ],
)  # fmt: skip
@on_every_loop
async def test_bodies_and_what_becomes_of_the_connection(
    method: str, answer: bytes, body: bytes, idle: int
) -> None:
    response, got, left = await ask(b"HTTP/1.1 " + answer, method=method)
    assert (got, left) == (body, idle)
    assert 200 <= response.status_code < 400
    assert b"link" not in dict(response.headers.raw)
    assert b"x" not in dict(response.headers.raw)


@on_every_loop
async def test_a_response_that_comes_byte_by_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for (
            byte
        ) in b"HTTP/1.1 200 OK\r\nX-Long: value\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            await peer.send(bytes([byte]))
        await peer.left()

    response, body, idle = await ask(script)
    assert response.headers.raw[0] == (b"x-long", b"value")
    assert (body, idle) == (b"abc", 1)


@on_every_loop
async def test_after_a_head_request_the_connection_serves_the_next() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await peer.head()
        await peer.send(OK)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        assert await read(await upstream.handle_async_request(request("HEAD"))) == b""
        assert await read(await upstream.handle_async_request(request())) == b"ok"
        assert len(server.peers) == 1
        await upstream.aclose()


@on_every_loop
async def test_a_body_may_end_with_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall ")
        await peer.send(b"of it")
        peer.end()

    response, body, idle = await ask(script)
    assert (response.status_code, body, idle) == (200, b"all of it", 0)


@pytest.mark.parametrize(
    ("answer", "reset", "error"),
    [
        (b"Content-Length: 10\r\n\r\nhello", False, httpx.RemoteProtocolError),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", False, httpx.RemoteProtocolError),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", False, httpx.RemoteProtocolError),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", False, httpx.RemoteProtocolError),
        (b"Content-Length: 10\r\n\r\nhello", True, httpx.ReadError),
        (b"\r\nhello", True, httpx.ReadError),
    ],
)
@on_every_loop
async def test_a_truncated_body_never_looks_complete(
    answer: bytes, reset: bool, error: type[httpx.TransportError]
) -> None:
    read_it = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + answer)
        if reset:
            await read_it.wait()
            peer.reset()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        body = body_of(response)
        assert await anext(body) == b"hello"
        read_it.set()
        assert body.take_all() is None
        with pytest.raises(error) as caught:
            await anext(body)
        assert caught.value.request.method == "GET"
        assert upstream.figures == (0, 0, 0, 100)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 Higher\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_FIELDS + 1) + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 8 * MAX_HEAD,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 8192,
    ],
    ids=lambda garbage: repr(garbage[:40]),
)
@on_every_loop
async def test_what_is_no_response_is_an_error_of_the_service(garbage: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(garbage)


async def test_an_endless_trailer_is_cut_off() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: ")
        while True:
            await peer.send(b"y" * 65_536)

    with pytest.raises(httpx.RemoteProtocolError):
        await ask(script)


# -- streaming down ----------------------------------------------------------------------------------------


@on_every_loop
async def test_the_first_piece_is_there_before_the_second_is_sent() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await go_on.wait()
        await peer.send(b"later")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        body = body_of(response)
        assert body.take_all() is None
        assert await anext(body) == b"first"
        go_on.set()
        assert [piece async for piece in body] == [b"later"]
        assert upstream.figures.idle == 1
        await upstream.aclose()


@on_every_loop
async def test_a_body_that_is_all_here_is_had_in_one_piece_and_frees_its_connection() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        assert upstream.figures == (0, 1, 0, 100)
        assert body_of(response).take_all() == b"ok"
        assert body_of(response).take_all() is None
        await upstream.aclose()


@on_every_loop
async def test_a_truncated_body_is_not_had_in_one_piece() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        await eventually(lambda: upstream.figures.in_use == 0)
        assert body_of(response).take_all() is None
        with pytest.raises(httpx.RemoteProtocolError):
            await read(response)


@on_every_loop
async def test_a_slow_reader_stalls_the_service() -> None:
    total, piece = 64 * 2**20, b"x" * 65_536
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(piece)
            sent += len(piece)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        before = -1
        while before != sent:  # until the service comes to a halt
            before = sent
            await eventually(turns(200))
        assert sent < total / 2
        body = body_of(response)
        assert body._size <= HIGH_WATER + 2**18
        received = 0
        async for some in body:
            received += len(some)
        assert received == total
        assert upstream.figures.idle == 1
        await upstream.aclose()


# -- time --------------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_service_that_does_not_answer() -> None:
    with pytest.raises(httpx.ReadTimeout):
        await ask(lambda peer: peer.left(), head_timeout=0.02)


@on_every_loop
async def test_a_service_that_falls_silent_in_the_body() -> None:
    with pytest.raises(httpx.ReadTimeout):
        await ask(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", read_timeout=0.02)


@on_every_loop
async def test_a_request_overrides_the_time_limits() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url, head_timeout=None)
        for timeout in ({"head": 0.02, "read": 9.0}, {"read": 0.02}):
            with pytest.raises(httpx.ReadTimeout):
                await upstream.handle_async_request(request(timeout=timeout))


@on_every_loop
async def test_the_time_limit_of_one_request_is_not_that_of_the_next() -> None:
    """One timer serves the whole connection: a short limit after a long one, and a long one after a short."""
    answers = asyncio.Semaphore(2)

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await answers.acquire()
            await peer.send(OK)

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        await read(await upstream.handle_async_request(request(timeout={"head": 30.0})))
        await read(await upstream.handle_async_request(request(timeout={"head": 0.02})))
        slow = asyncio.create_task(upstream.handle_async_request(request(timeout={"head": 30.0})))
        loop = asyncio.get_running_loop()
        past = loop.time() + 0.05
        await eventually(lambda: loop.time() > past)  # the second request's limit is over
        assert not slow.done()
        answers.release()
        await read(await slow)
        with pytest.raises(httpx.ReadTimeout):
            await upstream.handle_async_request(request(timeout={"head": 0.02}))
        assert len(server.peers) == 1


@on_every_loop
async def test_a_slow_reader_is_not_taken_for_a_silent_service() -> None:
    async with ScriptedServer(always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")) as server:
        upstream = Upstream(server.url, read_timeout=0.02)
        response = await upstream.handle_async_request(request())
        loop = asyncio.get_running_loop()
        past = loop.time() + 0.05
        await eventually(lambda: loop.time() > past)
        assert await anext(body_of(response)) == b"hello"
        with pytest.raises(httpx.ReadTimeout):
            await anext(body_of(response))


@on_every_loop
async def test_nor_one_who_is_slow_after_having_waited() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await go_on.wait()
        await peer.send(b"first")
        await slow.wait()
        await peer.send(b"later")
        await peer.left()

    slow = asyncio.Event()
    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, read_timeout=0.05)
        body = body_of(await upstream.handle_async_request(request()))
        first = asyncio.ensure_future(anext(body))
        await eventually(turns(3))
        go_on.set()
        assert await first == b"first"
        loop = asyncio.get_running_loop()
        past = loop.time() + 0.1
        await eventually(lambda: loop.time() > past)
        slow.set()
        assert [piece async for piece in body] == [b"later"]
        await upstream.aclose()


@on_every_loop
async def test_the_time_that_an_upload_takes_is_not_the_service_s() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        loop = asyncio.get_running_loop()
        past = loop.time() + 0.1
        await eventually(lambda: loop.time() > past)
        yield b"last"

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.until(b"0\r\n\r\n")
        await peer.send(OK)
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url, head_timeout=0.05)
        assert await read(await upstream.handle_async_request(request("POST", body=pieces()))) == b"ok"
        await upstream.aclose()


@on_every_loop
async def test_but_once_all_is_sent_the_clock_runs() -> None:
    async with ScriptedServer(lambda peer: peer.left()) as server:
        upstream = Upstream(server.url, head_timeout=0.02)
        with pytest.raises(httpx.ReadTimeout):
            await upstream.handle_async_request(request("POST", body=several(b"all of it")))


# -- cancellation ----------------------------------------------------------------------------------------


@on_every_loop
async def test_cancelling_closes_the_connection_at_once_before_the_head() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        asked.set()
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        task = asyncio.create_task(upstream.handle_async_request(request()))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert upstream.figures == (0, 0, 0, 100)
        await eventually(lambda: server.peers[0].gone)


@on_every_loop
async def test_cancelling_closes_the_connection_at_once_in_the_body() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        task = asyncio.create_task(read(response))
        await eventually(turns(3))
        task.cancel()
        await asyncio.wait([task])
        assert upstream.figures == (0, 0, 0, 100)
        await eventually(lambda: server.peers[0].gone)


@on_every_loop
async def test_closing_a_response_before_its_end_closes_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        await peer.left()

    async with ScriptedServer(script) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        assert await anext(body_of(response)) == b"hello"
        await response.aclose()
        await response.aclose()
        assert upstream.figures == (0, 0, 0, 100)
        await eventually(lambda: server.peers[0].gone)


@on_every_loop
async def test_closing_a_response_that_is_all_here_keeps_the_connection() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url)
        response = await upstream.handle_async_request(request())
        await response.aclose()
        assert upstream.figures == (0, 1, 0, 100)
        assert await read(await upstream.handle_async_request(request())) == b"ok"
        assert len(server.peers) == 1
        await upstream.aclose()


@on_every_loop
async def test_a_request_cancelled_just_as_its_answer_came_does_no_harm_to_the_next() -> None:
    async with ScriptedServer(always(OK)) as server:
        upstream = Upstream(server.url, limit=1)
        await read(await upstream.handle_async_request(request()))
        first = asyncio.create_task(upstream.handle_async_request(request()))
        second = asyncio.create_task(upstream.handle_async_request(request()))
        await eventually(lambda: upstream.figures.waiting == 1)
        await eventually(
            lambda: upstream.figures.waiting == 0
        )  # the first is answered, the second has its line
        first.cancel()
        assert await read(await second) == b"ok"
        await asyncio.wait([first])
        assert upstream.figures == (0, 1, 0, 1)
        await upstream.aclose()
