"""The light load generator against servers that answer in every wrong way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from lab.load.clients import own_addresses
from lab.load.direct import Client, Outcome, Request

OK = b"HTTP/1.1 200 OK\r\nX-Answer: yes\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 503 Away\r\nTransfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


def answering(*answers: bytes) -> Serve:
    """Each connection gets these answers, one for each request, and is then closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


async def send(url: str, *requests: Request, timeout: float = 5.0) -> list[Outcome]:
    """The requests one after the other."""
    client = Client(url, timeout)
    try:
        return [await client.send(request) for request in requests]
    finally:
        client.close()


@pytest.mark.parametrize(
    ("answer", "status", "failure", "body"),
    [
        (OK, 200, None, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, b""),
        (CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 503, None, b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", 200, None, b"to the end"),
        (b"HTTP/1.1 103 Early\r\nX-Hint: 1\r\n\r\n" + OK, 200, None, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", None, "truncated", b"short"),
        (CHUNKED + b"2\r\nab\r\n", None, "truncated", b"ab"),
        (b"\x15\x03\x01\x00\x02", None, "garbage", b""),
        (b"HTTP/1.1 2", None, "reset", b""),
        (b"", None, "reset", b""),
    ],
)  # fmt: skip
async def test_outcomes(answer: bytes, status: int | None, failure: str | None, body: bytes) -> None:
    async with server(answering(answer)) as url:
        [outcome] = await send(url, Request("/x"))
    assert (outcome.status, outcome.failure, outcome.body) == (status, failure, body)
    assert outcome.ok is (status in (200, 204))


async def test_head_has_no_body() -> None:
    async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")) as url:
        [outcome] = await send(url, Request("/x", method="HEAD"))
    assert (outcome.status, outcome.headers["content-length"]) == (200, "900")


async def test_nobody_listens_and_nobody_answers() -> None:
    async with server(answering()) as url:
        pass
    assert (await send(url, Request("/")))[0].failure == "refused"
    forever = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forever.wait()

    async with server(hang) as url:
        [outcome] = await send(url, Request("/"), timeout=0.05)
        forever.set()
    assert (outcome.failure, outcome.status) == ("timeout", None)


async def test_the_request_as_it_was_asked_for() -> None:
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(3))
        writer.write(OK)

    async with server(serve) as url:
        await send(url, Request("/a?b=%2F", "POST", {"X-API-Key": "k"}, b"abc"))
    host = url.removeprefix("http://").encode()
    assert (
        await got
        == b"POST /a?b=%2F HTTP/1.1\r\nHost: " + host + b"\r\nX-API-Key: k\r\nContent-Length: 3\r\n\r\nabc"
    )


@pytest.mark.skipif(not own_addresses("http://127.0.0.1:1"), reason="one loopback address only")
async def test_it_comes_from_the_address_that_was_chosen() -> None:
    peers: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        await answering(OK)(reader, writer)

    async with server(serve) as url:
        for source in ("127.1.2.3", None):
            client = Client(url, 5.0, source)
            assert (await client.send(Request("/"))).status == 200
            client.close()
    assert peers == ["127.1.2.3", "127.0.0.1"]


async def test_a_kept_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK, OK)(reader, writer)

    async with server(serve) as url:
        outcomes = await send(url, *[Request("/x")] * 7)
    assert [outcome.status for outcome in outcomes] == [200] * 7
    assert connections == 4


async def test_as_many_connections_as_there_are_requests_at_a_time() -> None:
    all_there, arrived = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n")
        arrived += 1
        if arrived == 10:  # all are there before the first is answered
            all_there.set()
        await all_there.wait()
        writer.write(OK)

    async with server(serve) as url:
        client = Client(url, 10)
        outcomes = await asyncio.gather(*(client.send(Request("/x")) for _ in range(10)))
        client.close()
    assert all(outcome.ok for outcome in outcomes)


async def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        await send("127.0.0.1:8000", Request("/"))


async def test_a_kept_connection_that_the_server_closes_at_the_next_request_is_replaced_once() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")  # and closes without an answer

    async with server(serve) as url:
        outcomes = await send(url, *[Request("/x")] * 3)
    assert [outcome.status for outcome in outcomes] == [200] * 3
