"""A WebSocket client that does not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import psutil
import websockets
from websockets.asyncio.client import ClientConnection, connect

from lab.scenarios.model import Contrast, Expect, Question, Scenario, Step
from lab.scenarios.play import Play

SIZE, MESSAGES = 2**20, 96
"""Bytes of a message, and how many are to be echoed."""
STALLED = 1.0
"""Seconds without progress after which a sender counts as stalled."""
BOUND = 48
"""MiB by which the gateway may grow: sockets' and relay's buffers, far below what is sent."""
SENT = "MiB that could be sent"
GROWTH = "MiB by which the gateway grew"


@contextlib.asynccontextmanager
async def open_socket(play: Play) -> AsyncIterator[ClientConnection]:
    address = play.url.replace("http", "ws", 1) + "/service-b/ws"
    options = {"proxy": None, "compression": None, "ping_interval": None, "close_timeout": 1}
    async with connect(address, max_queue=4, **options) as socket:  # type: ignore[arg-type]
        yield socket


async def send_and_read(play: Play) -> None:
    """Send message after message; with the cure somebody reads what comes back meanwhile."""
    gateway = psutil.Process(play.recording.state["pid"])
    before = gateway.memory_info().rss
    message = bytes(SIZE)
    sent = 0
    if play.left_out("load"):
        return
    async with open_socket(play) as socket:
        reader = play.meanwhile(read(socket)) if play.cured else None
        with contextlib.suppress(TimeoutError):
            while sent < MESSAGES:
                async with asyncio.timeout(STALLED if reader is None else None):
                    await socket.send(message)
                sent += 1
        grown = gateway.memory_info().rss - before
        await play.measure(SENT, lambda r: sent * SIZE / 2**20)
        await play.measure(GROWTH, lambda r: round(grown / 2**20, 1))
        await neighbour(play)
        if reader is not None:
            await reader
        elif socket.transport is not None:
            socket.transport.abort()  # a polite close would have to wait behind what was sent


async def read(socket: ClientConnection) -> None:
    for _ in range(MESSAGES):
        await socket.recv()


async def neighbour(play: Play) -> None:
    """Another client of the same service."""
    with contextlib.suppress(TimeoutError, websockets.WebSocketException):
        async with asyncio.timeout(3), open_socket(play) as socket:
            for n in range(5):
                await socket.send(f"message {n}")
                assert await socket.recv() == f"message {n}"
            play.recording.figures["messages of the neighbour that were echoed"] = 5


def script(cured: bool) -> Sequence[Step]:
    if cured:
        expected = [Expect("all of it is sent", lambda r: r.figures[SENT] == MESSAGES * SIZE / 2**20)]
        what = f"A client sends {MESSAGES} messages of {SIZE >> 20} MiB and reads their echoes as they come."
    else:
        expected = [Expect("the sender is stopped before its end", lambda r: 0 < r.figures[SENT] < MESSAGES)]
        what = f"A client sends {MESSAGES} messages of {SIZE >> 20} MiB to be echoed, and reads none."
    return [
        Step(
            what,
            send_and_read,
            [
                *expected,
                Expect(f"the gateway keeps less than {BOUND} MiB of it", lambda r: r.figures[GROWTH] < BOUND),
                Expect(
                    "another client of the service notices nothing",
                    lambda r: r.figures["messages of the neighbour that were echoed"] == 5,
                ),
            ],
            within=20,
        )
    ]


SCENARIO = Scenario(
    name="slow-consumer",
    title="WebSocket slow consumer",
    story=(
        "A client that reads slower than it is sent to makes somebody keep what it has not read. A relay "
        "that buffers without bound is ended by one such client. One that waits passes the pressure back, "
        "and the sender stops: the right thing, unless the sender has other things to do."
    ),
    cure="the consumer reads in a task of its own, whatever else it does",
    source="RFC 6455 (no flow control of its own); Reactive Streams, back-pressure; RFC 9293, section 3.8.6",
    look_at="Overview: an open WebSocket without traffic.",
    script=script,
    contrast=[Contrast("who reads gets everything through", lambda off, on: on[SENT] > off[SENT])],
    questions=[
        Question(
            f"A client sends {MESSAGES} MiB of messages to an echo and reads nothing. Where do they stay?",
            "In the buffers of four sockets, a few MiB each; then nobody reads, and the sender's send waits.",
        ),
        Question(
            "A ticker sends prices to a slow reader. Should it wait?",
            "Rather keep only the newest price for it: old ones are worth nothing. Waiting suits what must "
            "not get lost.",
        ),
    ],
)
