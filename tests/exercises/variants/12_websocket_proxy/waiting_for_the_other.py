"""As the lab's own does it: where sending fails, that direction waits for the other one to be over."""

import asyncio
from dataclasses import dataclass, field


class Closed(Exception):
    def __init__(self, code, reason=""):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


@dataclass
class Relay:
    client: object
    service: object
    over: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def run(self):
        ways = ((self.client, self.service, 1001), (self.service, self.client, 1011))
        tasks = [asyncio.ensure_future(self.carry(*way)) for way in ways]
        for task in tasks:
            task.add_done_callback(self.heard)
        error = None
        try:
            other, code, reason = await self.over
        except (Exception, asyncio.CancelledError) as caught:
            error = caught
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if error is None:
            await other.close(code, reason)
            return
        for peer in (self.service, self.client):
            await peer.close(1011 if isinstance(error, Exception) else 1001, "")
        raise error

    def heard(self, task):
        if not task.cancelled() and not self.over.done() and task.exception():
            self.over.set_exception(task.exception())

    async def carry(self, source, target, abnormal):
        try:
            while True:
                message = await source.receive()
                try:
                    await target.send(message)
                except Closed:
                    await self.over
        except Closed as closed:
            code, reason = closed.code, closed.reason
        if code in (1006, 1015):
            code, reason = abnormal, "connection lost"
        elif code == 1005:
            code = 1000
        if not self.over.done():
            self.over.set_result((target, code, reason))


async def relay(client, service):
    await Relay(client, service).run()


async def proxy(client, dial):
    try:
        service = await dial(list(client.subprotocols))
    except (Refused, OSError) as error:
        statuses = {Refused: getattr(error, "status", 0), TimeoutError: 504}
        await client.refuse(statuses.get(type(error), 502))
        return
    accepted = False
    try:
        await client.accept(subprotocol=service.subprotocol)
        accepted = True
    except Closed:
        pass
    finally:
        if not accepted:
            await service.close(1001)
    if accepted:
        await relay(client, service)
