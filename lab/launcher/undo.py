"""How the gateway was set before a scenario changed it, on disk while that lasts: `.lab/undo.json`.

    runner ──writes──▶ undo.json                  a scenario puts back what it changed, and deletes the file
      │ pipe
      └────▶ guard    ──▶ end of the pipe?        the guard does, where the runner was killed
             lab doctor --fix, lab run --attach   and these, where both were

It is put back only on the gateway that it was taken from; one that was started anew has its configuration's
policies anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    held: list[str] = field(default_factory=list)
    """Services whose breaker was not closed even then; what it was is not for us to end."""
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


async def now(url: str, control: Control) -> Before:
    """How the gateway at `url` is set at this moment."""
    held = not_closed(await control("GET", "/snapshot"))
    return Before(url, await control("GET", "/policies"), await control("GET", "/services"), held)


def settings_of(policy: dict[str, Any]) -> dict[str, Any]:
    """Of what the admin API says of a policy, that which can be set."""
    return {key: policy[key] for key in ("enabled", "use", "options") if policy[key] is not None}


def not_closed(snapshot: dict[str, Any]) -> list[str]:
    """The services whose breakers refuse or probe."""
    states = {name: each.get("breaker", {}).get("state") for name, each in snapshot["services"].items()}
    return [name for name, state in states.items() if state not in ("closed", None)]


async def restore(before: Before, control: Control) -> None:
    """Set the policies and services as they were, and close breakers that were closed.

    Does what it can, then raises the first `UserError`.
    """
    first: UserError | None = None

    async def put(method: str, path: str, body: Any = None) -> None:
        nonlocal first
        try:
            await control(method, path, body)
        except UserError as error:
            first = first or error

    policies = await control("GET", "/policies")
    for name, policy in before.policies.items():
        if settings_of(policy) != settings_of(policies[name]):
            await put("PUT", f"/policies/{name}", settings_of(policy))
    services = await control("GET", "/services")
    for name in services.keys() - before.services.keys():
        await put("DELETE", f"/services/{name}")
    for name, settings in before.services.items():
        if settings != services.get(name):
            await put("PUT", f"/services/{name}", settings)
    for name in not_closed(await control("GET", "/snapshot")):
        if name in before.services and name not in before.held:
            await put("PUT", f"/breakers/{name}", {"state": "closed"})
            await put("PUT", f"/breakers/{name}", {"state": "auto"})
    if first is not None:
        raise first


def state(folder: Path | None = None) -> str:
    """What the file means now: "none" (there is none), "playing", "killed" (to be put back), or "gone" (its
    stack is).
    """
    before, run = read(folder), runfile.read(folder)
    if before is None:
        return "none"
    if run is None or run.gateway_url != before.url or run.started != before.stack:
        return "gone"
    return "playing" if _is_playing(before) else "killed"


def _is_playing(before: Before) -> bool:
    """Whether the runner that wrote it down still lives, and is another process than this one."""
    return before.pid != os.getpid() and runfile.lives(before.pid, before.born)


async def leftover(folder: Path | None = None) -> bool:
    """Put back what a killed runner left in the stack that runs; True where there was something.

    Raises `UserError` where another runner is playing on that stack now.
    """
    found, before, run = state(folder), read(folder), runfile.read(folder)
    if found == "none" or before is None:
        return False
    if found == "gone" or run is None:
        forget(folder)
        return False
    if found == "playing":
        raise UserError(f"another scenario is being played on this gateway (process {before.pid})")
    import httpx  # 0.1 s that nobody waits for where there is nothing to do

    write(before, folder or runfile.home())  # now it is our work, should somebody else look
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


# -- the guard -----------------------------------------------------------------------------------------------

GUARD = "import sys; sys.stdin.buffer.read(); from lab.launcher import undo; undo.take_over()"
"""Waits for the end of the pipe before it imports anything: nearly always there is nothing to do."""


@contextlib.asynccontextmanager
async def guard(folder: Path) -> AsyncIterator[None]:
    """Within the block a child stands by, which puts back what we wrote down in `folder` if we are killed."""
    group: dict[str, Any] = {"process_group": 0}  # Ctrl-C in the terminal is not for it
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    devnull = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GUARD, str(folder), str(os.getpid())),
        **{"stdin": asyncio.subprocess.PIPE, "stdout": devnull, "stderr": devnull, **group},
    )
    try:
        yield
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()


def take_over() -> None:
    """The guard, once the process that it stood by for has ended."""
    folder, runner = Path(sys.argv[1]), int(sys.argv[2])
    before = read(folder)
    if before is None or before.pid != runner:
        return  # all was put back, or somebody else is at it
    for _ in range(100):
        if not runfile.lives(runner, before.born):
            break
        time.sleep(0.02)  # its pipe ends a moment before it does
    with contextlib.suppress(UserError):
        asyncio.run(leftover(folder))
