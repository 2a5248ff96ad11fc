"""Thousands of damaged requests and responses: the gateway stays up, stays strict, and leaks nothing.

The seed is fixed, so a failure comes again. `WIRE_FUZZ=seconds` runs with ever new seeds for so long.
"""

from __future__ import annotations

import os
import random
import re
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.wire.test_framing import AMBIGUOUS, BAD_CHUNKS, CHUNKED, INNER
from tests.wire.wire import (
    Answer,
    Client,
    Gateway,
    Peer,
    Request,
    Service,
    Truncated,
    eventually,
    request,
)

SEED = 20_000
LONG = float(os.environ.get("WIRE_FUZZ", "0"))
REQUESTS = 3_000
RESPONSES = 1_500
BATCH = 150

Mutation = Callable[[random.Random, bytes], bytes]


# -- damage --------------------------------------------------------------------------------------------------

INTERESTING = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n\r\n",
    b"\n\n",
    b"\x0b",
    b"\x80",
    b"\xff",
    b"%00",
    b"%0d%0a",
    b"/../",
    b"//",
    b"?",
    b"#",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Host: evil\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, te\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"0\r\n\r\n",
    b"5\r\n",
    b"ffffffffffffffff",
    b"1_0",
    b"+1",
    b"0x1",
    b";ext=1",
    b"a" * 5_000,
    b"chunked",
    b"100-continue",
    b"GET / HTTP/1.1\r\n\r\n",
    b"X: " + b"y" * 9_000 + b"\r\n",
]


def flip(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << draw.randrange(8),)) + data[at + 1 :]


def insert(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(INTERESTING) + data[at:]


def insert_line(draw: random.Random, data: bytes) -> bytes:
    """Something of interest at the beginning of a line, where fields begin."""
    at = draw.choice([match.end() for match in re.finditer(rb"\r\n", data)] or [0])
    return data[:at] + draw.choice(INTERESTING) + data[at:]


def remove(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.choice((1, 1, 2, 7)) :]


def repeat_line(draw: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at = draw.randrange(len(lines))
    return b"\r\n".join(lines[: at + 1] + lines[at : at + 1] * draw.choice((1, 1, 2, 50)) + lines[at + 1 :])


def swap_lines(draw: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\r\n".join(lines)


def number(draw: random.Random, data: bytes) -> bytes:
    """Another number in the place of one: lengths, chunk sizes, versions, statuses."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    at = draw.choice(found)
    new = draw.choice(
        (b"0", b"1", b"4", b"6", b"007", b"99", b"600", b"1048577", b"4294967296", b"9" * 20, b"-1", b"0x5")
    )
    return data[: at.start()] + new + data[at.end() :]


def case(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]


def cut(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(1, len(data) + 1)]


MUTATIONS: list[Mutation] = [flip, insert, insert_line, remove, repeat_line, swap_lines, number, case, cut]


def damaged(draw: random.Random, data: bytes) -> bytes:
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        data = draw.choice(MUTATIONS)(draw, data) or b"\r\n"
    return data


# -- both ends -----------------------------------------------------------------------------------------------


class Answering:
    """A service on threads: takes whole, well-formed requests only, and remembers each."""

    def __init__(self, service: Service, answer: Callable[[Request], tuple[list[bytes], bool]]) -> None:
        self.service = service
        self.answer = answer
        self.seen: list[Request] = []
        self.wrong: list[str] = []
        self._threads: list[threading.Thread] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        while True:
            try:
                peer = Peer(self.service.sock.accept()[0])
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        peer.sock.settimeout(60)
        try:
            while True:
                asked = peer.request()
                self.seen.append(asked)
                pieces, stay = self.answer(asked)
                for piece in pieces:
                    peer.send(piece)
                if not stay:
                    return
        except (Truncated, OSError):
            pass  # the gateway has left: that much is its right
        except (AssertionError, ValueError, IndexError) as error:
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            peer.close()


def drain(clients: dict[Client, bytes]) -> Iterator[tuple[Client, bytes, bytes, bool]]:
    """What came back on each connection until it was silent, and whether it was closed."""
    got = dict.fromkeys(clients, b"")
    open_ = {client.sock: client for client in clients}
    while open_:
        ready = select.select(list(open_), [], [], 0.25)[0]
        if not ready:
            break  # the rest waits for more of a request that does not come
        for sock in ready:
            try:
                data = sock.recv(1 << 18)
            except ConnectionError:
                data = b""
            got[open_[sock]] += data
            if not data:
                del open_[sock]
    for client, sent in clients.items():
        yield client, sent, got[client], client.sock not in open_


def answers(client: Client, raw: bytes, sent: bytes, closed: bool) -> list[Answer]:
    """The bytes of a connection as a sequence of well-formed answers, to the very last byte."""
    # A damaged request may have become another method; an answer without a body is only ever one to HEAD.
    found: list[Answer] = []
    client.pending = raw
    client._more = lambda: False  # type: ignore[method-assign]
    while client.pending:
        rest = client.pending
        answer = client.head()
        bodiless = answer.status < 200 or answer.status in (204, 304)
        if not bodiless:
            try:
                if answer.all(b"transfer-encoding"):
                    answer.body = client.chunked()
                elif length := answer.all(b"content-length"):
                    have = client.pending
                    if b"HEAD" in sent.upper() and (not have or have.startswith(b"HTTP/1.1 ")):
                        pass
                    else:
                        if len(have) < int(length[0]):
                            raise Truncated(rest)
                        answer.body, client.pending = have[: int(length[0])], have[int(length[0]) :]
                else:
                    assert closed
                    answer.body, client.pending = client.pending, b""
            except Truncated:
                raise AssertionError(f"{sent!r} was answered with half an answer: {rest!r}") from None
        found.append(answer)
    return found


def seeds(name: bytes) -> list[bytes]:
    """Requests that are right, and the smuggling corpus, all for the service `name`."""
    path = b"/%b/x" % name
    chunked = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"
    plain = [
        request(path),
        request(path + b"?a=1&b=%20", b"Accept: */*", b"Cookie: a=1", b'If-None-Match: "x"'),
        request(path, method="HEAD"),
        request(path, method="POST", body=b"hello world"),
        request(path, b"Transfer-Encoding: chunked", method="POST") + chunked,
        request(path, b"Transfer-Encoding: chunked", b"Trailer: X-T", method="PUT")
        + chunked[:-2]
        + b"X-T: 1\r\n\r\n",
        request(path, b"Connection: close, x-a", b"X-A: b", b"Via: 1.0 a", b"X-Forwarded-For: 1.2.3.4"),
        request(path, method="PUT", body=b"one")
        + request(path, method="POST", body=b"two")
        + request("/health"),
        request(path, b"Expect: 100-continue", method="POST", body=b"hello"),
        b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % path,
        request(b"http://elsewhere.test%b?q" % path),
        request("*", method="OPTIONS"),
        request(path, b"Upgrade: h2c", b"Connection: upgrade", method="POST", body=b"hello"),
        request("/health/ready"),
    ]
    corpus = [raw.replace(b"{name}", name) for raw in AMBIGUOUS.values()]
    corpus += [(CHUNKED + bad + INNER).replace(b"{name}", name) for bad in BAD_CHUNKS.values()]
    return plain * 3 + corpus


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\n"


@pytest.fixture
def fuzzed(running: Callable[..., Gateway]) -> Iterator[Gateway]:
    """A gateway without a breaker; after the test it must be as it was before."""
    gateway = running(breaker={"enabled": False}, bulkhead={"enabled": False})
    process = psutil.Process(gateway.process.pid)
    gateway.get("/metrics")
    gateway.forget()
    files = process.num_fds() if hasattr(process, "num_fds") else 0
    memory = gateway.rss()
    yield gateway
    assert gateway.process.poll() is None
    client = gateway.client()
    assert client.get("/health").json()["status"] == "ok"
    client.close()

    def quiet() -> bool:
        snapshot = gateway.admin("GET", "/admin/snapshot")
        return snapshot["in_flight"] <= 1 and snapshot["connections"]["websocket"] == 0

    eventually(quiet)
    if files:
        eventually(lambda: process.num_fds() <= files + 2)
    assert gateway.rss() - memory < 48 << 20
    lines = [line for line in gateway.lines if "Traceback" in line or "Exception" in line]
    assert not lines, "\n".join(gateway.lines[-40:])


def rounds(each: int) -> Iterator[tuple[int, int]]:
    """The fixed seed once, or new ones for `LONG` seconds; with it how many cases to try."""
    yield SEED, each
    until = time.monotonic() + LONG
    seed = int(time.time())
    while time.monotonic() < until:
        seed += 1
        print(f"seed {seed}")
        yield seed, each


@pytest.mark.timeout(120 + 2 * LONG)
def test_damaged_requests(fuzzed: Gateway, behind: Callable[..., Service]) -> None:
    service = behind(fuzzed)
    name = service.name.encode()
    back = Answering(service, lambda asked: ([EMPTY if asked.method == b"HEAD" else OK], True))
    pool = seeds(name)
    statuses: Counter[int] = Counter()
    for seed, count in rounds(REQUESTS):
        draw = random.Random(seed)
        for _ in range(count // BATCH):
            back.seen.clear()
            clients: dict[Client, bytes] = {}
            for _ in range(BATCH):
                client = fuzzed.client()
                clients[client] = raw = damaged(draw, draw.choice(pool))
                try:
                    client.send(raw)
                except ConnectionError:
                    pass
            answered: Counter[bytes] = Counter()
            for client, sent, raw, closed in drain(clients):
                for answer in answers(client, raw, sent, closed):
                    statuses[answer.status] += 1
                    assert answer.status in (100, 101) or len(answer.all(b"x-request-id")) == 1, sent
                    assert answer.status < 500 or answer.status in (501, 505, 508), (
                        sent,
                        answer.start,
                        answer.body,
                    )
                    if answer.status == 200 and answer.all(b"x-gateway-service") == [name]:
                        answered[answer[b"x-request-id"]] += 1
            fuzzed.forget()
            # Each answer stands for one request at the service, and whatever arrived there is one of the
            # gateway's own making: had anything been smuggled in, it would lack what the gateway adds.
            asked = Counter(b",".join(one.all(b"x-request-id")) for one in list(back.seen))
            assert all(count == 1 for count in answered.values())
            assert all(asked[request_id] == 1 for request_id in answered)
            for one in list(back.seen):
                assert one.all(b"host") == [service.host.encode()], one.start
                assert len(one.all(b"x-request-id")) == 1, one.start
                assert len(one.all(b"via")) == 1, one.start
                assert one.all(b"x-forwarded-for") == [b"127.0.0.1"], one.start
        client = fuzzed.client()
        assert client.get("/health").status == 200
        client.close()
    assert not back.wrong
    assert statuses[200] > REQUESTS / 10  # the damage was not so bad that nothing was tried
    assert statuses[400] > REQUESTS / 10


GOOD = {
    "length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nCache-Control: no-store\r\nX-A: b\r\n\r\nhello world",
        b"hello world",
    ),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n"
        b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
        b"hello world",
    ),
    "interim": (
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: no-store\r\n\r\nhello",
        b"hello",
    ),
    "stored": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\nhello", b"hello"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_response_cut_at_any_byte_never_looks_complete(
    fuzzed: Gateway, behind: Callable[..., Service], kind: str
) -> None:
    service = behind(fuzzed)
    whole, body = GOOD[kind]

    def answer(asked: Request) -> tuple[list[bytes], bool]:
        return [whole[: int(asked.target[1:])]], False

    back = Answering(service, answer)
    for size in range(len(whole) + 1):
        client = fuzzed.client()
        client.send(request(f"/{service.name}/{size}"))
        try:
            got = client.answer()
        except (Truncated, ConnectionError):
            assert size < len(whole)
        else:
            if size < len(whole):
                assert got.status == 502, (size, got.start)
            else:
                assert (got.status, got.body) == (200, body)
        client.close()
        fuzzed.clients.clear()
    assert not back.wrong


@pytest.mark.timeout(120 + 2 * LONG)
def test_damaged_responses(fuzzed: Gateway, behind: Callable[..., Service]) -> None:
    service = behind(fuzzed)
    prepared: dict[bytes, tuple[list[bytes], bool]] = {}
    back = Answering(service, lambda asked: prepared[asked.target])
    statuses: Counter[int | str] = Counter()
    for seed, count in rounds(RESPONSES):
        draw = random.Random(seed)
        for i in range(count):
            raw = damaged(draw, draw.choice(list(GOOD.values()))[0])
            if draw.random() < 0.1:
                raw = draw.randbytes(draw.randrange(1, 200))
            at = sorted(draw.randrange(len(raw) + 1) for _ in range(draw.randrange(3)))
            pieces = [raw[a:b] for a, b in zip([0, *at], [*at, len(raw)], strict=True)]
            prepared = {b"/%d" % i: (pieces, False)}
            method = draw.choice(("GET", "GET", "GET", "POST", "HEAD"))
            client = fuzzed.client()
            client.send(request(f"/{service.name}/{i}", method=method))
            try:
                got = client.answer(method)
            except (Truncated, ConnectionError):
                statuses["cut"] += 1
            else:
                statuses[got.status] += 1
                assert got.status != 500 or b"proxy-status" not in got, raw
                assert b"internal-error" not in got.body, raw
                assert len(got.all(b"x-request-id")) == 1, raw
                assert got.all(b"x-gateway-service") == [service.name.encode()], raw
            client.close()
            fuzzed.clients.clear()
    assert not back.wrong
    assert statuses["cut"] > RESPONSES / 50
    assert statuses[200] > RESPONSES / 10
    assert statuses[502] > RESPONSES / 10
