"""WIRE.md row 64: how the gateway stops."""

from __future__ import annotations

import signal
import socket
import sys
import time
from typing import Any

import pytest

from tests.wire.frames import TEXT, Frame, Pair, accepting, close, closed, handshake
from tests.wire.wire import Gateway, Service, Truncated, eventually, request, respond

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGTERM")

NO_STORE = b"Cache-Control: no-store\r\n"


def named(service: Service) -> dict[str, Any]:
    return {service.name: {"url": service.url, "retries": 0}}


def told(gateway: Gateway, number: int = signal.SIGTERM) -> None:
    """Send the signal, and wait until no new connection is taken."""
    gateway.process.send_signal(number)

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", gateway.port), 1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    eventually(refused)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_64_requests_in_flight_finish_and_nothing_new_comes(own, live: Service, number: int) -> None:
    gateway = own(services=named(live))
    waiting, streaming, idle = gateway.client(), gateway.client(), gateway.client()
    assert idle.get("/health").status == 200
    waiting.send(request(f"/{live.name}/waiting"))
    slow, _ = live.asked()
    streaming.send(request(f"/{live.name}/streaming"))
    flow, _ = live.asked()
    flow.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + NO_STORE + b"\r\n5\r\nfirst\r\n")
    streaming.until(b"first")
    told(gateway, number)
    assert idle.gone()
    slow.send(respond(body=b"late"))
    answer = waiting.answer()
    assert (answer.status, answer.body) == (200, b"late")
    assert answer.all(b"connection") == [b"close"]
    flow.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert streaming.until(b"0\r\n\r\n").endswith(b"last\r\n0\r\n\r\n")
    assert waiting.gone()
    assert streaming.gone()
    gateway.wait()
    assert not [line for line in gateway.lines if "Traceback" in line]


def test_row_64_a_websocket_gets_1001_or_1012(own, live: Service) -> None:
    gateway = own(services=named(live))
    client = gateway.client()
    client.send(handshake(f"/{live.name}/ws"))
    peer, asked = live.asked()
    peer.send(accepting(asked))
    assert client.head().status == 101
    pair = Pair(client, peer)
    assert pair.up(TEXT, b"x") == Frame(TEXT, b"x")
    told(gateway)
    code, _ = closed(client)
    assert code in (1001, 1012)
    client.send(close(code, mask=True))
    code, _ = closed(peer, masked=True)
    assert code in (1001, 1012)
    peer.send(close(code))
    peer.close()
    assert client.gone()
    gateway.wait()
    assert not [line for line in gateway.lines if "Traceback" in line]


def test_row_64_after_the_drain_time_the_rest_is_cut(own, live: Service) -> None:
    gateway = own(services=named(live), limits={"drain": 0.5})
    waiting, streaming, socketed = gateway.client(), gateway.client(), gateway.client()
    waiting.send(request(f"/{live.name}/waiting"))
    live.asked()
    streaming.send(request(f"/{live.name}/streaming"))
    flow, _ = live.asked()
    flow.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + NO_STORE + b"\r\n5\r\nfirst\r\n")
    streaming.until(b"first\r\n")
    socketed.send(handshake(f"/{live.name}/ws"))
    peer, asked = live.asked()
    peer.send(accepting(asked))
    socketed.head()
    started = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    with pytest.raises(Truncated):
        streaming.chunked()
    with pytest.raises(Truncated):
        waiting.answer()
    status = gateway.wait()
    assert time.monotonic() - started > 0.4
    assert status in (0, -signal.SIGTERM)
    assert not [line for line in gateway.lines if "Traceback" in line]


def test_row_64_an_idle_gateway_stops_at_once(own) -> None:
    gateway = own(limits={"drain": 600})
    client = gateway.client()
    assert client.get("/health/ready").status == 200
    assert gateway.stop() in (0, -signal.SIGTERM)
    assert client.gone()
    assert not [line for line in gateway.lines if "Traceback" in line]


def test_row_64_an_upload_in_flight_finishes(own, live: Service) -> None:
    gateway = own(services=named(live))
    client = gateway.client()
    client.send(request(f"/{live.name}/", b"Content-Length: 10", method="POST") + b"12345")
    peer = live.accept()
    peer.request_head()
    assert peer.exactly(5) == b"12345"
    told(gateway)
    client.send(b"67890")
    assert peer.exactly(5) == b"67890"
    peer.send(respond())
    assert client.answer().status == 200
    gateway.wait()
