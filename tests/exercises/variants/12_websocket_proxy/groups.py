"""A task group: the end of a side is an exception, which cancels the other direction; an error is a group."""

import asyncio


class Closed(Exception):
    def __init__(self, code, reason=""):
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status):
        self.status = status


class Over(Exception):
    """`args`: whom to close, with which code and reason."""


async def relay(client, service):
    try:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(client, service, {1005: 1000, 1006: 1001, 1015: 1001}))
                group.create_task(pump(service, client, {1005: 1000, 1006: 1014, 1015: 1014}))
        except* Over as over:
            peer, code, reason = over.exceptions[0].args
            await peer.close(code=code, reason=reason)
    except asyncio.CancelledError:
        await asyncio.gather(client.close(1012), service.close(1012))
        raise
    except BaseExceptionGroup:
        await asyncio.gather(client.close(1011, "internal error"), service.close(1011, "internal error"))
        raise


async def pump(source, target, instead):
    gone = False
    while True:
        try:
            message = await source.receive()
        except Closed as closed:
            raise Over(target, instead.get(closed.code, closed.code), closed.reason) from None
        try:
            if not gone:
                await target.send(message)
        except Closed:
            gone = True


async def proxy(client, dial):
    status = None
    try:
        service = await dial(client.subprotocols)
    except Refused as refused:
        status = refused.status
    except OSError as error:
        status = 504 if isinstance(error, TimeoutError) else 502
    if status is not None:
        await client.refuse(status)
        return
    try:
        await client.accept(service.subprotocol)
    except Closed:
        await service.close(1001, "the client did not wait")
    else:
        await relay(client, service)
