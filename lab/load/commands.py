"""`lab load`."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from urllib.parse import urlsplit

import click

from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile
from lab.launcher.signals import on_stop
from lab.load.clients import LIMITED, VISIT, own_addresses
from lab.load.runner import Figures, LoadRun
from lab.load.shapes import SHAPES
from lab.notes import Notes


@click.command(
    epilog="Shapes: " + "; ".join(f"{shape.name}: {shape.about}" for shape in SHAPES.values()) + "."
)
@click.option("--users", type=int, default=20, show_default=True, metavar="N", help="Simulated clients.")
@click.option("--time", "time_", default="30s", show_default=True, metavar="T", help="How long: 45, 30s, 2m.")
@click.option("--shape", default="steady", show_default=True, metavar="NAME", help=" · ".join(SHAPES))
@click.option("--rate", type=float, default=0.0, metavar="R", help="Requests a second of all users together.")
@click.option(
    "--visit",
    type=int,
    default=VISIT,
    show_default=True,
    metavar="N",
    help="Requests after which a user leaves and another client comes; 0: never.",
)
@click.option("--host", metavar="URL", help="The gateway; by default the one that runs.")
@click.option("--port-base", type=int, envvar="LAB_PORT_BASE", metavar="N", help="See 'lab up --help'.")
@click.option("--api-keys", default="", metavar="K,…", help="API keys that the clients show, in turn.")
@click.option("--json", "as_json", is_flag=True, help="The figures of the whole run as one JSON document.")
def load(
    users: int,
    time_: str,
    shape: str,
    rate: float,
    visit: int,
    host: str | None,
    port_base: int | None,
    api_keys: str,
    as_json: bool,
) -> int:
    """Send traffic to the running gateway, with Locust.

    Exit status 1 where not one request was answered well. Ctrl-C ends it early.
    """
    run = runfile.read()
    address = host or gateway_url(run, port_base)
    notes = Notes.of(run, "load") if run is not None and run.gateway_url == address.rstrip("/") else None
    keys = [key for key in api_keys.split(",") if key]
    wanted = LoadRun(
        address,
        shape=shape,
        users=users,
        seconds=seconds(time_),
        rate=rate,
        visit=visit,
        api_keys=keys,
        notes=notes,
    )
    return asyncio.run(play(wanted, as_json))


def gateway_url(run: runfile.Run | None, port_base: int | None) -> str:
    """The gateway that is meant where none is named: that port's, else the one that runs, else the usual."""
    if port_base:
        return f"http://{port_table.HOST}:{port_table.from_base(port_base)['gateway']}"
    return run.gateway_url if run else f"http://{port_table.HOST}:{port_table.DEFAULT['gateway']}"


async def play(run: LoadRun, as_json: bool) -> int:
    """Run it, a line a second; the exit status."""
    await _check(run.host)
    stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(name: str) -> None:
        if not stopping.done():
            stopping.set_result(None)

    with on_stop(stop):
        if not as_json:
            print(f"{run.label} for {run.seconds:g} s against {run.host}; Ctrl-C ends it", flush=True)
        shown = asyncio.create_task(_show(run, as_json))
        await asyncio.wait({shown, stopping}, return_when=asyncio.FIRST_COMPLETED)
        last = await run.stop()
        if shown.done():
            shown.result()  # it may have failed to start
        else:
            await asyncio.wait({shown})
    if last is None:
        return 1
    if as_json:
        print(json.dumps(asdict(last), indent=2))
    else:
        print("\n".join(summary(last, run)))
    return 0 if last.requests > last.failures + last.limited else 1


async def _show(run: LoadRun, as_json: bool) -> None:
    await run.start()
    shown = 0.0
    async for figures in run.figures():
        if not as_json and not figures.final and figures.time >= shown + 1:
            shown = figures.time
            print(line(figures), flush=True)


def line(figures: Figures) -> str:
    """The figures of a moment."""
    text = f"{figures.time:5.1f} s  {figures.users:>4} users  {figures.rate:7.0f}/s"
    if figures.limited_rate:
        text += f"  limited {figures.limited_rate:.0f}/s"
    if figures.failure_rate:
        text += f"  failed {figures.failure_rate:.0f}/s"
    return text + f"  {latency(figures)}" + ("  load generator at its limit" if figures.saturated else "")


def summary(figures: Figures, run: LoadRun) -> list[str]:
    """What is to be said at the end."""
    good = figures.requests - figures.failures - figures.limited
    lines = [
        f"{figures.requests} requests in {figures.time:.1f} s, {figures.rate:.0f}/s: {good} answered well, "
        f"{figures.limited} limited (429), {figures.failures} failed",
        f"latency {latency(figures)}; load generator: {run.busiest:.0%} of a core at most",
    ]
    lines += [f"  {count} × {error}" for error, count in figures.errors.items() if not LIMITED.search(error)]
    if figures.saturated:
        lines.append(
            "the load generator was the bottleneck: the gateway may be faster than this shows; "
            "use several processes: locust -f loadtests/locustfile.py --processes 2"
        )
    lines += advice(figures, run)
    return lines


def advice(figures: Figures, run: LoadRun) -> list[str]:
    """What to set where most was refused for who asked it."""
    unknown = sum(count for error, count in figures.errors.items() if "code=401" in error)
    if 2 * unknown > figures.requests:
        return ["most was refused (401): the gateway wants API keys; give some with --api-keys"]
    if 2 * figures.limited <= figures.requests or run.shape == "noisy":
        return []
    if own_addresses(run.host):
        return [
            "most was limited (429): a client asked more than the gateway grants one; "
            "raise its rate_limit.limit, or let clients leave earlier (--visit)"
        ]
    return [
        "most was limited (429): to the gateway all of this is one client; set its trusted_proxies to this "
        "machine's address (on one machine GATEWAY__TRUSTED_PROXIES='[127.0.0.1/32]'), or give --api-keys"
    ]


def latency(figures: Figures) -> str:
    if figures.p50 is None or figures.p95 is None or figures.p99 is None:
        return "no latency"
    values = (("p50", figures.p50), ("p95", figures.p95), ("p99", figures.p99))
    return "  ".join(f"{name} {value * 1000:.0f} ms" for name, value in values)


def seconds(text: str) -> float:
    """`45`, `30s` or `2m` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|)", text.strip())
    if match is None:
        raise UserError(f"--time {text}: a time such as 30s or 2m was expected")
    return float(match[1]) * (60 if match[2] == "m" else 1)


async def _check(host: str) -> None:
    """Say so at once where nobody listens: Locust would only count failures."""
    parts = urlsplit(host)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError):
        raise UserError(
            f"nothing listens at {host}; start the lab with: lab up, or name a gateway: --host"
        ) from None
    writer.close()
