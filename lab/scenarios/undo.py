"""How the gateway was set before a play, on disk while it lasts: `.lab/undo.json`.

A runner that is killed cannot put anything back. The next `lab run` finds the file and does, if the gateway
is still the same one; a gateway that was started anew has its configuration's policies anyway.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from lab.errors import UserError
from lab.launcher import runfile

Control = Callable[..., Awaitable[Any]]
"""`control(method, path, body)` on the admin API; raises `UserError`."""


@dataclass(frozen=True)
class Before:
    """The settings of one gateway."""

    url: str
    policies: dict[str, Any]
    services: dict[str, Any]
    pid: int = 0
    """The runner that is playing; as long as it lives, its changes are none of ours."""
    born: float = 0.0
    """When that process was created, Unix seconds: tells it from a later one of the same number."""
    stack: float = 0.0
    """When the stack was started (Unix seconds): one that came later has nothing to be undone."""


def path(folder: Path | None = None) -> Path:
    return (folder or runfile.home()) / "undo.json"


def write(before: Before, folder: Path) -> None:
    """Put it on disk, whole or not at all, for its owner only."""
    run = runfile.read(folder)
    data = {
        **asdict(before),
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        "stack": run.started if run else 0.0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"undo.{os.getpid()}.tmp"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(data), encoding="utf-8")
    os.replace(draft, path(folder))


def read(folder: Path | None = None) -> Before | None:
    try:
        return Before(**json.loads(path(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def forget(folder: Path | None = None) -> None:
    path(folder).unlink(missing_ok=True)


async def restore(before: Before, control: Control) -> None:
    """Set the policies and services as they were. Does what it can, then raises the first `UserError`."""
    first: UserError | None = None

    async def put(method: str, path: str, body: Any = None) -> None:
        nonlocal first
        try:
            await control(method, path, body)
        except UserError as error:
            first = first or error

    for name, policy in before.policies.items():
        kept = {key: policy[key] for key in ("enabled", "use", "options") if policy[key] is not None}
        await put("PUT", f"/policies/{name}", kept)
    for name in await control("GET", "/services"):
        if name not in before.services:
            await put("DELETE", f"/services/{name}")
    for name, settings in before.services.items():
        await put("PUT", f"/services/{name}", settings)
    if first is not None:
        raise first


async def leftover(folder: Path | None = None) -> bool:
    """Put back what a killed runner left in the stack that runs; True where there was something.

    Raises `UserError` where another runner is playing on that stack now.
    """
    before, run = read(folder), runfile.read(folder)
    if before is None:
        return False
    if run is None or run.gateway_url != before.url or run.started != before.stack:
        forget(folder)  # that stack is gone
        return False
    if _is_playing(before):
        raise UserError(f"another scenario is being played on this gateway (process {before.pid})")
    headers = {"Authorization": f"Bearer {run.admin_token}"}
    async with httpx.AsyncClient(base_url=run.gateway_url, headers=headers, trust_env=False) as client:

        async def control(method: str, path: str, body: Any = None) -> Any:
            try:
                answer = await client.request(method, "/admin" + path, json=body)
            except httpx.HTTPError as error:
                raise UserError(
                    f"{run.gateway_url} cannot be put back as it was: {type(error).__name__}"
                ) from None
            if not answer.is_success:
                raise UserError(f"{method} /admin{path} → {answer.status_code}: {answer.text[:200]}")
            return answer.json() if answer.content else None

        await restore(before, control)
    forget(folder)
    return True


def _is_playing(before: Before) -> bool:
    """Whether the runner that wrote it down still lives, and is another process than this one."""
    return before.pid != os.getpid() and runfile.lives(before.pid, before.born)
