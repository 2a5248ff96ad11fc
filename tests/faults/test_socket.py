from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lab.faults.socket import Session

BOUND = 5.0


class Protocol:
    """What uvicorn's `receive` belongs to."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.transport = self
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    async def receive(self) -> Any:
        return {"type": "websocket.connect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def accepted(session: Session) -> None: ...


async def talkative(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "text": "tick"})
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["close", "cut"])
async def test_an_application_that_talks_for_ever_ends_with_its_connection(how: str) -> None:
    protocol = Protocol()
    session = Session({"type": "websocket", "path": "/"}, protocol.receive, protocol.send)
    task = asyncio.create_task(session.run(talkative, accepted))
    await asyncio.sleep(0)
    if how == "close":
        session.close(1012, "bye")
    else:
        session.cut()
        assert protocol.aborted
    before = len(protocol.sent)
    await asyncio.wait_for(task, BOUND)  # and quietly: what it stumbled over was the fault's doing
    goodbye = [{"type": "websocket.close", "code": 1012, "reason": "bye"}] if how == "close" else []
    assert protocol.sent[before:] == goodbye


async def test_an_application_s_own_mistake_is_not_hidden() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("mine")

    protocol = Protocol()
    with pytest.raises(KeyError):
        await Session({}, protocol.receive, protocol.send).run(broken, accepted)
