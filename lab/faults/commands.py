"""`lab fault`: list, set, clear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import click

from lab.address import address
from lab.faults.client import FaultClient
from lab.faults.model import FaultError
from lab.faults.registry import FAULTS, parse
from lab.launcher import runfile

T = TypeVar("T")

services = click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="NAME=URL",
    help="A service's address, where the lab that runs is not meant; may be repeated.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")


@click.group()
def fault() -> None:
    """Break a running service on purpose, and mend it.

    Every fault ends by itself: 30 seconds after it was set, or after --ttl.
    """


@fault.command("list")
@services
@as_json
def list_(urls: tuple[str, ...], as_json: bool) -> int:
    """Show which faults are set, and how often they struck."""
    found = _with_client(urls, lambda client: client.list())
    if not found:
        raise FaultError("no service answers; start the lab with: lab up")
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    for service, reports in found.items():
        for report in reports:
            print(f"{service:<10} {describe(report)}")
        if not reports:
            print(f"{service:<10} no fault")
    return 0


@fault.command("kinds")
@as_json
def kinds(as_json: bool) -> int:
    """Show which faults there are, and their options."""
    options = {kind: _options(kind) for kind in FAULTS}
    if as_json:
        print(json.dumps({kind: FAULTS[kind].model_json_schema() for kind in FAULTS}, indent=2))
        return 0
    for kind, names in options.items():
        print(f"{kind:<10} " + " ".join(f"--{name}" for name in names))
    return 0


@fault.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("service")
@click.argument("kind")
@click.option("--name", help="What to call it, where one of its kind is set already.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--OPTION VALUE]…")
@services
@as_json
def set_(
    service: str, kind: str, name: str | None, options: tuple[str, ...], urls: tuple[str, ...], as_json: bool
) -> int:
    """Set a fault: lab fault set service-a latency --ms 300 --ttl 10.

    Its options are those of `lab fault kinds`: --ttl, --probability, --first, --path, --header, --seed …
    """
    wanted = parse({"kind": kind, **_pairs(options)})
    report = _with_client(urls, lambda client: client.set(service, wanted, name))
    print(json.dumps(report, indent=2) if as_json else f"{service:<10} {describe(report)}")
    return 0


@fault.command("clear")
@click.argument("service", required=False)
@click.argument("name", required=False)
@services
@as_json
def clear(service: str | None, name: str | None, urls: tuple[str, ...], as_json: bool) -> int:
    """Clear one fault, all of a service, or all there are."""
    cleared = _with_client(urls, lambda client: client.clear(service, name))
    if as_json:
        print(json.dumps(cleared, indent=2))
        return 0
    lines = [
        f"{each:<10} cleared: {report['label']}" for each, reports in cleared.items() for report in reports
    ]
    print("\n".join(lines) or "there was nothing to clear")
    return 0


def describe(report: Mapping[str, Any]) -> str:
    """A fault that is set, as one line."""
    name = "" if report["name"] == report["kind"] else f" '{report['name']}'"
    struck = f", struck {report['struck']} of {report['matched']}" if report["matched"] else ""
    return f"{report['label']}{name}, {report['remaining']:.1f} s left{struck}"


def _options(kind: str) -> list[str]:
    return [name.replace("_", "-") for name in FAULTS[kind].model_fields if name != "kind"]


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    """`--ms 300 --path=/items/*` as a mapping; pydantic turns the texts into numbers."""
    pairs: dict[str, str] = {}
    rest = list(options)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if not option.startswith("--"):
            raise click.UsageError(f"an option such as --ttl was expected, got {option!r}")
        if not equals:
            if not rest:
                raise click.UsageError(f"{option} needs a value")
            value = rest.pop(0)
        pairs[option.removeprefix("--").replace("-", "_")] = value
    return pairs


def _with_client(urls: tuple[str, ...], ask: Callable[[FaultClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _client(urls) as client:
            return await ask(client)

    return asyncio.run(run())


def _client(urls: tuple[str, ...]) -> FaultClient:
    """For the addresses that were given, else for the stack that runs, else for the usual addresses."""
    given = dict(_address(text) for text in urls)
    if given:
        return FaultClient(given)
    if runfile.read() is not None:
        return FaultClient.of_running()
    return FaultClient({"service-a": "http://127.0.0.1:8001", "service-b": "http://127.0.0.1:8002"})


def _address(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url:
        raise FaultError(f"--url {text}: NAME=http://HOST:PORT was expected")
    return name, address(url)
