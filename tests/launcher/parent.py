"""A launcher in a process of its own: starts a stack of stand-ins, tells its pids, then does as told."""

import asyncio
import json
import os
import sys
from pathlib import Path

from lab.launcher.stack import Stack


async def main(then, ports, home):
    stack = Stack(
        ports=ports,
        home=Path(home),
        apps=dict.fromkeys(ports, "standin:app"),
        env={"PYTHONPATH": str(Path(__file__).parent)},
    )
    await stack.start()
    if then == "at-once":
        os._exit(3)  # the children have hardly begun
    assert await stack.wait_healthy(60), stack.processes
    if then == "paused":
        await stack.pause_process("service-a")
    print(json.dumps([process.pid for process in stack.processes.values()]), flush=True)
    if then == "exception":
        raise RuntimeError("as asked")
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
