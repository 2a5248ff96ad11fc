"""Each direction closes the side that it carries to, and is over when that is done."""

import asyncio
import contextlib

GOING_AWAY, BROKEN = 1001, 1011


class Closed(Exception):
    def __init__(self, code, reason=""):
        self.code = code
        self.reason = reason


class Refused(Exception):
    def __init__(self, status):
        self.status = status


async def relay(client, service):
    both = {
        asyncio.create_task(until_gone(client, service, GOING_AWAY)),
        asyncio.create_task(until_gone(service, client, BROKEN)),
    }
    try:
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    except asyncio.CancelledError:
        await client.close(GOING_AWAY, "the gateway stops")
        await service.close(GOING_AWAY, "the gateway stops")
        raise
    except Exception as error:
        await service.close(BROKEN, type(error).__name__)
        await client.close(BROKEN, type(error).__name__)
        raise
    finally:
        for task in both:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await asyncio.gather(*both)


async def until_gone(source, target, abnormal):
    listens = True
    try:
        while True:
            message = await source.receive()
            if listens:
                try:
                    await target.send(message)
                except Closed:
                    listens = False
    except Closed as closed:
        if closed.code == 1005:
            await target.close(1000, "")
        else:
            await target.close(abnormal if closed.code in {1006, 1015} else closed.code, closed.reason)


async def proxy(client, dial):
    try:
        service = await dial(client.subprotocols)
        chosen = service.subprotocol
    except Refused as no:
        await client.refuse(no.status)
    except TimeoutError:
        await client.refuse(504)
    except OSError:
        await client.refuse(502)
    else:
        try:
            await client.accept(chosen)
        except Closed:
            await service.close(GOING_AWAY)
            return
        await relay(client, service)
