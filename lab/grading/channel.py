"""The way to a submission's agent across a process boundary: `lab.exercises.kit.Channel` over a socket.

What comes in was made by whoever handed the submission in. A message that is too large, no JSON, not in the
agreed form, or that nobody asked for ends the conversation; `ended` then says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

Message = dict[str, Any]
Callback = Callable[[list[Any]], Awaitable[Message]]

LARGEST = 8 << 20
"""Bytes of one message."""
MOST_BYTES = 64 << 20
"""Of all that comes in a conversation: what a check lets wait stays in memory."""
MOST_PARTS = 1_000_000
"""Lists, entries and values of one message; as Python's objects they take fifty times the room."""
MOST_CALLS = 2_000
"""Callbacks that a submission may have under way at once."""
PASSES = 60
"""How often `settle` lets every ready task of the check run; as many as the agent's."""
ROUNDS = 100
"""How often `settle` goes to and fro at most."""


class ConversationOver(OSError):
    """Nothing more can be asked of this submission."""


class Asked(asyncio.Future[Message]):
    """The answer to a question. Who cancels it cancels the work there, and at once.

    As it is with work that is done here, that work goes on to its end, with all its clean-up, and what comes
    after the cancellation finds it cancelled.
    """

    def __init__(self, channel: RemoteChannel) -> None:
        super().__init__()
        self.number = 0
        self._channel = channel

    def cancel(self, msg: Any = None) -> bool:
        return self._channel.cancel(self.number) or super().cancel(msg)


class RemoteChannel:
    """One conversation, of at most `seconds`.

    `ended` is "" while it lasts, then "hung" (no answer in time), "closed" (the other side is gone) or
    "broken" (what came was no proper message), with `detail` in words. `numbers` gives each question one
    that nobody can know before it is asked.
    """

    def __init__(
        self, sock: socket.socket, seconds: float, numbers: Callable[[], int] = lambda: secrets.randbits(48)
    ) -> None:
        self.ended: str = ""
        self.detail: str = ""
        self.seed = 0
        """What the grader draws the parameters of its checks from."""
        self._sock = sock
        self._sock.setblocking(False)
        self._deadline = time.monotonic() + seconds
        self._buffer = bytearray()
        self._got = 0
        self._numbers = numbers
        self._pending: dict[int, asyncio.Future[Message] | None] = {}
        """Questions without an answer yet; None: whoever asked is blocked until it comes."""
        self._answers: dict[int, Message] = {}
        self._callbacks: list[Callback] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._traffic = 0
        """Callbacks asked for and answered so far: `settle` is over when it no longer grows."""

    def extend(self, seconds: float) -> None:
        """From now on the conversation may last `seconds`."""
        self._deadline = time.monotonic() + seconds

    # -- kit.Channel -----------------------------------------------------------------------------------------

    def callback(self, function: Callback) -> int:
        self._callbacks.append(function)
        return len(self._callbacks) - 1

    def ask(self, op: str, fields: Message) -> Message:
        number = self._question(op, fields, None)
        while number not in self._answers:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._sock], [], [], left)[0]:
                self._over("hung", "no answer came in time")
            self._receive()
        return self._answers.pop(number)

    async def ask_async(self, op: str, fields: Message) -> Message:
        self._listen()
        if op == "settle":
            return await self._settle()
        future = Asked(self)
        future.number = self._question(op, fields, future)
        answer = await self._answered(future)
        task = asyncio.current_task()
        if answer.get("raised", {}).get("kind") == "CancelledError" and task and task.cancelling():
            raise asyncio.CancelledError
        return answer

    async def _answered(self, future: asyncio.Future[Message]) -> Message:
        assert self._loop is not None
        timer = self._loop.call_later(max(0.0, self._deadline - time.monotonic()), self._too_late)
        try:
            return await future
        finally:
            timer.cancel()

    def _too_late(self) -> None:
        with contextlib.suppress(ConversationOver):  # whoever waits is told
            self._over("hung", "no answer came in time")

    def cancel(self, number: int) -> bool:
        """Ask for the work of that question to be cancelled; False where nobody can be asked."""
        if self.ended or number not in self._pending:
            return False
        with contextlib.suppress(ConversationOver):
            self._write({"cancel": number})
        return not self.ended

    async def _settle(self) -> Message:
        assert self._loop is not None
        for _ in range(ROUNDS):
            before = self._traffic
            for _ in range(PASSES):  # the check's own tasks: what they ask goes out before the question
                await asyncio.sleep(0)
            future: asyncio.Future[Message] = self._loop.create_future()
            self._question("settle", {}, future)
            answer = await self._answered(future)
            for _ in range(PASSES):
                await asyncio.sleep(0)
            if self._traffic == before:
                break
        return answer

    # -- out -------------------------------------------------------------------------------------------------

    def _question(self, op: str, fields: Message, future: asyncio.Future[Message] | None) -> int:
        number = self._numbers()
        self._pending[number] = future
        self._traffic += op != "settle"
        self._write({"n": number, "op": op, "fields": fields})
        return number

    def _write(self, message: Message) -> None:
        if self.ended:
            raise ConversationOver(self.detail)
        data = json.dumps(message, separators=(",", ":")).encode()
        view = memoryview(struct.pack(">I", len(data)) + data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                left = self._deadline - time.monotonic()
                # It may be writing too: read, or both wait for ever.
                reading, writing, _ = select.select([self._sock], [self._sock], [], max(0.0, left))
                if not reading and not writing:
                    self._over("hung", "it does not read what it is asked")
                if reading:
                    self._receive()
            except OSError:
                self._over("closed", "the connection to it is gone")

    # -- in --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._sock, self._readable)

    def _readable(self) -> None:
        try:
            self._receive()
        except ConversationOver:
            pass  # whoever waits has been told

    def _receive(self) -> None:
        try:
            chunk = self._sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._over("closed", "the connection to it is gone")
        self._buffer += chunk
        self._got += len(chunk)
        if self._got > MOST_BYTES:
            self._over("broken", f"it sent more than {MOST_BYTES >> 20} MiB")
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if length > LARGEST:
                self._over("broken", f"it sent a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                return
            data = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            if data.count(b",") + data.count(b"[") + data.count(b"{") > MOST_PARTS:
                self._over("broken", f"it sent a message of more than {MOST_PARTS} parts")
            try:
                message = json.loads(data, parse_constant=refuse)
            except (ValueError, RecursionError):
                self._over("broken", "it sent something that is no message")
            self._take(message)

    def _take(self, message: Any) -> None:
        match message:
            case {"answer": int(number), "message": dict(answer)} if number in self._pending:
                if not isinstance(answer.get("raised", {}), dict):
                    self._over("broken", "it sent something that is no answer")
                future = self._pending.pop(number)
                if future is None:
                    self._answers[number] = answer
                elif not future.done():
                    future.set_result(answer)
            case {"call": int(number), "callback": int(callback), "args": list(args)} if (
                self._loop is not None and 0 <= callback < len(self._callbacks)
            ):
                if len(self._running) >= MOST_CALLS:
                    self._over("broken", f"it made more than {MOST_CALLS} calls at once")
                self._traffic += 1
                task = self._loop.create_task(self._run(number, self._callbacks[callback], args))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            case _:
                self._over("broken", "it answered something that was not asked")

    async def _run(self, number: int, callback: Callback, args: list[Any]) -> None:
        answer = await callback(args)
        self._traffic += 1
        if not self.ended:
            try:
                self._write({"answer": number, "message": answer})
            except ConversationOver:
                pass  # whoever waits for more has been told

    def _over(self, why: str, detail: str) -> NoReturn:
        """End the conversation: whoever waits for an answer, now or later, gets `ConversationOver`."""
        self.ended = self.ended or why
        self.detail = self.detail or detail
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if future is not None and not future.done():
                future.set_exception(ConversationOver(self.detail))
        raise ConversationOver(self.detail)


def refuse(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON; where they are meant, they come as text."""
    raise ValueError(constant)
