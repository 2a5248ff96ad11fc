"""WIRE.md rows 57–63: WebSockets, frame by frame."""

from __future__ import annotations

import select

import pytest

from tests.wire.frames import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    Pair,
    accept_key,
    accepting,
    close,
    closed,
    frame,
    handshake,
    message,
    read,
)
from tests.wire.wire import Gateway, Service, request, respond

MIB = 1 << 20


def opened(gateway: Gateway, service: Service, *lines: bytes) -> Pair:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws", *lines))
    peer, asked = service.asked()
    peer.send(accepting(asked))
    assert client.head().status == 101
    return Pair(client, peer)


def test_row_57_the_service_chooses_the_subprotocol_first(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(
        handshake(
            f"/{service.name}/ws%2F?q=%20&q",
            b"Sec-WebSocket-Protocol: one, two",
            b"Sec-WebSocket-Protocol: three",
        )
    )
    peer, asked = service.asked()
    assert asked.target == b"/ws%2F?q=%20&q"
    offered = b", ".join(asked.all(b"sec-websocket-protocol"))
    assert [name.strip() for name in offered.split(b",")] == [b"one", b"two", b"three"]
    gateway.get("/health")
    assert client.quiet()  # nobody is accepted before the service has spoken
    peer.send(accepting(asked, b"Sec-WebSocket-Protocol: two", b"Set-Cookie: a=1", b"Set-Cookie: b=2"))
    answer = client.head()
    assert answer.status == 101
    assert answer.all(b"sec-websocket-protocol") == [b"two"]
    assert answer[b"sec-websocket-accept"] == accept_key(KEY)
    assert answer[b"upgrade"].lower() == b"websocket"
    assert answer[b"connection"].lower() == b"upgrade"
    assert answer.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert answer[b"x-gateway-service"] == service.name.encode()
    assert len(answer.all(b"x-request-id")) == 1


def test_row_57_no_subprotocol_chosen_is_none_told(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws", b"Sec-WebSocket-Protocol: one"))
    peer, asked = service.asked()
    peer.send(accepting(asked))
    assert b"sec-websocket-protocol" not in client.head()


def test_row_57_none_offered_is_none_asked(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws", b"Origin: http://o.test", b"Cookie: a=1", b"X-Own: 1"))
    peer, asked = service.asked()
    assert b"sec-websocket-protocol" not in asked
    assert asked[b"origin"] == b"http://o.test"
    assert asked[b"cookie"] == b"a=1"
    assert asked[b"x-own"] == b"1"
    assert asked[b"x-forwarded-for"] == b"127.0.0.1"
    assert asked[b"x-forwarded-host"] == b"gateway.test"
    assert asked[b"host"] == service.host.encode()
    assert (
        len(asked.all(b"connection"))
        == len(asked.all(b"upgrade"))
        == len(asked.all(b"sec-websocket-key"))
        == 1
    )
    for invented in (b"user-agent", b"accept-encoding", b"accept"):
        assert invented not in asked
    peer.send(accepting(asked))
    assert client.head().status == 101


def test_row_57_a_subprotocol_that_was_not_offered_is_502(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws", b"Sec-WebSocket-Protocol: one"))
    peer, asked = service.asked()
    peer.send(accepting(asked, b"Sec-WebSocket-Protocol: other"))
    assert client.answer().status == 502


def test_row_58_extensions_are_not_forwarded(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(
        handshake(
            f"/{service.name}/ws",
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own",
        )
    )
    peer, asked = service.asked()
    assert not any(b"x-own" in value for value in asked.all(b"sec-websocket-extensions"))
    assert asked[b"sec-websocket-key"] != KEY  # the service's hop has a handshake of its own
    peer.send(accepting(asked, b"Connection: X-Hop", b"X-Hop: of this hop", b"Keep-Alive: timeout=5"))
    answer = client.head()
    assert b"x-hop" not in answer
    assert b"keep-alive" not in answer
    assert answer.status == 101
    assert not any(b"x-own" in value for value in answer.all(b"sec-websocket-extensions"))
    if b"sec-websocket-extensions" not in answer:
        assert Pair(client, peer).up(TEXT, b"plain") == Frame(TEXT, b"plain")


def test_row_58_an_extension_that_was_not_asked_for_is_502(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws"))
    peer, asked = service.asked()
    peer.send(accepting(asked, b"Sec-WebSocket-Extensions: x-own"))
    assert client.answer().status == 502


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 4000, 4999])
@pytest.mark.parametrize("side", ["client", "service"])
def test_row_59_close_codes_and_reasons_cross(
    gateway: Gateway, service: Service, side: str, code: int
) -> None:
    pair = opened(gateway, service)
    near, far = (pair.client, pair.peer) if side == "client" else (pair.peer, pair.client)
    near.send(close(code, "därum", mask=side == "client"))
    assert closed(far, masked=side == "client") == (code, "därum")
    far.send(close(code, mask=side == "service"))
    assert closed(near, masked=side == "service")[0] == code
    if side == "service":
        near.close()
    assert pair.client.gone()


@pytest.mark.parametrize("side", ["client", "service"])
def test_row_59_a_close_without_a_code_stays_one(gateway: Gateway, service: Service, side: str) -> None:
    pair = opened(gateway, service)
    near, far = (pair.client, pair.peer) if side == "client" else (pair.peer, pair.client)
    near.send(close(mask=side == "client"))
    assert closed(far, masked=side == "client")[0] in (None, 1000)  # 1005 is never sent
    assert closed(near, masked=side == "service")[0] in (None, 1000)


@pytest.mark.parametrize("code", [1005, 1006, 1015, 0, 999, 1004, 2999, 5000])
@pytest.mark.parametrize("side", ["client", "service"])
def test_row_59_codes_that_must_not_be_sent_never_are(
    gateway: Gateway, service: Service, side: str, code: int
) -> None:
    pair = opened(gateway, service)
    near, far = (pair.client, pair.peer) if side == "client" else (pair.peer, pair.client)
    near.send(close(code, mask=side == "client"))
    assert closed(near, masked=side == "service")[0] == 1002
    assert closed(far, masked=side == "client")[0] in (None, 1000, 1001, 1002, 1011)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("side", ["client", "service"])
def test_row_59_a_side_that_vanishes_ends_the_other(
    gateway: Gateway, service: Service, side: str, how: str
) -> None:
    pair = opened(gateway, service)
    near, far = (pair.client, pair.peer) if side == "client" else (pair.peer, pair.client)
    (near.close if how == "close" else near.reset)()
    assert closed(far, masked=side == "client")[0] in (1001, 1011, 1012, 1014)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 16 * MIB])
def test_row_60_messages_of_every_size_both_ways(
    gateway: Gateway, service: Service, opcode: int, size: int
) -> None:
    pair = opened(gateway, service)
    data = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    if size < MIB:
        assert pair.up(opcode, data) == Frame(opcode, data)
        assert pair.down(opcode, data) == Frame(opcode, data)
        return
    for near, far, mask in ((pair.client, pair.peer, True), (pair.peer, pair.client, False)):
        got = transfer(near, far, frame(opcode, data, mask=mask), mask)
        assert got == Frame(opcode, data)


def transfer(near, far, raw: bytes, masked: bool) -> Frame:
    """A message larger than all buffers: sent in turns with the receiving of what has come through."""
    near.sock.setblocking(False)
    view = memoryview(raw)
    chunks: list[bytes] = []
    while view:
        readable, writable, _ = select.select([far.sock], [near.sock], [], 10)
        assert readable or writable
        if writable:
            view = view[near.sock.send(view[:MIB]) :]
        if readable:
            chunks.append(far.sock.recv(MIB))
    near.sock.settimeout(10)
    far.pending = b"".join(chunks)
    return message(far, masked=masked)


def test_row_60_fragments_and_control_frames_between_them(gateway: Gateway, service: Service) -> None:
    pair = opened(gateway, service)
    text = "ä€😀".encode()
    for cut in range(1, len(text)):  # also in the middle of a character
        pair.client.send(
            frame(TEXT, text[:cut], fin=False, mask=True)
            + frame(PING, b"between", mask=True)
            + frame(CONT, b"", fin=False, mask=True)
            + frame(CONT, text[cut:], mask=True)
        )
        assert message(pair.peer, masked=True) == Frame(TEXT, text)
        assert read(pair.client) == Frame(PONG, b"between")
    pair.peer.send(frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) + frame(CONT, b"c"))
    assert message(pair.client) == Frame(BINARY, b"abc")


def test_row_60_messages_keep_their_boundaries_and_order(gateway: Gateway, service: Service) -> None:
    pair = opened(gateway, service)
    sent = [(TEXT if i % 3 else BINARY, b"%d" % i * (i % 5)) for i in range(200)]
    pair.client.send(b"".join(frame(*one, mask=True) for one in sent))
    assert [message(pair.peer, masked=True)[:2] for _ in sent] == sent
    pair.peer.send(b"".join(frame(*one) for one in sent))
    assert [message(pair.client)[:2] for _ in sent] == sent


def test_row_60_messages_right_behind_the_handshake_are_kept(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws") + frame(TEXT, b"early", mask=True))
    peer, asked = service.asked()
    peer.send(accepting(asked) + frame(TEXT, b"greeting"))
    assert client.head().status == 101
    assert message(client) == Frame(TEXT, b"greeting")
    assert message(peer, masked=True) == Frame(TEXT, b"early")


@pytest.mark.parametrize("side", ["client", "service"])
@pytest.mark.parametrize("whole", [True, False])
def test_row_60_a_larger_message_is_1009(other: Gateway, behind, side: str, whole: bool) -> None:
    pair = opened(other, behind(other))
    near, far = (pair.client, pair.peer) if side == "client" else (pair.peer, pair.client)
    mask = side == "client"
    near.send(frame(TEXT, b"x" * 1000, mask=mask))
    assert message(far, masked=mask) == Frame(TEXT, b"x" * 1000)
    if whole:
        near.send(frame(TEXT, b"x" * 1001, mask=mask))
    else:
        near.send(frame(TEXT, b"x" * 600, fin=False, mask=mask) + frame(CONT, b"x" * 600, mask=mask))
    assert closed(near, masked=not mask)[0] == 1009


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (frame(TEXT, b"\xff\xfe", mask=True), 1007),
        (frame(TEXT, b"unmasked"), 1002),
        (frame(TEXT, b"x", mask=True, bits=0x40), 1002),
        (frame(3, b"x", mask=True), 1002),
        (frame(CONT, b"x", mask=True), 1002),
        (frame(PING, b"x" * 126, mask=True), 1002),
        (frame(PING, b"x", fin=False, mask=True), 1002),
        (frame(TEXT, b"x", fin=False, mask=True) + frame(TEXT, b"x", mask=True), 1002),
        (frame(CLOSE, b"x", mask=True), 1002),
        (frame(CLOSE, b"\x03\xe8\xff", mask=True), (1002, 1007)),
    ],
    # The masks are random, and so must not be part of the tests' names.
    ids=[
        "bad utf-8",
        "unmasked",
        "reserved bit",
        "reserved opcode",
        "nothing to continue",
        "long ping",
        "ping in pieces",
        "text inside text",
        "half a close code",
        "bad reason",
    ],
)
def test_row_60_frames_against_the_protocol_end_it(
    gateway: Gateway, service: Service, raw: bytes, code: int | tuple[int, ...]
) -> None:
    pair = opened(gateway, service)
    pair.client.send(raw)
    assert closed(pair.client)[0] in (code if isinstance(code, tuple) else (code,))
    assert read(pair.peer, masked=True).opcode == CLOSE


def test_row_61_ping_and_pong_work_on_each_hop(gateway: Gateway, service: Service) -> None:
    pair = opened(gateway, service)
    pair.client.send(frame(PING, b"from the client", mask=True))
    assert read(pair.client) == Frame(PONG, b"from the client")
    pair.peer.send(frame(PING, b"from the service"))
    assert read(pair.peer, masked=True) == Frame(PONG, b"from the service")
    pair.client.send(frame(PONG, b"unasked", mask=True))
    pair.peer.send(frame(PONG, b"unasked"))
    assert pair.up(TEXT, b"still") == Frame(TEXT, b"still")  # and no ping or pong in between
    assert pair.down(TEXT, b"open") == Frame(TEXT, b"open")


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 426, 429, 500, 503])
def test_row_62_a_refused_upgrade_keeps_its_status(gateway: Gateway, service: Service, status: int) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws"))
    peer, _ = service.asked()
    body = b"" if status in (204, 304) else b"why"
    fields = [b"X-Why: because", b"WWW-Authenticate: Basic realm=x", b"Connection: X-Hop", b"X-Hop: 1"]
    peer.send(respond(status, *fields, body=body))
    answer = client.answer()
    assert answer.status == status
    assert answer.body == body
    assert answer[b"x-why"] == b"because"
    assert answer[b"www-authenticate"] == b"Basic realm=x"
    assert answer[b"x-gateway-service"] == service.name.encode()
    assert b"sec-websocket-accept" not in answer
    assert b"x-hop" not in answer
    assert (b"content-length" in answer) == bool(body)


def test_row_62_hints_before_a_refusal_are_not_the_answer(gateway: Gateway, service: Service) -> None:
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws"))
    peer, _ = service.asked()
    peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + respond(403, body=b"no"))
    answer = client.answer()
    assert (answer.status, answer.body) == (403, b"no")


@pytest.mark.parametrize("how", ["close", "garbage", "wrong accept", "no upgrade", "slow"])
def test_row_62_a_service_that_fails_at_it_is_502_or_504(gateway: Gateway, behind, how: str) -> None:
    service = behind(gateway, timeout=0.3 if how == "slow" else 10)
    client = gateway.client()
    client.send(handshake(f"/{service.name}/ws"))
    peer, asked = service.asked()
    if how == "close":
        peer.close()
    elif how == "garbage":
        peer.send(b"nonsense\r\n\r\n")
    elif how == "wrong accept":
        peer.send(accepting(asked).replace(accept_key(asked[b"sec-websocket-key"]), accept_key(KEY)))
    elif how == "no upgrade":
        peer.send(accepting(asked).replace(b"Upgrade: websocket\r\n", b""))
    answer = client.answer()
    assert answer.status == (504 if how == "slow" else 502)
    assert answer[b"content-type"] == b"application/problem+json"
    assert b"proxy-status" in answer
    assert answer.json()["service"] == service.name


def test_row_62_policies_refuse_before_the_upgrade_with_the_same_statuses(keyed: Gateway, behind) -> None:
    gateway = keyed
    service = behind(gateway)
    key = b"X-API-Key: ws-key"
    answer = gateway.ask(handshake(f"/{service.name}/ws"))
    assert (answer.status, len(answer.all(b"www-authenticate"))) == (401, 1)
    assert gateway.ask(handshake(f"/{service.name}/ws", b"X-API-Key: no")).status == 401
    assert gateway.ask(handshake(f"/{service.name}/other", key)).status == 403
    assert gateway.ask(handshake("/nobody/ws", key)).status == 404
    assert service.unasked()
    for i in range(3):
        client = gateway.client()
        client.send(handshake(f"/{service.name}/ws", key, b"Authorization: Bearer own"))
        peer, asked = service.asked()
        assert b"x-api-key" not in asked
        assert asked[b"x-gateway-client"] == b"ws"
        peer.send(accepting(asked))
        answer = client.head()
        assert answer.status == 101
        assert answer[b"x-ratelimit-remaining"] == b"%d" % (2 - i)
    answer = gateway.ask(handshake(f"/{service.name}/ws", key))
    assert answer.status == 429
    assert int(answer[b"retry-after"]) >= 1
    assert service.unasked()


def test_row_62_an_open_breaker_refuses(gateway: Gateway, service: Service) -> None:
    for _ in range(5):
        client = gateway.client()
        client.send(handshake(f"/{service.name}/ws"))
        service.asked()[0].close()
        assert client.answer().status == 502
    answer = gateway.ask(handshake(f"/{service.name}/ws"))
    assert answer.status == 503
    assert int(answer[b"retry-after"]) >= 1
    assert service.unasked()


@pytest.mark.parametrize(
    "change",
    [
        (b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""),
        (b"Version: 13", b"Version: 12"),
        (b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Key: short"),
        (b"Host: gateway.test\r\n", b""),
        (b"Host: gateway.test\r\n", b"Host: a\r\nHost: b\r\n"),
        (b"/ws HTTP", b"/../ws HTTP"),
        (b"Host:", b"Content-Length: 5\r\nHost:"),
    ],
)
def test_row_62_a_malformed_handshake_is_refused_here(
    gateway: Gateway, service: Service, change: tuple[bytes, bytes]
) -> None:
    answer = gateway.ask(handshake(f"/{service.name}/ws").replace(*change))
    assert answer.status in (400, 426)
    assert service.unasked()


def test_row_63_a_slow_reader_stalls_the_other_side(gateway: Gateway, service: Service) -> None:
    for near_is_client in (True, False):
        pair = opened(gateway, service)
        sender = pair.client if near_is_client else pair.peer
        before = gateway.rss()
        raw = frame(BINARY, bytes(60_000), mask=near_is_client)
        sender.sock.setblocking(False)
        total = 0
        while total < 48 * MIB and select.select([], [sender.sock], [], 0.5)[1]:
            total += sender.sock.send(raw[total % len(raw) :])
        assert total < 32 * MIB
        assert gateway.rss() - before < 4 * MIB
        pair.client.close()
        pair.peer.close()


def test_row_63_a_dead_peer_is_noticed(own) -> None:
    """With the silence of 15 s before a ping made 1 s; `hurried` checks that two of them are under 60 s."""
    gateway = own(app="tests.wire.hurried:app", env={"WIRE_HURRY": "endpoint"})
    with gateway.service("dead") as service:
        pair = opened(gateway, service)
        while (got := read(pair.peer, masked=True)).opcode == PING:
            pair.peer.send(frame(PONG))
        assert got.opcode == CLOSE  # the client has not answered its pings, and the service hears of it
        assert read(pair.client).opcode == PING
        assert pair.client.gone()


def test_row_63_a_plain_request_still_works_beside_them(gateway: Gateway, service: Service) -> None:
    pairs = [opened(gateway, service) for _ in range(20)]
    client = gateway.client()
    client.send(request(f"/{service.name}/"))
    peer = service.accept()
    peer.request()
    peer.send(respond())
    assert client.answer().status == 200
    for i, pair in enumerate(pairs):
        assert pair.up(TEXT, b"%d" % i) == Frame(TEXT, b"%d" % i)
