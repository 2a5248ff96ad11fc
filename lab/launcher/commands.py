"""`lab up` and `lab doctor`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile
from lab.launcher.signals import on_stop
from lab.launcher.stack import WRONGLY_USED, Process, Stack
from lab.settings import ConfigError

Say = Callable[[str], None]

START_TIMEOUT = 60.0
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}

port_base = click.option(
    "--port-base",
    type=int,
    envvar="LAB_PORT_BASE",
    metavar="N",
    help="Gateway on port N, services on N+1 and N+2; 0 takes any free ports. [default: 8000]",
)


def chosen_ports(base: int | None) -> dict[str, int]:
    """The ports that `--port-base` asks for."""
    return dict(port_table.DEFAULT) if base is None else port_table.from_base(base)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@port_base
def up(config: Path | None, port_base: int | None) -> int:
    """Start the services and the gateway without the dashboard; Ctrl-C stops all of it."""
    try:
        return asyncio.run(run_stack(config, chosen_ports(port_base)))
    except ConfigError as error:
        raise UserError(str(error)) from None


async def run_stack(config: Path | None, ports: dict[str, int]) -> int:
    """`lab up`: 0 once it was stopped, 1 where it never got healthy.

    Raises `UserError` where the configuration names what does not exist.
    """
    began = time.monotonic()
    stop = asyncio.Event()

    def say(text: str) -> None:
        try:
            print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)
        except OSError:  # nobody reads any more (`lab up | head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop.set()

    def changed(process: Process) -> None:
        say(f"{process.name:<10} {process.state:<10} {process.detail}")

    def signalled(name: str) -> None:
        if stop.is_set():
            say(f"{name} again: killing what is left")
            stack.kill()
        else:
            say(f"{name}: stopping; once more forces it")
            stop.set()

    stack = Stack(ports=ports, config=config, on_change=changed)
    with on_stop(signalled):
        await stack.start()
        try:
            waiting = {
                asyncio.create_task(stack.wait_healthy(START_TIMEOUT)),
                asyncio.create_task(stop.wait()),
            }
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            if not stop.is_set():
                lost = [process for process in stack.processes.values() if process.given_up]
                if lost:
                    for process in lost:
                        if process.exit_status == WRONGLY_USED:  # what only the gateway itself could find
                            raise UserError(last_line(process))
                        tell_log(process, say)
                    return 1
                tell_addresses(stack, time.monotonic() - began, say)
                await stop.wait()
        finally:
            await stack.stop()
    return 0


def tell_addresses(stack: Stack, took: float, say: Say) -> None:
    unwell = [process.name for process in stack.processes.values() if process.state != "healthy"]
    if unwell:
        say(f"still not healthy after {took:.0f} s: {', '.join(unwell)} (logs: {stack.home / 'logs'})")
    else:
        say(f"all healthy after {took:.1f} s")
    for name, process in stack.processes.items():
        say(f"{name:<10} {process.url}")
    say(f"try        curl -i {stack.gateway_url}/service-a/items/1")
    say(f"look       lab attach   (logs: {stack.home / 'logs'})")
    say("stop       Ctrl-C")


def last_line(process: Process) -> str:
    """What a process said last, without its name in front."""
    said = [line for line in process.log if line.strip()]
    return said[-1].removeprefix(f"{process.name}: ") if said else f"{process.name} does not start"


def tell_log(process: Process, say: Say) -> None:
    say(f"{process.name} does not start; the end of its log:")
    for line in list(process.log)[-10:]:
        say(f"    {line}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The findings as a JSON list.")
@click.option("--fix", is_flag=True, help="End and undo what earlier runs left behind.")
@port_base
def doctor(as_json: bool, fix: bool, port_base: int | None) -> int:
    """Look for what keeps the lab from running; exit status 1 where something does."""
    from lab.launcher import doctor as examination

    done = examination.fix() if fix else []
    run = runfile.read()
    wanted = run.ports if run is not None and port_base is None else chosen_ports(port_base)
    findings = examination.examine(wanted)
    bad = sum(finding.level == "bad" for finding in findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return 1 if bad else 0
    for line in done:
        print(f"fixed {line}")
    for finding in findings:
        print(f"{MARKS[finding.level]}  {finding.what:<14} {finding.seen}")
        if finding.todo:
            print(f"      {'':<14} → {finding.todo}")
    print(f"{bad} to put right" if bad else "nothing stands in the way")
    return 1 if bad else 0
