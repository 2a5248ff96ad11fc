"""The checks of exercise 02."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lab.exercises.kit import Answer, Request, Student, check, expect, expect_that
from lab.exercises.serving import Server

FIRST = ("test_a_get_reaches_the_service_and_its_answer_comes_back",)
LIMIT = 10.0
LARGEST = 1 << 20
"""Bytes of a request's body that a service reads."""


class Service:
    """A service on a port of its own: notes the requests, gives the answer that it was told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.statuses: dict[str, int] = {}
        """By path, where it is another one."""
        self.headers: list[list[str]] = []
        self.chunks = [b"hello"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more and len(body) <= LARGEST:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append(
            {
                "method": scope["method"],
                "path": scope["raw_path"].decode("latin-1"),
                "query": scope["query_string"].decode("latin-1"),
                "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]],
                "body": body,
            }
        )
        # An answer without a body is complete at its head: by then the check may be preparing the next one.
        status, chunks = self.statuses.get(scope["path"], self.status), self.chunks
        headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Way:
    """A `Forward` of the submission's and the service at its other end."""

    def __init__(self, student: Student, service: Service, port: int) -> None:
        self.service = service
        self.host = f"127.0.0.1:{port}"
        self.forward = student.new("Forward", f"http://{self.host}").answering(__call__=Answer)

    async def send(self, request: Request) -> tuple[Answer, dict[str, Any]]:
        """The answer, and what reached the service."""
        before = len(self.service.requests)
        request.headers.insert(0, ["host", "gateway.example"])
        if request.body:
            request.headers.append(["content-length", str(len(request.body))])
        answer = await self.forward.start("__call__", request)
        expect(len(self.service.requests) - before, 1, of="requests that reached the service")
        return answer, self.service.requests[-1]


@asynccontextmanager
async def way(student: Student) -> AsyncIterator[Way]:
    service = Service()
    service.chunks = [b"hello, %d" % random.Random(student.seed).randrange(10**6)]
    server = Server(service)
    server.start()
    try:
        made = Way(student, service, server.port)
        try:
            yield made
        finally:
            await made.forward.start("aclose")
    finally:
        server.stop()


def without_host(headers: list[list[str]]) -> list[list[str]]:
    return [[name, value] for name, value in headers if name != "host"]


@check(
    points=3,
    why="This is what a gateway is: somebody in between, of whom neither side has to know.",
    look="one request to the service, and a `Response` of status, headers and body",
    limit=LIMIT,
)
async def test_a_get_reaches_the_service_and_its_answer_comes_back(student: Student) -> None:
    async with way(student) as it:
        answer, seen = await it.send(Request("GET", "/service-a/items/1"))
        expect([seen["method"], seen["path"]], ["GET", "/items/1"], of="what the service was asked")
        expect(answer.status, 200, of="the status")
        expect(answer.body, it.service.chunks[0], of="the body")


@check(
    points=2,
    why="The service decides what an answer is; also one that says no.",
    after=FIRST,
    look="the method as it came, and the status as it came: no exception for 404 or 503",
    mistake="method",
    limit=LIMIT,
)
async def test_methods_and_statuses_pass_unchanged(student: Student) -> None:
    async with way(student) as it:
        for method, status in (
            ("POST", 201),
            ("PUT", 404),
            ("DELETE", 204),
            ("PATCH", 503),
            ("OPTIONS", 299),
        ):
            it.service.status = status
            it.service.chunks = [] if status == 204 else [b"x"]
            answer, seen = await it.send(Request(method, "/service-a/items"))
            expect(seen["method"], method, of="the method that reached the service")
            expect(answer.status, status, of=f"the status of the answer to {method}")


@check(
    points=3,
    why="To decode a path and encode it again is to ask for something else: %2F is no slash.",
    after=FIRST,
    look="`exchange.rest`, byte for byte; what does your library make of it? (httpx: the extension `target`)",
    mistake="path",
    limit=LIMIT,
)
async def test_the_path_is_passed_byte_for_byte(student: Student) -> None:
    async with way(student) as it:
        for rest in (
            "/",
            "/a%2Fb%20c",
            "/%41%c3%a4",
            "/a//b",
            "//b/c",
            "/x;y=1,2",
            "/100%25",
            "/a|b^c",
            '/a"b',
        ):
            _, seen = await it.send(Request("GET", "/service-a" + rest))
            expect(seen["path"], rest, of=f"the path for /service-a{rest}")


@check(
    points=2,
    why="A query has an order, repetitions, and empty values; services rely on all three.",
    after=FIRST,
    look="`exchange.query`, byte for byte, behind a question mark where there is one",
    mistake="query",
    limit=LIMIT,
)
async def test_the_query_is_passed_byte_for_byte(student: Student) -> None:
    async with way(student) as it:
        for query in ("a=1&a=2&b&d=&%2f&;", "q=a+b%20c", "z=1&a=2", "x=%C3%A4&y=|", ""):
            _, seen = await it.send(Request("GET", "/service-a/items", query))
            expect(
                [seen["path"], seen["query"]], ["/items", query], of=f"path and query for the query {query!r}"
            )


@check(
    points=3,
    why="What the client says to the service is none of the gateway's business.",
    after=FIRST,
    look="a list of pairs and not a dict; no User-Agent or Accept that the client did not send",
    mistake="request-headers",
    limit=LIMIT,
)
async def test_request_headers_pass_and_none_is_invented(student: Student) -> None:
    fields = [["x-tag", "one"], ["accept", "text/html"], ["x-tag", "two"], ["cookie", "a=1"], ["x-empty", ""]]
    async with way(student) as it:
        for sent in (fields, []):
            _, seen = await it.send(Request("GET", "/service-a/items", headers=[*sent]))
            expect(without_host(seen["headers"]), sent, of="the fields that reached the service, Host apart")


@check(
    points=2,
    why="By Host a server knows which of its sites is meant; the gateway's name means nothing to it.",
    after=FIRST,
    look="the field Host: once, with the service's address",
    mistake="host",
    limit=LIMIT,
)
async def test_host_names_the_service(student: Student) -> None:
    async with way(student) as it:
        _, seen = await it.send(Request("GET", "/service-a/items"))
        hosts = [value for name, value in seen["headers"] if name == "host"]
        expect(hosts, [it.host], of="the fields Host that reached the service")


@check(
    points=3,
    why="Connection, TE and their like speak of the client's connection; the service has another one.",
    after=("test_request_headers_pass_and_none_is_invented",),
    look="the fields in `HOP_BY_HOP`, and all those that Connection names, in upper or lower case",
    mistake="hop-by-hop",
    limit=LIMIT,
)
async def test_hop_by_hop_fields_stop_here(student: Student) -> None:
    sent = [
        ["connection", "close, X-Secret"],
        ["x-secret", "1"],
        ["x-tag", "kept"],
        ["keep-alive", "timeout=5"],
        ["te", "trailers"],
        ["trailer", "x-sum"],
        ["proxy-authorization", "Basic eDp5"],
        ["proxy-connection", "close"],
        ["connection", "x-other"],
        ["x-other", "2"],
    ]
    async with way(student) as it:
        _, seen = await it.send(Request("GET", "/service-a/items", headers=sent))
        expect(without_host(seen["headers"]), [["x-tag", "kept"]], of="the fields that reached the service")


@check(
    points=2,
    why="An order without its content is no order.",
    after=FIRST,
    look="`exchange.body`, and Content-Length as it came",
    mistake="body",
    limit=LIMIT,
)
async def test_the_body_reaches_the_service(student: Student) -> None:
    async with way(student) as it:
        for method, body in (
            ("POST", b'{"name": "x"}'),
            ("PUT", bytes(range(256)) * 40),
            ("GET", b"odd, but legal"),
        ):
            _, seen = await it.send(Request(method, "/service-a/items", body=body))
            expect(seen["body"], body, of=f"the body of the {method} that reached the service")
            lengths = [v for n, v in seen["headers"] if n in ("content-length", "transfer-encoding")]
            expect(lengths, [str(len(body))], of="the fields Content-Length and Transfer-Encoding")


@check(
    points=3,
    why="Two cookies in one field are none: of Set-Cookie there may be several (RFC 9110 §5.3).",
    after=FIRST,
    look="the answer's fields: a list of pairs, repeated ones repeated; hop-by-hop ones stop here as well",
    mistake="response-headers",
    limit=LIMIT,
)
async def test_response_headers_come_back(student: Student) -> None:
    async with way(student) as it:
        it.service.headers = [
            ["set-cookie", "a=1"],
            ["x-tag", "one"],
            ["set-cookie", "b=2"],
            ["connection", "X-Hop"],
            ["x-hop", "1"],
            ["keep-alive", "timeout=5"],
            ["proxy-authenticate", "Basic"],
        ]
        answer, _ = await it.send(Request("GET", "/service-a/items"))
        got = [
            [name, value]
            for name, value in answer.headers
            if name not in ("date", "server", "content-length")
        ]
        wanted = [["set-cookie", "a=1"], ["x-tag", "one"], ["set-cookie", "b=2"]]
        expect(got, wanted, of="the fields of the answer, Date, Server and Content-Length apart")


@check(
    points=3,
    why="Unpacked bytes under Content-Encoding: gzip are garbage: the classic bug of Python proxies.",
    after=FIRST,
    look="the raw bytes of the body (`aiter_raw`), not the decoded ones",
    mistake="gzip",
    limit=LIMIT,
)
async def test_a_packed_body_stays_packed(student: Student) -> None:
    packed = gzip.compress(b"hello, hello, hello" * 50, mtime=0)
    async with way(student) as it:
        it.service.chunks = [packed]
        it.service.headers = [["content-encoding", "gzip"], ["content-length", str(len(packed))]]
        answer, _ = await it.send(Request("GET", "/service-a/items", headers=[["accept-encoding", "gzip"]]))
        expect(answer.body == packed, True, of="the body is the service's, byte for byte")
        got = [answer.header("content-encoding"), answer.header("content-length")]
        expect(got, ["gzip", str(len(packed))], of="Content-Encoding and Content-Length")


@check(
    points=2,
    why="A film does not fit into memory, and an event should not wait for the next one.",
    after=FIRST,
    look="`Response(…, stream=…)`: hand the pieces on as they come",
    mistake="stream",
    limit=LIMIT,
)
async def test_the_body_streams(student: Student) -> None:
    numbers = random.Random(student.seed)
    async with way(student) as it:
        it.service.chunks = [numbers.randbytes(50_000) for _ in range(8)]
        answer, _ = await it.send(Request("GET", "/service-a/items"))
        expect(answer.streamed, True, of="the response has a `stream`")
        expect(answer.body == b"".join(it.service.chunks), True, of="the body is complete")
        expect(answer.header("transfer-encoding"), None, of="the field Transfer-Encoding of the answer")


@check(
    points=2,
    why="A gateway that remembers cookies gives one client's session to the next.",
    after=("test_response_headers_come_back",),
    look="the cookie jar of `httpx.AsyncClient`: a published vulnerability of a real proxy",
    mistake="cookies",
    limit=LIMIT,
)
async def test_nothing_is_remembered_between_clients(student: Student) -> None:
    async with way(student) as it:
        it.service.headers = [["set-cookie", "session=ada; Path=/"]]
        await it.send(Request("GET", "/service-a/login", client="10.0.0.1"))
        _, seen = await it.send(Request("GET", "/service-a/account", client="10.0.0.2"))
        cookies = [value for name, value in seen["headers"] if name == "cookie"]
        expect(cookies, [], of="the cookies that the second client's request reached the service with")


@check(
    points=1,
    why="Where to go next is the client's decision.",
    after=FIRST,
    look="a 302 is an answer like any other",
    mistake="redirect",
    limit=LIMIT,
)
async def test_redirects_are_passed_on(student: Student) -> None:
    async with way(student) as it:
        it.service.statuses["/items"] = 302
        it.service.headers = [["location", "/elsewhere"]]
        answer = await it.forward.start("__call__", Request("GET", "/service-a/items"))
        expect([answer.status, answer.header("location")], [302, "/elsewhere"], of="status and Location")
        expect([seen["path"] for seen in it.service.requests], ["/items"], of="what the service was asked")


@check(
    points=1,
    why="HEAD asks how long the answer would be; it must still say so when there is no body.",
    after=FIRST,
    look="Content-Length of the answer to HEAD: as the service sent it",
    mistake="response-headers",
    limit=LIMIT,
)
async def test_head_keeps_its_content_length(student: Student) -> None:
    async with way(student) as it:
        it.service.headers = [["content-length", "5000"]]
        it.service.chunks = [b"x" * 5000]
        answer, _ = await it.send(Request("HEAD", "/service-a/items"))
        expect([answer.header("content-length"), answer.body], ["5000", b""], of="Content-Length and body")


@check(
    points=2,
    why="That the service is down is the gateway's to say, in its own words, and as a 502.",
    after=FIRST,
    look="the exceptions of httpx: `ConnectError`, and `TransportError` for all of them",
    mistake="errors",
    limit=LIMIT,
)
async def test_a_service_that_does_not_answer_is_502(student: Student) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        await expect_502(student, taken.getsockname()[1], "nobody listens")
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        await expect_502(
            student, server.sockets[0].getsockname()[1], "the service hangs up without an answer"
        )


async def expect_502(student: Student, port: int, when: str) -> None:
    address = f"127.0.0.1:{port}"
    forward = student.new("Forward", f"http://{address}").answering(__call__=Answer)
    try:
        answer = await forward.start("__call__", Request("GET", "/service-a/items"))
    finally:
        await forward.start("aclose")
    expect(answer.status, 502, of=f"the status, when {when}")
    expect_that(
        bool(answer.failure), "a `failure`, so that breaker and retries know who is to blame", answer.failure
    )
    expect_that(address.encode() not in answer.body, "an answer without the service's address", answer.body)
