"""Where scenarios are played: a stack of one's own, or the one that runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile, undo
from lab.launcher.ports import PortInUse
from lab.launcher.stack import Stack
from lab.scenarios.play import Play

START_TIMEOUT = 60.0
ATTEMPTS = 3

CONFIG = {
    "GATEWAY_CONFIG": "",
    "GATEWAY__TRUSTED_PROXIES": '["127.0.0.0/8"]',
}
"""The built-in configuration, whatever the user's own says; and the runner may speak for many clients."""


@dataclass(frozen=True)
class Ground:
    """A stack on which plays are made."""

    url: str
    token: str
    services: Mapping[str, str]
    """The real services' addresses."""
    kill: Callable[[str], Awaitable[None]] | None = None
    folder: Path | None = None
    """Where what is changed is written down; None where the stack ends with the runner."""

    def play(self, *, cured: bool, seed: int, without: Collection[str] = ()) -> Play:
        return Play(
            self.url,
            self.token,
            cured=cured,
            services=dict(self.services),
            kill=self.kill,
            folder=self.folder,
            without=without,
            seed=seed,
        )


@contextlib.asynccontextmanager
async def own_stack(home: Path | None = None) -> AsyncIterator[Ground]:
    """A stack on free ports that ends with the block. Raises `UserError` where it does not start."""
    # No run file: nobody should attach to something that is gone in a moment.
    home = home or runfile.home() / "scenarios"
    stack = await _start(home)
    try:
        if not await stack.wait_healthy(START_TIMEOUT):
            unwell = next(p for p in stack.processes.values() if p.state != "healthy")
            raise UserError(f"the lab did not start: {unwell.name}: {unwell.detail} (logs: {home / 'logs'})")
        yield of(stack)
    finally:
        await stack.stop()


async def _start(home: Path) -> Stack:
    """A stack whose processes were launched; a free port may be taken by somebody else in between."""
    for attempts_left in reversed(range(ATTEMPTS)):
        stack = Stack(ports=port_table.free(), env=CONFIG, home=home, announce=False)
        try:
            await stack.start()
        except PortInUse:
            if not attempts_left:
                raise
        else:
            return stack
    raise AssertionError("the last attempt returns or raises")


def of(stack: Stack, folder: Path | None = None) -> Ground:
    """The ground that a stack of this process is."""
    services = {name: process.url for name, process in stack.processes.items() if name != "gateway"}
    return Ground(stack.gateway_url, stack.admin_token, services, stack.kill_process, folder)


@contextlib.asynccontextmanager
async def running_stack(folder: Path | None = None) -> AsyncIterator[Ground]:
    """The stack that runs, as the run file names it. Raises `UserError` where none does."""
    run = runfile.read(folder)
    if run is None:
        raise UserError("no lab runs that a scenario could be played on; start one with: lab up")
    await undo.leftover(folder)
    services = {name: url for name, url in run.urls.items() if name != "gateway"}
    yield Ground(run.gateway_url, run.admin_token, services, None, folder or runfile.home())
