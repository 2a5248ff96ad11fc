"""`lab demo`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict

import click

from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile
from lab.launcher.stack import Stack

START_TIMEOUT = 20.0


@click.command()
@click.option("--attach", is_flag=True, help="Tour the gateway that runs instead of starting one.")
@click.option("--port-base", type=int, envvar="LAB_PORT_BASE", metavar="N", help="See 'lab up --help'.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def demo(attach: bool, port_base: int | None, as_json: bool) -> int:
    """A tour without a terminal: a line for each thing seen; exit status 0 only if all of it was.

    Starts a stack of its own, on the usual ports where they are free, else on others, and stops it again.
    """
    return asyncio.run(_attached(as_json) if attach else _started(port_base, as_json))


async def _attached(as_json: bool) -> int:
    run = runfile.read()
    if run is None:
        raise UserError("no lab runs that could be toured; start one with: lab up")
    return await _tour(run.gateway_url, run.admin_token, None, as_json)


async def _started(port_base: int | None, as_json: bool) -> int:
    began = time.monotonic()
    if port_base is not None:
        ports = port_table.from_base(port_base)
    elif all(port_table.is_free(port) for port in port_table.DEFAULT.values()):
        ports = dict(port_table.DEFAULT)
    else:
        ports = port_table.free()
    # Its own folder and no run file: nobody should attach to something that is gone in a moment. The built-in
    # configuration, whatever the user's own says: the tour is of the lab, not of that.
    stack = Stack(ports=ports, env={"GATEWAY_CONFIG": ""}, home=runfile.home() / "demo", announce=False)
    await stack.start()
    try:
        if not await stack.wait_healthy(START_TIMEOUT):
            unwell = [process for process in stack.processes.values() if process.state != "healthy"]
            for process in unwell:
                print(f"{process.name}: {process.detail}", file=sys.stderr)
            print(f"the lab did not start (logs: {stack.home / 'logs'})", file=sys.stderr)
            return 1
        if not as_json:
            print(f"started two services and the gateway in {time.monotonic() - began:.1f} s", flush=True)
        return await _tour(stack.gateway_url, stack.admin_token, stack, as_json)
    finally:
        await stack.stop()


async def _tour(url: str, token: str, stack: Stack | None, as_json: bool) -> int:
    from lab.scenarios.demo import Tour  # httpx and websockets, while the stack starts up

    began = time.monotonic()
    kill = None if stack is None else lambda: stack.kill_process("service-a")
    sights = []
    async for sight in Tour(url, token, kill_service_a=kill).walk():
        sights.append(sight)
        if not as_json:
            print(f"{'seen  ' if sight.seen else 'NOT SEEN'}  {sight.name:<17} {sight.text}", flush=True)
    missed = [sight.name for sight in sights if not sight.seen]
    took = time.monotonic() - began
    if as_json:
        document = {"ok": not missed, "seconds": round(took, 3), "sights": [asdict(s) for s in sights]}
        print(json.dumps(document, indent=2))
    else:
        print(f"{len(sights) - len(missed)} of {len(sights)} seen in {took:.1f} s", end="")
        print(f"; not seen: {', '.join(missed)}" if missed else "")
    return 1 if missed else 0
