"""`lab` and `lab attach`: the two ways to open the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from lab.dashboard.app import Dashboard
from lab.dashboard.client import Control, follow
from lab.dashboard.reach import knock, token_here, where
from lab.dashboard.recording import Recorder, Replay
from lab.dashboard.traffic import TRUST, Traffic
from lab.dashboard.trouble import Trouble
from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile


def need_terminal() -> None:
    """Raise `UserError` where there is nothing to draw on: no terminal, and no browser that asked for it."""
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:  # textual-serve sets it
        raise UserError("the dashboard needs a terminal; without one, try: lab demo")


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@click.option(
    "--port-base",
    type=int,
    envvar="LAB_PORT_BASE",
    metavar="N",
    help="Use the ports N, N+1, N+2; 0 takes any free ones.",
)
def dashboard(config: Path | None = None, port_base: int | None = None) -> int:
    """Start both services and the gateway, watch them live, and stop them again."""
    need_terminal()
    from lab.launcher.stack import Stack
    from lab.settings import ConfigError

    ports = None if port_base is None else port_table.from_base(port_base)
    try:
        stack = Stack(ports=ports, config=config, env=None if config else TRUST)
    except ConfigError as error:
        raise UserError(str(error)) from None
    port_table.check(stack.ports)
    url, token = stack.gateway_url, stack.admin_token
    control = Control(url, token)
    app = Dashboard(
        lambda status: follow(url, lambda: token, status),
        control=control,
        traffic=Traffic(url),
        trouble=Trouble(
            {name: p.url for name, p in stack.processes.items() if name != "gateway"}, url, token
        ),
        stack=stack,
        fetch=control.snapshot,
    )
    stack.on_change = lambda process: app.touch()
    stack.on_line = lambda process, line: app.touch()

    async def run() -> None:
        leave_on_signals(app)
        try:
            await app.run_async()
        finally:
            await app.let_go()
            await stack.stop()

    return finish(app, run())


@click.command()
@click.argument("url", required=False)
@click.option(
    "--control", is_flag=True, help="Allow the keys that change something; without it you only look."
)
@click.option("--web", is_flag=True, help="Serve the dashboard to browsers on this machine instead.")
@click.option("--web-port", type=int, default=8080, show_default=True, help="The port for --web.")
@click.option("--replay", type=click.Path(path_type=Path), help="Show a recording; no gateway is needed.")
@click.option("--record", type=click.Path(path_type=Path), help="Record into this file (see also ctrl+r).")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write the recording that --replay names as one page of HTML instead of showing it.",
)
@click.option("--token", envvar="GATEWAY_ADMIN_TOKEN", help="The admin token; also GATEWAY_ADMIN_TOKEN.")
@click.option("--patient", is_flag=True, hidden=True)  # a browser is better shown what is waited for
def attach(
    url: str | None,
    control: bool,
    token: str | None,
    web: bool,
    web_port: int,
    replay: Path | None,
    record: Path | None,
    report: Path | None,
    patient: bool,
) -> int:
    """Watch a gateway that already runs, at URL or where this machine's stack is."""
    if report is not None:
        from lab.dashboard.report import write

        if replay is None:
            raise UserError("--report needs the recording that it is about: --replay FILE")
        write(replay, report)
        print(f"wrote {report}")
        return 0
    if replay is not None:
        need_terminal()
        app = Dashboard(replay=Replay(replay))
        return finish(app, app.run_async())
    url, found = where(url, token)
    if not web:
        need_terminal()
    if not patient:
        knock(url, found, say=lambda words: click.echo(words, err=True))
    if web:
        return serve(url, token, control, web_port)
    calls = Control(url, found)

    def newest() -> str:
        """A stack that is started again has another token."""
        calls.token = token or token_here(url) or calls.token
        return calls.token

    app = Dashboard(
        lambda status: follow(url, newest, status),
        control=calls if control else None,
        traffic=Traffic(url) if control else None,
        trouble=trouble_for(url, found) if control else None,
        recorder=Recorder(record) if record else None,
        fetch=calls.snapshot,
    )

    async def run() -> None:
        leave_on_signals(app)
        try:
            await app.run_async()
        finally:
            await app.let_go()
            await calls.aclose()

    return finish(app, run())


def serve(url: str, token: str | None, control: bool, port: int) -> int:
    """The dashboard in browsers: each visitor gets a process of `lab attach`, and none a stack of its own."""
    from textual_serve.server import Server

    port_table.check({"the web dashboard": port})
    command = [sys.executable, "-m", "lab", "attach", url, "--patient", *(["--control"] if control else [])]
    if token:  # for the children; not on a command line that others can see
        os.environ["GATEWAY_ADMIN_TOKEN"] = token
    Server(shlex.join(command), host=port_table.HOST, port=port, title="Gateway Lab").serve()
    return 0


def trouble_for(url: str, token: str) -> Trouble | None:
    """For the stack of this machine whose gateway is at `url`; None where its services are not known."""
    run = runfile.read()
    if run is None or run.gateway_url != url:
        return None
    return Trouble({name: each for name, each in run.urls.items() if name != "gateway"}, url, token)


def leave_on_signals(app: Dashboard) -> None:
    """A closed terminal or a polite kill ends the app like its own key: the stack is stopped, not left."""
    for name in ("SIGTERM", "SIGHUP"):
        with contextlib.suppress(NotImplementedError, AttributeError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), app.exit)


def finish(app: Dashboard, run: Coroutine[Any, Any, None]) -> int:
    """Run the app to its end; its exit status."""
    asyncio.run(run)
    if app.failure:
        raise UserError(app.failure)
    return app.return_code or 0
