"""Which gateway is watched: its address, its token, and whether it answers, before a screen is opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from lab.address import address
from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile

PATIENCE = 3.0
"""Seconds that a gateway has to answer."""
STARTING = 20.0
"""Seconds that this machine's own has: its launcher lives, so it may only just have been started."""
PAUSE = 0.2
"""Seconds between two attempts."""


def where(url: str | None, token: str | None) -> tuple[str, str]:
    """The gateway's address and token, from what was given or the run file. Raises `UserError`."""
    run = runfile.read()
    if url is None:
        if run is None and not token:
            raise UserError(
                "no stack runs here; start one with `lab`, or name one: lab attach URL --token TOKEN"
            )
        url = run.gateway_url if run else f"http://{port_table.HOST}:{port_table.DEFAULT['gateway']}"
    url = address(url)
    token = token or token_here(url)
    if not token:
        raise UserError(f"the token of {url} is needed: --token TOKEN, or set GATEWAY_ADMIN_TOKEN")
    return url, token


def token_here(url: str) -> str | None:
    """The token of the gateway at `url`, where it is this machine's stack; each start makes another."""
    run = runfile.read()
    mine = run is not None and url.replace("localhost", port_table.HOST) == run.gateway_url
    return run.admin_token if run and mine else None


def knock(
    url: str,
    token: str,
    *,
    patience: float | None = None,
    say: Callable[[str], None] = lambda words: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once the gateway at `url` lets `token` in. Raises `UserError`: what was tried, what to do.

    A port where nobody listens is tried again for `patience` seconds, by default `PATIENCE` or `STARTING`,
    and `say` hears that it is waited for; a refusal is told at once.
    """
    if patience is None:
        patience = PATIENCE if token_here(url) is None else STARTING
    until, waiting = clock() + patience, False
    while True:
        try:
            status = _ask(urlsplit(url), token, max(until - clock(), 0.1))
        except HTTPException:
            raise UserError(f"what answers at {url} does not speak HTTP; is it the gateway's port?") from None
        except OSError as error:
            problem = "no answer" if isinstance(error, TimeoutError) else error.strerror or "no connection"
            if clock() + PAUSE >= until:
                raise UserError(
                    f"nobody answers at {url} (tried for {patience:g} s: {problem.lower()}); "
                    "start a stack with `lab up`, or name another one: lab attach URL"
                ) from None
            if not waiting:
                say(f"waiting for the gateway at {url} …")
            waiting = True
            sleep(PAUSE)
        else:
            break
    if status == 401:
        raise UserError(f"{url}: the token is wrong; give the gateway's own: --token TOKEN")
    if status == 403:
        raise UserError(f"{url}: the gateway has no admin token; start it with GATEWAY_ADMIN_TOKEN set")
    if status != 200:
        raise UserError(f"what answers at {url} is no gateway of the lab: {status} for /admin/snapshot")


def _ask(parts: SplitResult, token: str, timeout: float) -> int:
    """The status of `GET /admin/snapshot`. Raises OSError and HTTPException."""
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        path = parts.path + "/admin/snapshot"
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()
