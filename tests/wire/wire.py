"""What the wire tests speak with: a raw client, a raw service, and the gateway as a user starts it.

One test plays both ends, one after the other, in one thread: it sends a request as the client, reads it as
the service, answers it there, and reads the answer here. Sockets block, and nobody waits for ever. Nothing
that the gateway uses to parse or write HTTP is used here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = float(os.environ.get("WIRE_PATIENCE", "60"))
"""Seconds after which something that should have happened counts as not happening."""

TOKEN = "wire-admin-token"

ADDRESS = f"127.0.{os.getpid() % 250 + 1}.1" if sys.platform == "linux" else "127.0.0.1"
"""Where the tests' services listen: an address of this run's own where loopback has several, so that nobody
else's late probe of a port that was theirs a moment ago is taken for the gateway."""

_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([^\x00\r\n]*)")


class Truncated(Exception):
    """The connection ended in the middle of a message; `got` is what had come of it."""

    def __init__(self, got: bytes = b"") -> None:
        super().__init__(f"the connection ended after {got[-200:]!r}")
        self.got = got


class Message:
    """A request or a response as it stood on the wire."""

    def __init__(self, start: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.start = start
        self.headers = headers
        """Names in lower case."""
        self.body = b""

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def __contains__(self, name: bytes) -> bool:
        return any(key == name for key, _ in self.headers)

    def __getitem__(self, name: bytes) -> bytes:
        """The field's only value."""
        [value] = self.all(name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)


class Request(Message):
    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]


class Answer(Message):
    @property
    def status(self) -> int:
        match = re.fullmatch(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [^\x00-\x1f]*", self.start)
        assert match is not None, f"no status line: {self.start!r}"
        return int(match[1])


class Wire:
    """A connection on which bytes are bytes; strict about what it takes for a message."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        data = self.sock.recv(1 << 18)
        self.pending += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Everything up to the end of `mark`. Raises `Truncated`."""
        while mark not in self.pending:
            try:
                more = self._more()
            except ConnectionError:
                more = False
            if not more:
                raise Truncated(self.pending)
        head, _, self.pending = self.pending.partition(mark)
        return head + mark

    def exactly(self, size: int) -> bytes:
        parts = [self.pending]
        have = len(self.pending)
        while have < size:
            try:
                data = self.sock.recv(1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                self.pending = b""
                raise Truncated(b"".join(parts))
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.pending = whole[size:]
        return whole[:size]

    def rest(self) -> bytes:
        """Everything until the other side closes; a reset raises `ConnectionError`."""
        while self._more():
            pass
        rest, self.pending = self.pending, b""
        return rest

    def gone(self) -> bool:
        """Wait until the other side has closed or reset, without another byte before it."""
        try:
            return self.rest() == b""
        except ConnectionError:
            return self.pending == b""

    def quiet(self, seconds: float = 0.0) -> bool:
        """True where nothing is there to be read (not even an end), for so many seconds."""
        return not self.pending and not select.select([self.sock], [], [], seconds)[0]

    def close(self) -> None:
        self.sock.close()

    def end(self) -> None:
        """Close the sending half."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        )
        self.sock.close()

    # -- messages --------------------------------------------------------------------------------------------

    def _head(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        raw = self.until(b"\r\n\r\n")
        start, *lines = raw[:-4].split(b"\r\n")
        headers = []
        for line in lines:
            match = _HEADER.fullmatch(line)
            assert match is not None, f"no header field: {line!r}"
            headers.append((match[1].lower(), match[2]))
        return start, headers

    def chunked(self) -> bytes:
        body = b""
        while True:
            line = self.until(b"\r\n")[:-2]
            assert re.fullmatch(rb"[0-9a-fA-F]{1,8}", line), f"no chunk size: {line!r}"
            if (size := int(line, 16)) == 0:
                break
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        assert self.until(b"\r\n") == b"\r\n", "a trailer"
        return body


class Client(Wire):
    """The client's end of a connection to the gateway."""

    def head(self) -> Answer:
        start, headers = self._head()
        answer = Answer(start, headers)
        assert answer.status
        return answer

    def answer(self, method: str = "GET") -> Answer:
        """One whole response to `method`; framing as in RFC 9112 §6.3. Raises `Truncated`."""
        answer = self.head()
        length, coding = answer.all(b"content-length"), answer.all(b"transfer-encoding")
        assert not (length and coding), "both framings"
        assert len(length) < 2
        if answer.status < 200 or answer.status in (204, 304) or method == "HEAD":
            assert not coding
            return answer
        if coding:
            assert coding == [b"chunked"]
            answer.body = self.chunked()
        elif length:
            answer.body = self.exactly(int(length[0]))
        else:
            try:
                answer.body = self.rest()
            except ConnectionError:
                raise Truncated(self.pending) from None
        return answer

    def get(self, path: str | bytes, *lines: bytes, method: str = "GET") -> Answer:
        self.send(request(path, *lines, method=method))
        return self.answer(method)


def request(path: str | bytes, *lines: bytes, method: str = "GET", body: bytes = b"") -> bytes:
    """A request with Host, the given header lines, and Content-Length where it has a body."""
    target = path.encode() if isinstance(path, str) else path
    fields = [b"Host: gateway.test", *lines]
    if body:
        fields.append(b"Content-Length: %d" % len(body))
    return b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method.encode(), target, b"\r\n".join(fields), body)


def respond(status: int = 200, *lines: bytes, body: bytes = b"ok", phrase: bytes = b"Whatever") -> bytes:
    """A response with Content-Length, and `Cache-Control: no-store` unless it says something itself."""
    fields = [*lines, b"Content-Length: %d" % len(body)]
    if not any(line.lower().startswith(b"cache-control") for line in lines):
        fields.append(b"Cache-Control: no-store")
    return b"HTTP/1.1 %d %b\r\n%b\r\n\r\n%b" % (status, phrase, b"\r\n".join(fields), body)


class Peer(Wire):
    """The service's end of one connection from the gateway."""

    def request(self) -> Request:
        """The next request, whole."""
        asked = self.request_head()
        length, coding = asked.all(b"content-length"), asked.all(b"transfer-encoding")
        assert not (length and coding), "both framings"
        if coding:
            assert coding == [b"chunked"]
            asked.body = self.chunked()
        elif length:
            asked.body = self.exactly(int(length[0]))
        return asked

    def request_head(self) -> Request:
        start, headers = self._head()
        assert re.fullmatch(rb"[A-Z-]+ [\x21-\x7e]+ HTTP/1\.1", start), f"no request line: {start!r}"
        return Request(start, headers)

    def left_within(self) -> float:
        """Seconds until the gateway has closed or reset this connection, counted from the call."""
        started = time.monotonic()
        assert self.gone()
        return time.monotonic() - started


class Service:
    """A service behind the gateway: a listener, whose connections the test answers itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sock = socket.create_server((ADDRESS, 0), backlog=1024)
        self.sock.settimeout(PATIENCE)
        self.port: int = self.sock.getsockname()[1]
        self.host = f"{ADDRESS}:{self.port}"
        self.url = f"http://{self.host}"
        self.peers: list[Peer] = []
        """Every connection so far; the last one is the one in use."""

    def accept(self) -> Peer:
        """The gateway's next new connection."""
        self.peers.append(Peer(self.sock.accept()[0]))
        return self.peers[-1]

    def asked(self) -> tuple[Peer, Request]:
        """The next request, on whichever connection it comes, and that connection."""
        for peer in self.peers:
            if peer.pending:
                return peer, peer.request()
        deadline = time.monotonic() + PATIENCE
        watched: list[Any] = [self.sock, *(peer.sock for peer in self.peers if peer.sock.fileno() >= 0)]
        while ready := select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]:
            if self.sock in ready:
                peer = self.accept()
            else:
                peer = next(peer for peer in self.peers if peer.sock is ready[0])
                if not peer.sock.recv(1, socket.MSG_PEEK):  # an idle connection that the gateway closed
                    watched.remove(peer.sock)
                    continue
            return peer, peer.request()
        raise AssertionError(f"nothing was asked of {self.name}")

    def answers(self, response: bytes = b"") -> Request:
        """Answer the next request with `response`; gives the request."""
        peer, asked = self.asked()
        peer.send(response or respond())
        return asked

    def unasked(self, seconds: float = 0.0) -> bool:
        """True where nobody has connected or asked anything (for so many seconds)."""
        watched: list[Any] = [self.sock, *(peer.sock for peer in self.peers if peer.sock.fileno() >= 0)]
        for sock in select.select(watched, [], [], seconds)[0]:
            if sock is self.sock or sock.recv(1, socket.MSG_PEEK):
                return False
        return not any(peer.pending for peer in self.peers)

    def close(self) -> None:
        self.sock.close()
        for peer in self.peers:
            peer.close()


def refusing_port() -> socket.socket:
    """A bound socket that does not listen: whoever connects to it is refused, as long as it is held."""
    sock = socket.socket()
    sock.bind((ADDRESS, 0))
    return sock


class Gateway:
    """`uvicorn gateway:app` in a process of its own, on a port that the system chose."""

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        *arguments: str,
        app: str = "gateway:app",
        env: dict[str, str] | None = None,
    ) -> None:
        file = folder / "gateway.json"
        file.write_text(json.dumps(config))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environ |= {"GATEWAY_CONFIG": str(file), "PYTHONUNBUFFERED": "1"} | (env or {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", "0", *arguments],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.lines: list[str] = []
        """Standard error so far."""
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = self.wait_for(lambda line: "Uvicorn running on" in line)
        match = re.search(r":(\d+)", line.partition("://")[2])
        assert match is not None
        self.port = int(match[1])
        self.clients: list[Client] = []

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, wanted: Callable[[str], object], seconds: float = 30.0) -> str:
        """The first line on standard error that `wanted` accepts."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.lines if wanted(line)][:1]
            return bool(found) or self._ended

        with self._news:
            self._news.wait_for(look, seconds)
        assert found, "standard error: " + "\n".join(self.lines[-30:])
        return found[0]

    def entry(self, request_id: str) -> dict[str, Any]:
        """The access log's entry of that request."""
        mark = json.dumps(request_id)
        line = self.wait_for(lambda line: line.startswith("{") and mark in line)
        entry = json.loads(line)
        assert isinstance(entry, dict)
        return entry

    def client(self) -> Client:
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.clients.append(Client(sock))
        return self.clients[-1]

    def forget(self) -> None:
        """Close the connections of all clients."""
        for client in self.clients:
            client.close()
        self.clients.clear()

    def ask(self, raw: bytes, method: str = "GET") -> Answer:
        """The answer to `raw` on a connection of its own."""
        client = self.client()
        client.send(raw)
        return client.answer(method)

    def get(self, path: str | bytes, *lines: bytes, method: str = "GET") -> Answer:
        return self.ask(request(path, *lines, method=method), method)

    def admin(self, method: str, path: str, document: Any = None) -> Any:
        """What the control API answers, as JSON; fails where that is an error."""
        body = b"" if document is None else json.dumps(document).encode()
        lines = [b"Authorization: Bearer " + TOKEN.encode(), b"Content-Type: application/json"]
        client = self.client()
        try:
            client.send(request(path, *lines, method=method, body=body))
            answer = client.answer()
        finally:
            client.close()
            self.clients.remove(client)
        assert answer.status < 300, answer.body
        return json.loads(answer.body) if answer.body else None

    @contextlib.contextmanager
    def service(self, name: str, **settings: Any) -> Iterator[Service]:
        """A new service behind this gateway, with nothing remembered of it."""
        service = Service(name)
        self.admin("PUT", f"/admin/services/{name}", {"url": service.url, "retries": 0, **settings})
        try:
            yield service
        finally:
            self.forget()
            service.close()
            self.admin("DELETE", f"/admin/services/{name}")

    def rss(self) -> int:
        """Bytes of memory in use."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM, then the exit status; killed, and a failure, where it takes longer than this."""
        if os.name == "nt":
            self.process.terminate()
        else:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = PATIENCE) -> int:
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway did not stop within {seconds} s") from None
        self._reader.join(PATIENCE)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return status


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Ask until `condition()` is true."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.005)
