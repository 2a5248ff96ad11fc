"""`lab demo`, `lab scenarios` and `lab run`."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile
from lab.launcher.stack import Stack
from lab.load.clients import own_addresses

if TYPE_CHECKING:
    from lab.scenarios.engine import Line, Verdict
    from lab.scenarios.model import Figures, Scenario

START_TIMEOUT = 60.0
RUN_TIMEOUT = 180.0
"""Seconds after which a run that does not end by itself is broken off, and everything put back."""
CURES = {"off": (False,), "on": (True,), "both": (False, True)}
MARKS = {"say": "\n  · ", "seen": "    seen      ", "missed": "    NOT SEEN  ", "figure": "    figure    ",
         "title": "\n", "differs": "  differs   ", "same": "  NO DIFFERENCE  "}  # fmt: skip


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


@click.command("scenarios")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def scenarios_(as_json: bool) -> int:
    """The failure scenarios: what each shows, and what cures it."""
    from lab.scenarios import table

    found = table.all_of_them()
    if as_json:
        click.echo(json.dumps([_described(scenario) for scenario in found], indent=2))
        return 0
    for scenario in found:
        click.echo(f"{scenario.name:<17} {scenario.title}")
        click.echo(f"{'':<17} cure: {scenario.cure}")
    click.echo("\nPlay one with: lab run NAME")
    return 0


def _described(scenario: Scenario) -> dict[str, object]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "story": scenario.story,
        "cure": scenario.cure,
        "source": scenario.source,
        "look_at": scenario.look_at,
        "many_clients": scenario.many_clients,
        "questions": [asdict(question) for question in scenario.questions],
    }


@click.command()
@click.argument("name")
@click.option(
    "--cure", type=click.Choice(list(CURES)), default="both", help="Without, with, or both (default)."
)
@click.option("--attach", is_flag=True, help="Play on the gateway that runs instead of starting one.")
@click.option(
    "--ask", is_flag=True, help="Ask its questions first, a key after each; answer them at the end."
)
@click.option(
    "--without",
    type=click.Choice(["faults", "policies", "load"]),
    multiple=True,
    help="Leave this out, to see that the expectations can fail.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def run(name: str, cure: str, attach: bool, ask: bool, without: tuple[str, ...], as_json: bool) -> int:
    """Play one failure scenario and check what is seen; exit status 0 only if all of it was as expected.

    Starts a stack of its own on free ports and stops it again. With --attach it plays on the one that runs,
    where the dashboard shows it; what it changes there is put back.
    """
    from lab.scenarios import table

    scenario = table.load(name)
    lab = runfile.read()
    if attach and lab and scenario.many_clients and not own_addresses(lab.gateway_url):
        raise UserError(f"{name} speaks for many clients, which this system does not allow; omit --attach")
    if not as_json:
        click.echo(f"{scenario.title}\n\n{wrapped(scenario.story)}\n")
        click.echo(wrapped(scenario.look_at, "Look at  "))
        click.echo(wrapped(scenario.source, "Source   "))
        if ask:
            _ask(scenario)
    verdict = asyncio.run(_run(scenario, CURES[cure], attach, without, as_json))
    if as_json:
        click.echo(json.dumps(verdict.document(), indent=2))
    else:
        _conclude(verdict)
        if ask:
            _answer(scenario)
    return 0 if verdict.ok else 1


def _ask(scenario: Scenario) -> None:
    for question in scenario.questions:
        click.echo("\n" + wrapped(question.ask, "  ? "))
        click.pause("    Your guess, then any key …")


def _answer(scenario: Scenario) -> None:
    for question in scenario.questions:
        click.echo("\n" + wrapped(question.ask, "  ? "))
        click.echo(wrapped(question.answer, "    "))


def wrapped(text: str, mark: str = "") -> str:
    """`text` after `mark`, in lines that a terminal shows whole and an eye finds its way in."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    return textwrap.fill(text, width, initial_indent=mark, subsequent_indent=" " * len(mark))


async def _run(
    scenario: Scenario, cures: Collection[bool], attach: bool, without: Collection[str], as_json: bool
) -> Verdict:
    from lab.launcher import signals

    stopped = False
    task = asyncio.current_task()

    def stop(name: str) -> None:
        nonlocal stopped
        if task is not None and not stopped:  # a second one must not break off the putting back
            task.cancel()
        stopped = True

    try:
        with signals.on_stop(stop):
            return await _play(scenario, cures, attach, without, as_json)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _play(
    scenario: Scenario, cures: Collection[bool], attach: bool, without: Collection[str], as_json: bool
) -> Verdict:
    from lab.scenarios import engine, ground

    def tell(line: Line) -> None:
        # With two plays the figures stand side by side at the end.
        if not as_json and not (line.kind in ("figure", "differs", "same") and len(cures) == 2):
            mark = MARKS[line.kind]
            print("\n" * mark.count("\n") + wrapped(line.text, mark.lstrip("\n")), flush=True)

    where = ground.running_stack() if attach else ground.own_stack()
    try:
        async with asyncio.timeout(RUN_TIMEOUT), where as place:
            return await engine.run(scenario, place, cures, without=without, tell=tell)
    except TimeoutError:
        raise UserError(f"{scenario.name} did not end within {RUN_TIMEOUT:g} s and was broken off") from None


def _conclude(verdict: Verdict) -> None:
    if len(verdict.plays) == 2:
        for row in side_by_side(*(play.figures for play in verdict.plays)):
            click.echo(row)
        for what in verdict.differs:
            click.echo(wrapped(what, MARKS["differs"]))
        for what in verdict.same:
            click.echo(wrapped(what, MARKS["same"]))
    missed = [what for play in verdict.plays for what in play.missed] + verdict.same
    seen = sum(len(play.seen) for play in verdict.plays) + len(verdict.differs)
    took = sum(play.seconds for play in verdict.plays)
    click.echo(f"\n{seen} of {seen + len(missed)} expectations came true in {took:.1f} s", nl=False)
    click.echo(f"; not: {'; '.join(missed)}" if missed else "")


def side_by_side(off: Figures, on: Figures) -> list[str]:
    """What was measured without and with the cure, a line for each figure."""

    def shown(figures: Figures, name: str) -> str:
        return f"{figures[name]:g}" if name in figures else "–"

    rows = [("", "without", "with the cure")]
    rows += [(name, shown(off, name), shown(on, name)) for name in {**off, **on}]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["", *(f"  {a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows)]
