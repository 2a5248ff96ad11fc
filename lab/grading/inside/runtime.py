"""Runs an agent in a sandbox: questions come over the channel, answers go back, each with its number.

    to the submission      {"n": 1, "op": …, "fields": …}        a question; `n` may be asked to be cancelled
                           {"cancel": 1}
                           {"answer": 7, "message": …}           what a callback of the check's gave
    to the grader          {"answer": 1, "message": …}
                           {"call": 7, "callback": 0, "args": …} a callback, please

A message is JSON behind four bytes that say its length (big-endian).
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any

ASYNC = frozenset({"start", "join", "settle"})
LARGEST = 16 << 20
"""Bytes of one message."""


def frame(message: dict[str, Any]) -> bytes:
    data = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">I", len(data)) + data


def main(sock: socket.socket, work: Path, file: str) -> None:
    """Serve until the grader hangs up."""
    sys.path.insert(0, str(work))
    try:
        asyncio.run(Runtime(sock, work / file).serve())
    except (OSError, EOFError):
        pass  # the grader has gone
    os._exit(0)


class Runtime:
    def __init__(self, sock: socket.socket, path: Path) -> None:
        from lab.exercises.agent import Agent

        self._sock = sock
        self._agent = Agent(path, self._call)
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next = 0

    async def serve(self) -> None:
        reader, _ = await asyncio.open_connection(sock=self._sock.dup())
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            message = json.loads(await reader.readexactly(length))
            if "answer" in message:
                future = self._calls.pop(message["answer"], None)
                if future is not None and not future.done():
                    future.set_result(message["message"])
            elif "cancel" in message:
                if task := self._tasks.get(message["cancel"]):
                    task.cancel()
            else:
                self._begin(message["n"], message["op"], message["fields"])

    def _begin(self, number: int, op: str, fields: dict[str, Any]) -> None:
        if op == "load":
            self._send({"answer": number, "message": self._agent.load()})
        elif op in ASYNC:
            self._tasks[number] = asyncio.create_task(self._answer(number, op, fields))
        else:
            self._send({"answer": number, "message": self._agent.handle(op, fields)})

    async def _answer(self, number: int, op: str, fields: dict[str, Any]) -> None:
        try:
            answer = await self._agent.handle_async(op, fields)
        except asyncio.CancelledError:
            answer = {"raised": {"kind": "CancelledError", "mro": ["CancelledError"], "text": ""}}
        finally:
            self._tasks.pop(number, None)
        self._send({"answer": number, "message": answer})

    async def _call(self, callback: int, args: list[Any]) -> dict[str, Any]:
        self._next += 1
        number = self._next
        self._calls[number] = asyncio.get_running_loop().create_future()
        self._send({"call": number, "callback": callback, "args": args})
        return await self._calls[number]

    def _send(self, message: dict[str, Any]) -> None:
        data = frame(message)
        if len(data) > LARGEST:
            text = f"what came back is larger than {LARGEST >> 20} MiB"
            raised = {"kind": "", "mro": [], "text": text, "line": 0, "function": "", "source": ""}
            data = frame({"answer": message.get("answer", 0), "message": {"raised": raised}})
        view = memoryview(data)
        while view:  # the reader above has made the socket non-blocking
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                select.select([], [self._sock], [])
