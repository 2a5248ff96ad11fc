"""The watchdog of a stopped process: its child, which stops it, keeps the time, and wakes it.

Run as a file, `python -I -S watchdog.py FD JSON`: FD is a listening socket at which it answers in its
parent's place, JSON holds `ends` (in monotonic seconds, which all processes of a machine share) and `fault`
(what to show). It says `ready`, waits for a line, and stops its parent. It imports nothing of ours and little
of Python's: it must be quick, and must not fail.
"""

import json
import os
import select
import signal
import socket
import sys
import time

LOOK = 0.1
"""Seconds between two looks at whether the parent still lives."""
STOPPED = {
    "type": "about:blank",
    "title": "Conflict",
    "status": 409,
    "detail": "the process is stopped; clear 'stop' first",
}


def main(fd: int, told: dict) -> None:  # type: ignore[type-arg]
    parent = os.getppid()
    door = socket.socket(fileno=fd)
    print("ready", flush=True)
    if not sys.stdin.readline() or os.getppid() != parent:
        return
    os.kill(parent, signal.SIGSTOP)
    try:
        while os.getppid() == parent and (left := told["ends"] - time.monotonic()) > 0:
            if select.select([door], [], [], min(left, LOOK))[0] and answer(door, told["fault"], left):
                break
    finally:
        if os.getppid() == parent:  # else it was killed, and its number may be another's by now
            os.kill(parent, signal.SIGCONT)


def answer(door: socket.socket, fault: dict, left: float) -> bool:  # type: ignore[type-arg]
    """Answer one request; True where it was to clear the fault."""
    try:
        connection, _ = door.accept()
        with connection:
            connection.settimeout(0.5)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < 16_384:
                part = connection.recv(4096)
                if not part:
                    return False
                head += part
            method, path = head.split(b" ", 2)[:2]
            name = path.rpartition(b"/_faults")[2].strip(b"/").decode("latin-1")
            fault["remaining"] = round(left, 3)
            clears = method == b"DELETE" and name in ("", fault["name"])
            status, kind = "200 OK", "application/json"
            body: dict = {"faults": [fault]}  # type: ignore[type-arg]
            if clears:
                body = {"cleared": [fault]}
            elif method == b"DELETE":
                body = {"cleared": []}
            elif method != b"GET":
                status, kind, body = "409 Conflict", "application/problem+json", STOPPED
            text = json.dumps(body).encode()
            fields = f"content-type: {kind}\r\ncontent-length: {len(text)}\r\nconnection: close"
            connection.sendall(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + text)
            return clears
    except (OSError, ValueError):
        return False  # a client that broke off must not keep the parent asleep


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
