"""`lab bench`: the command; what it does is in `loadtests/bench`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from lab.bootstrap import ROOT
from lab.errors import UserError

SCENARIOS = ("forward", "hit", "websocket", "download", "upload", "idle", "feed", "open-loop", "memory")
PEERS = ("gateway", "nginx", "uvicorn", "aiohttp", "fastapi-proxy-lib", "fastapi+httpx")


def _some(known: tuple[str, ...]) -> Any:
    """A callback for a comma-separated choice among `known`."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        if value is None:
            return known
        chosen = [name.strip() for name in value.split(",") if name.strip()]
        for name in chosen:
            if name not in known:
                raise click.BadParameter(f"'{name}' is not one of {', '.join(known)}")
        return tuple(name for name in known if name in chosen)

    return choose


@click.command()
@click.option("--quick", is_flag=True, help="Forty seconds instead of four minutes; coarser figures.")
@click.option("--json", "as_json", metavar="FILE", help="Write all figures as JSON; - is standard output.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the costs as SVG.")
@click.option(
    "--doc",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Put the tables between the bench marks of a document, and the plot beside it.",
)
@click.option("--peers", callback=_some(PEERS), metavar="A,B", help=f"Of: {', '.join(PEERS)}.")
@click.option("--only", callback=_some(SCENARIOS), metavar="A,B", help=f"Of: {', '.join(SCENARIOS)}.")
def bench(
    quick: bool,
    as_json: str | None,
    plot: Path | None,
    doc: Path | None,
    peers: tuple[str, ...],
    only: tuple[str, ...],
) -> int:
    """Measure the gateway against its peers on this machine: CPU per request, rates, latency, memory.

    All run on free ports of this machine and end with the command. Peers that are not installed are left out.
    """
    if not (ROOT / "loadtests" / "bench" / "run.py").is_file():
        raise UserError(
            "the benchmark is in a clone of the project, under loadtests/bench: run it from there"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    runner: Any = import_module("loadtests.bench.run")
    reports: Any = import_module("loadtests.bench.report")
    plots: Any = import_module("loadtests.bench.plot")
    scenarios: Any = import_module("loadtests.bench.scenarios")
    processes: Any = import_module("loadtests.bench.processes")
    if doc is not None:
        plot = plot or doc.with_suffix(".svg")
        try:
            reports.replace_section(doc.read_text("utf-8"), "")
        except ValueError as error:
            raise UserError(f"{doc}: {error}") from None
    plan = scenarios.Plan.quick() if quick else scenarios.Plan()
    try:
        report = runner.run(plan, peers, only, lambda line: click.echo(line, err=True))
    except (processes.NotStarted, TimeoutError) as error:
        raise click.ClickException(str(error) or "the benchmark took too long and was broken off") from None
    report.command = " ".join(
        ["lab bench", *(["--quick"] if quick else []), *_given(peers, PEERS, "--peers")]
    )
    report.command += " ".join(["", *_given(only, SCENARIOS, "--only")])
    if as_json == "-":
        click.echo(json.dumps(report.document(), indent=1))
    else:
        click.echo(reports.text(report))
        if as_json is not None:
            _write(Path(as_json), json.dumps(report.document(), indent=1) + "\n")
    if plot is not None:
        _write(plot, plots.svg(report))
    if doc is not None and plot is not None:
        section = reports.markdown(report, plot.name)
        _write(doc, reports.replace_section(doc.read_text("utf-8"), section))
    return 1 if any("gateway" in failure for failure in report.failures) else 0


def _given(chosen: tuple[str, ...], known: tuple[str, ...], option: str) -> list[str]:
    return [] if chosen == known else [option, ",".join(chosen)]


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, "utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
