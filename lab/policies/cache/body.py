"""One body, read once from the service, for many readers: those who asked for it, and the store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

PATIENCE = 5.0
"""Seconds, in all, for which the readers of a long body wait for the slowest of them."""


class SharedBody:
    """A body that is read once and can be followed by several readers from its first byte.

    Nothing is read ahead of the fastest reader. While no more than `limit` bytes have come, all of them are
    kept and new readers may join (`open`). Past it only what the slowest reader still needs is kept, and
    when that is more than `limit`, the fast ones wait for it, for `PATIENCE` seconds in all. From then on,
    who is so far behind is let go: one client that stops reading must not stop the others.

    `done(body)` is called once: with the whole body when it ended as it should, or with None as soon as
    that can no longer be had: too long, broken off, nobody reads on.
    """

    def __init__(
        self, source: AsyncIterator[bytes], limit: int, done: Callable[[bytes | None], None]
    ) -> None:
        self._source = source
        self._limit = limit
        self._done: Callable[[bytes | None], None] | None = done
        self._chunks: deque[bytes] = deque()
        self._first = 0
        self._held = 0
        self._readers: set[Reader] = set()
        self._pull: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._patient_until: float | None = None
        self._ended = False
        self._error: BaseException | None = None

    @property
    def open(self) -> bool:
        """Whether a reader who comes now still gets all of it."""
        return self._done is not None or (self._ended and self._error is None and self._first == 0)

    @property
    def outgrown(self) -> bool:
        """Whether more has come, and is still needed, than `limit` bytes."""
        return self._held > self._limit

    def reader(self) -> Reader:
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    async def read(self, reader: Reader) -> bytes | None:
        """The reader's next chunk, None at the end. Raises what the service did wrong.

        A reader that was let go meets a `CancelledError`, as if its client had gone away.
        """
        while True:
            if reader not in self._readers:
                raise asyncio.CancelledError
            if reader.position < self._first + len(self._chunks):
                chunk = self._chunks[reader.position - self._first]
                reader.position += 1
                self._trim()
                return chunk
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            if self._done is None and self.outgrown:
                await self._wait_for_the_slowest()
                continue
            if self._pull is None:
                # A task of its own: a reader that is cancelled must not take the body from the others.
                self._pull = asyncio.ensure_future(self._pull_one())
            await asyncio.wait((self._pull,))

    async def _wait_for_the_slowest(self) -> None:
        """Until it has moved; past the readers' patience, those who are as far behind are let go."""
        if self._patient_until is None:
            self._patient_until = asyncio.get_running_loop().time() + PATIENCE
        self._moved.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._patient_until):
                await self._moved.wait()
                return
        if self.outgrown:  # or another reader has let them go already
            self._readers = {reader for reader in self._readers if reader.position > self._first}
            self._trim()

    async def _pull_one(self) -> None:
        try:
            chunk = await anext(self._source)
        except StopAsyncIteration:
            self._ended = True
            self._finish(b"".join(self._chunks))
        except BaseException as error:
            self._ended, self._error = True, error
            self._finish(None)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._chunks.append(chunk)
            self._held += len(chunk)
            if self.outgrown:
                self._finish(None)
        finally:
            self._pull = None

    def _finish(self, body: bytes | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(body)

    def _trim(self) -> None:
        """Let go of what all readers have had, once the whole is not wanted any more."""
        if self._done is not None or self._ended:
            return
        slowest = min((reader.position for reader in self._readers), default=self._first)
        while self._first < slowest:
            self._held -= len(self._chunks.popleft())
            self._first += 1
        self._moved.set()

    async def leave(self, reader: Reader) -> None:
        """A reader stops. With the last one the reading of the service stops too."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self._readers:
            self._trim()
            return
        self._finish(None)
        pull = self._pull
        if pull is not None:
            pull.cancel()
            await asyncio.wait((pull,))
        aclose = getattr(self._source, "aclose", None)
        if aclose is not None:
            await aclose()


class Reader(AsyncIterator[bytes]):
    """One reader's place in a shared body; a response's `stream`."""

    __slots__ = ("_body", "position")

    def __init__(self, body: SharedBody) -> None:
        self._body = body
        self.position = 0

    async def __anext__(self) -> bytes:
        chunk = await self._body.read(self)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        await self._body.leave(self)
