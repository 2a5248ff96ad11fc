"""The client's side of the wire, spoken to in raw bytes under a real uvicorn."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lab.proxy.cycle import CYCLE, Cycle
from lab.proxy.server import Front, GatewayProtocol, install
from lab.settings import LimitsSettings
from tests.proxy.client import Answer, serving, until

HOST = b"Host: x\r\n"


class App:
    """An application that answers by path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.ended: list[str] = []
        self.bodies: list[bytes] = []
        self.go = asyncio.Event()
        self.waiting = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        behave = getattr(self, scope["path"].strip("/").split("/")[0] or "plain", self.plain)
        try:
            await behave(scope, receive, send)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("returned")

    async def reply(
        self, send: Any, status: int = 200, body: bytes = b"ok", *more: tuple[bytes, bytes]
    ) -> None:
        headers = [(b"content-length", b"%d" % len(body)), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def plain(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 200, scope["raw_path"])

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = await self.read(receive)
        await self.reply(send, 200, body)

    async def read(self, receive: Any) -> bytes:
        body = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(body)
                return body

    async def wait(self, scope: Any, receive: Any, send: Any) -> None:
        self.waiting.set()
        await self.go.wait()
        await self.reply(send)

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        self.waiting.set()
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async def head_first(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    async def refuse(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 413, b"too large")

    async def half(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def half_chunked(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def short(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half"})

    async def nothing(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def broken(self, scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("secret")

    async def split(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 200, b"ok", (b"x-a", b"1\r\nx-b: 2"))

    async def both(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 200, b"ok", (b"Transfer-Encoding", b"chunked"))

    async def misnamed(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 200, b"ok", (b"x a", b"1"))

    async def whole(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][CYCLE].answer(200, [(b"Content-Length", b"2"), (b"x-a", b"1")], b"ok")

    async def whole_split(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][CYCLE].answer(200, [(b"x-a", b"1\r\nx-b: 2")], b"ok")

    async def no_content(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 204, b"ignored")

    async def not_modified(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 304, "headers": [(b"content-length", b"7")]})
        await send({"type": "http.response.body", "body": b""})

    async def informational(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 103)

    async def dated(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reply(send, 200, b"", (b"date", b"upstream's"), (b"server", b"its own"))

    async def flood(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.sent = 0
        while True:
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            self.sent += 65_536
            self.waiting.set()


def get(path: str, *lines: bytes, version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return (
        b"%b %b HTTP/%b\r\n" % (method, path.encode(), version)
        + HOST
        + b"".join(x + b"\r\n" for x in lines)
        + b"\r\n"
    )


@pytest.fixture
def app() -> App:
    return App()


# -- malformed and ambiguous (rows 4, 5, 20, 27) -----------------------------------------------------------

START = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST /echo HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "no path": b"GET @host/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative": b"GET x HTTP/1.1\r\n" + HOST + b"\r\n",
    "other scheme": b"GET ftp://x/y HTTP/1.1\r\n" + HOST + b"\r\n",
    "userinfo": b"GET http://a@b/y HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in target": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "control in target": b"GET /a\x01b HTTP/1.1\r\n" + HOST + b"\r\n",
    "DEL in target": b"GET /a\x7fb HTTP/1.1\r\n" + HOST + b"\r\n",
    "CR in target": b"GET /a\rb HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "non-ASCII target": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in value": START + b"X: a\0b\r\n\r\n",
    "control in value": START + b"X: a\x01b\r\n\r\n",
    "CR in value": START + b"X: a\rb\r\n\r\n",
    "fold": START + b"X: a\r\n b\r\n\r\n",
    "fold first": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF in head": b"GET / HTTP/1.1\r\nHost: x\nX: a\r\n\r\n",
    "space before colon": START + b"X : a\r\n\r\n",
    "no name": START + b": a\r\n\r\n",
    "no colon": START + b"X\r\n\r\n",
    "non-ASCII name": START + b"X\xe9: a\r\n\r\n",
    "both framings": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, reversed": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length list": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "length +": POST + b"Content-Length: +5\r\n\r\nhello",
    "length -": POST + b"Content-Length: -5\r\n\r\nhello",
    "length hex": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "length huge": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length empty": POST + b"Content-Length:\r\n\r\n",
    "coding after chunked": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "coding xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding identity": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk space": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "chunk minus": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "chunk LF": CHUNKED + b"3\nabc\n0\n\n",
    "chunk longer": CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n",
    "chunk huge": CHUNKED + b"fffffffffffffffff\r\nabc",
    "length in trailer": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9, named": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    "RTSP": b"DESCRIBE / RTSP/1.0\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT with a path": b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "handshake with a body": START
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
}


async def test_what_is_malformed_or_ambiguous_gets_400_and_the_connection_ends(app: App) -> None:
    wrong = {}
    async with serving(app) as server:
        for name, raw in MALFORMED.items():
            client = await server.client()
            await client.send(raw + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
            answer = await client.answer()
            ok = (
                answer.status == 400
                and answer.all(b"content-type") == [b"application/problem+json"]
                and answer.all(b"connection") == [b"close"]
                and len(answer.all(b"x-request-id")) == len(answer.all(b"date")) == 1
                and answer.json()["status"] == 400
                and await client.closed()
            )
            if not ok:
                wrong[name] = answer
    assert wrong == {}
    assert "/smuggled" not in [scope["path"] for scope in app.scopes]
    assert app.bodies == []


async def test_a_broken_body_does_not_pass_for_a_whole_one(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(CHUNKED + b"3\r\nabc\r\n")
        await until(lambda: app.scopes)
        await client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        await until(lambda: app.ended)
        assert app.ended == ["CancelledError"]
        assert app.bodies == []


# -- the scope (rows 1, 3, 7, 8, 12) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "raw_path", "query"),
    [
        (b"/a%2Fb//c%00%20", b"/a%2Fb//c%00%20", b""),
        (b"//evil/x", b"//evil/x", b""),
        (b"/s?a=1&a=2&b&d=&%2f&;", b"/s", b"a=1&a=2&b&d=&%2f&;"),
        (b"/s?a?b", b"/s", b"a?b"),
        (b"/s?", b"/s", b""),
        (b"http://evil:81/x?y", b"/x", b"y"),
        (b"HTTPS://evil?y", b"/", b"y"),
        (b'/"<>\\^`{|}', b'/"<>\\^`{|}', b""),
    ],
)
async def test_path_and_query_keep_their_bytes(
    app: App, target: bytes, raw_path: bytes, query: bytes
) -> None:
    async with serving(app) as server:
        await server.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    [scope] = app.scopes
    assert (scope["raw_path"], scope["query_string"]) == (raw_path, query)


async def test_the_scope_has_the_peer_all_fields_in_order_and_no_trailers(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(
            POST
            + b"X-A: 1\r\nx-b:  \t2 \t\r\nX-A: 3\r\nX-Empty:\r\nX-Forwarded-For: 9.9.9.9\r\n"
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"
        )
        assert (await client.answer()).body == b"abc"
        port = client.writer.get_extra_info("sockname")[1]
        [scope] = app.scopes
        assert scope["client"] == ("127.0.0.1", port)
        assert scope["server"] == ("127.0.0.1", server.port)
        assert scope["headers"] == [
            (b"host", b"x"),
            (b"x-a", b"1"),
            (b"x-b", b"2"),
            (b"x-a", b"3"),
            (b"x-empty", b""),
            (b"x-forwarded-for", b"9.9.9.9"),
            (b"transfer-encoding", b"chunked"),
        ]
        assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "POST", "1.1")


async def test_options_asterisk_and_unusual_methods_pass(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        for method, target in [
            ("OPTIONS", "*"),
            ("PURGE", "/"),
            ("PATCH", "/"),
            ("QUERY", "/"),
            ("TRACE", "/"),
        ]:
            await client.send(get(target, method=method.encode()))
            assert (await client.answer()).status == 200
    assert [scope["method"] for scope in app.scopes] == ["OPTIONS", "PURGE", "PATCH", "QUERY", "TRACE"]


# -- limits ------------------------------------------------------------------------------------------------


async def test_a_long_target_gets_414(app: App) -> None:
    async with serving(app) as server:
        assert (await server.ask(get("/" + "a" * 16_383))).status == 200
        assert (await server.ask(get("/" + "a" * 16_384))).status == 414


async def test_a_large_head_gets_431_before_it_ends(app: App) -> None:
    async with serving(app) as server:
        assert (await server.ask(get("/", b"X: " + b"a" * 60_000))).status == 200
        assert (await server.ask(START + b"X: " + b"a" * 2_000_000)).status == 431  # and no end of it
        many = [b"X-%d: a" % i for i in range(127)]
        assert (await server.ask(get("/", *many))).status == 200
        assert (await server.ask(get("/", *many, b"X: a"))).status == 431


async def test_endless_trailers_are_refused(app: App) -> None:
    async with serving(app) as server:
        assert (await server.ask(CHUNKED + b"0\r\nX: " + b"a" * 2_000_000)).status in (400, 431)


async def test_a_small_head_with_a_large_body_behind_it_is_fine(app: App) -> None:
    body = b"a" * 3_000_000
    async with serving(app) as server:
        answer = await server.ask(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.body == body


async def test_connections_beyond_the_limit_get_503_and_count_again_when_they_go(app: App) -> None:
    async with serving(app, LimitsSettings(max_connections=2)) as server:
        first, second = await server.client(), await server.client()
        await until(lambda: len(server.state.connections) == 2)
        third = await server.client()
        answer = await third.answer()
        assert (answer.status, answer[b"retry-after"], answer[b"connection"]) == (503, b"1", b"close")
        assert await third.closed()
        await first.send(get("/"))
        assert (await first.answer()).status == 200
        second.close()
        await until(lambda: len(server.state.connections) == 1)
        assert (await server.ask(get("/"))).status == 200


# -- time --------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Front, "sweep", 0.01)
    for name in ("head_timeout", "body_timeout", "write_timeout", "linger_timeout"):
        monkeypatch.setattr(GatewayProtocol, name, 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_slow_head_gets_408(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(START)
        answer = await client.answer()
        assert (answer.status, answer[b"connection"]) == (408, b"close")
        assert await client.closed()


@pytest.mark.usefixtures("impatient")
async def test_a_silent_connection_is_closed_without_a_word(app: App) -> None:
    async with serving(app) as server:
        assert await (await server.client()).closed()


@pytest.mark.usefixtures("impatient")
async def test_an_idle_connection_is_closed_after_the_keep_alive_time(app: App) -> None:
    async with serving(app, timeout_keep_alive=0) as server:
        client = await server.client()
        await client.send(get("/"))
        assert (await client.answer()).status == 200
        assert await client.closed()


@pytest.mark.usefixtures("impatient")
async def test_a_second_head_has_a_limit_too(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/"))
        assert (await client.answer()).status == 200
        await client.send(b"GET / HT")
        assert (await client.answer()).status == 408


@pytest.mark.usefixtures("impatient")
async def test_a_slow_body_gets_408_and_its_request_is_cancelled(app: App) -> None:
    async with serving(app) as server:
        assert (await server.ask(POST + b"Content-Length: 5\r\n\r\nhe")).status == 408
        await until(lambda: app.ended)
    assert app.ended == ["CancelledError"]


@pytest.mark.usefixtures("impatient")
async def test_an_application_that_takes_its_time_is_not_the_clients_fault(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/wait"))
        await app.waiting.wait()
        other = await server.client()  # by the time this one is closed for silence, so would be the first
        assert await other.closed()
        app.go.set()
        assert (await client.answer()).status == 200


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_takes_nothing_is_cut(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(get("/flood"))
        await until(lambda: app.ended)
        assert app.ended == ["CancelledError"]
        assert app.sent < 16_000_000


# -- a client that goes away (row 31) ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/wait", "/stream"])
@pytest.mark.parametrize("way", ["close", "abort"])
async def test_going_away_cancels_the_request_at_once(
    app: App, path: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get(path))
        await app.waiting.wait()
        getattr(client, way)()
        await until(lambda: app.ended)
        assert app.ended == ["CancelledError"]
        await until(lambda: not server.state.tasks and not server.state.connections)
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_going_away_before_the_task_ran_leaves_nothing_behind(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await until(lambda: server.state.connections)
        [protocol] = server.state.connections
        protocol.data_received(get("/wait"))
        protocol.connection_lost(None)
        await until(lambda: not server.state.tasks)
        assert app.scopes == []
        client.close()


# -- responses (rows 19, 20, 23, 24, 28) -------------------------------------------------------------------


async def test_requests_in_one_write_are_answered_in_order(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/wait") + POST + b"Content-Length: 2\r\n\r\nhi" + get("/third"))
        await app.waiting.wait()
        assert len(app.scopes) == 1
        app.go.set()
        assert [(await client.answer()).body for _ in range(3)] == [b"ok", b"hi", b"/third"]


async def test_a_malformed_request_behind_others_is_refused_after_their_answers(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/wait") + get("/two") + b"GET @x HTTP/1.1\r\n\r\n")
        await app.waiting.wait()
        app.go.set()
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await client.closed()


async def test_after_connection_close_nothing_more_is_answered(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/one", b"Connection: close") + get("/two"))
        answer = await client.answer()
        assert (answer.body, answer[b"connection"]) == (b"/one", b"close")
        assert await client.closed()
    assert len(app.scopes) == 1


async def test_a_head_goes_out_before_the_body_is_there(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/head_first"))
        assert (await client.head()).status == 200
        app.go.set()
        assert await client.exactly(2) == b"ok"


async def test_the_first_piece_of_a_stream_goes_out_at_once_in_chunks(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/stream"))
        assert (await client.head())[b"transfer-encoding"] == b"chunked"
        assert await client.exactly(10) == b"5\r\nfirst\r\n"
        app.go.set()
        assert await client.exactly(14) == b"4\r\nlast\r\n0\r\n\r\n"


async def test_http_1_0_gets_no_chunks_and_its_end_is_the_connections(app: App) -> None:
    async with serving(app) as server:
        app.go.set()
        client = await server.client()
        await client.send(get("/stream", version=b"1.0"))
        answer = await client.answer()
        assert (answer.all(b"transfer-encoding"), answer[b"connection"]) == ([], b"close")
        assert answer.body == b"firstlast"


@pytest.mark.parametrize(
    ("path", "seen"), [("/half", b"half"), ("/short", b""), ("/half_chunked", b"4\r\nhalf\r\n")]
)
async def test_half_a_response_is_cut_off_and_never_completed(app: App, path: str, seen: bytes) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get(path))
        rest = await client.rest()
        assert rest.partition(b"\r\n\r\n")[2] == seen


async def test_half_a_response_without_framing_ends_in_a_reset(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(get("/half_chunked", version=b"1.0"))
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_bodiless_answers_have_no_body_and_head_keeps_its_length(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(
            get("/plain", method=b"HEAD") + get("/no_content") + get("/not_modified") + get("/")
        )
        head = await client.answer(head_only=True)
        assert (head[b"content-length"], head.all(b"transfer-encoding")) == (b"6", [])
        empty = await client.answer()
        assert (empty.status, empty.all(b"content-length"), empty.all(b"transfer-encoding")) == (204, [], [])
        assert (await client.answer())[b"content-length"] == b"7"
        assert (await client.answer()).body == b"/"  # nothing was left in between


async def test_never_both_framings(app: App) -> None:
    async with serving(app) as server:
        answer = await server.ask(get("/both"))
    assert (answer[b"content-length"], answer.all(b"transfer-encoding")) == (b"2", [])


async def test_a_whole_answer_goes_out_in_one_call(app: App) -> None:
    async with serving(app) as server:
        answer = await server.ask(get("/whole"))
        assert (answer.status, answer.body) == (200, b"ok")
        assert [name for name, _ in answer.headers] == [b"x-a", b"content-length"]


async def test_a_request_leaves_nothing_for_the_garbage_collector(app: App) -> None:
    """A ring of references in each request would cost a tenth of the gateway's time in collections."""
    async with serving(app) as server:
        client = await server.client()
        for path in ("/whole", "/plain"):
            await client.send(get(path))
            await client.answer()
        app.scopes.clear()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for path in ("/whole", "/plain") * 5:
                await client.send(get(path))
                await client.answer()
            app.scopes.clear()
            gc.collect()
            assert not any(isinstance(ring, Cycle) for ring in gc.garbage), len(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


@pytest.mark.parametrize(
    "path", ["/broken", "/nothing", "/split", "/whole_split", "/misnamed", "/informational"]
)
async def test_what_the_application_does_wrong_is_a_500_without_its_text(app: App, path: str) -> None:
    async with serving(app) as server:
        answer = await server.ask(get(path))
    assert (answer.status, answer[b"content-type"]) == (500, b"application/problem+json")
    assert b"secret" not in answer.body
    assert answer.all(b"x-b") == []


async def test_server_and_date_are_the_applications(app: App) -> None:
    async with serving(app) as server:
        answer = await server.ask(get("/dated"))
        assert (answer[b"date"], answer[b"server"]) == (b"upstream's", b"its own")
        assert (await server.ask(get("/"))).all(b"server") == []


async def test_a_slow_reader_stalls_the_application(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(get("/flood"))
        await app.waiting.wait()
        [protocol] = server.state.connections
        await until(lambda: protocol.writable is not None)
        assert protocol.transport.get_write_buffer_size() <= 4 * 65_536
        client.abort()
        await until(lambda: app.ended)


# -- request bodies ----------------------------------------------------------------------------------------


async def test_continue_is_said_only_when_the_body_is_wanted(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.head()).status == 100
        await client.send(b"hi")
        assert (await client.answer()).body == b"hi"
        await client.send(
            POST.replace(b"/echo", b"/refuse") + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        answer = await client.answer()
        assert (answer.status, answer[b"connection"]) == (413, b"close")


async def test_an_early_refusal_reaches_a_client_that_still_sends(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(
            POST.replace(b"/echo", b"/refuse") + b"Content-Length: 50000000\r\n\r\n" + bytes(1_000_000)
        )
        answer = await client.answer()
        assert (answer.status, answer.body, answer[b"connection"]) == (413, b"too large", b"close")
        await client.send(bytes(1_000_000))
        assert await client.closed()


async def test_a_body_that_nobody_reads_is_not_taken_in(app: App) -> None:
    async with serving(app) as server:
        client = await server.client()
        await client.send(
            b"POST /wait HTTP/1.1\r\n" + HOST + b"Content-Length: 50000000\r\n\r\n" + bytes(600_000)
        )
        await until(lambda: server.state.connections)
        [protocol] = server.state.connections
        await until(lambda: protocol.read_paused)
        assert protocol.cycle._size < 600_000
        client.abort()


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket"])
async def test_another_upgrade_is_ignored_and_the_body_stays_a_body(app: App, upgrade: bytes) -> None:
    async with serving(app) as server:
        client = await server.client()
        body = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
        await client.send(
            POST
            + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n"
            % (upgrade, len(body))
            + body
            + get("/next")
        )
        assert (await client.answer()).body == body
        assert (await client.answer()).body == b"/next"
    assert len(app.scopes) == 2


# -- the server around it (row 64) -------------------------------------------------------------------------


async def test_a_stop_closes_what_is_idle_and_lets_finish_what_is_under_way(app: App) -> None:
    async with serving(app) as server:
        idle, waiting, streaming, partial = [await server.client() for _ in range(4)]
        await idle.send(get("/"))
        assert (await idle.answer()).status == 200
        await streaming.send(get("/stream"))
        assert (await streaming.head()).status == 200
        await waiting.send(get("/wait"))
        await partial.send(b"GET / HTTP/1.1\r\n")
        await until(lambda: len(app.scopes) == 3 and any(p.state == 1 for p in server.state.connections))
        server.server.should_exit = True
        assert await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await server.client()
        app.go.set()
        answer = await waiting.answer()
        assert (answer.status, answer[b"connection"]) == (200, b"close")
        assert (await streaming.rest()).endswith(b"last\r\n0\r\n\r\n")
        await partial.send(HOST + b"\r\n")
        assert (await partial.answer())[b"connection"] == b"close"
        await asyncio.wait_for(asyncio.shield(server.task), 10)


async def test_what_outlasts_the_drain_is_cut(app: App) -> None:
    async with serving(app, LimitsSettings(drain=0.05)) as server:
        client = await server.client()
        await client.send(get("/stream"))
        await app.waiting.wait()
        server.server.should_exit = True
        rest = await client.rest()
        assert rest.endswith(b"5\r\nfirst\r\n")
        await until(lambda: app.ended)
        assert app.ended == ["CancelledError"]


def test_another_server_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> None: ...

    assert not install(receive, App.__call__, LimitsSettings())  # type: ignore[arg-type]
    [record] = caplog.records
    assert "not started by uvicorn" in record.message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_plain_uvicorn_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "plain_app.py").write_text(
        textwrap.dedent(
            """
            from lab.proxy.server import install
            from lab.settings import LimitsSettings

            async def inner(scope, receive, send):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": scope["client"][0].encode()})

            async def app(scope, receive, send):
                await receive()
                assert install(receive, inner, LimitsSettings())
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "plain_app:app", "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        port = 0
        lines = []
        while not port:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
            if match := re.search(r"running on http://127.0.0.1:(\d+)", lines[-1]):
                port = int(match[1])

        async def ask() -> Answer:
            from tests.proxy.client import Client

            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            await client.send(get("/", b"X-Forwarded-For: 9.9.9.9"))
            answer = await client.answer()
            client.close()
            return answer

        answer = asyncio.run(ask())
        assert answer.body == b"127.0.0.1"
        assert answer.all(b"server") == answer.all(b"date") == []
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert "GET / HTTP" not in out + err  # uvicorn's access log
        assert "Traceback" not in err
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on open files")
def test_the_limit_on_open_files_is_raised_to_what_the_connections_need() -> None:
    code = (
        "import resource; from lab.proxy.server import raise_file_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900));"
        "raise_file_limit(200); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0]);"
        "raise_file_limit(9999); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["656", "900"]
