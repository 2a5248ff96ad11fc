"""`lab doctor`: what could keep the lab from running, each finding with what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement

from lab import settings
from lab.launcher import ports, runfile, undo

PYTHON = (3, 11)
DESCRIPTORS = 4096
"""Open files that the gateway may need: `limits.max_connections` clients, each with a connection onwards."""
SMALLEST_TERMINAL = (80, 24)
DISK = 200_000_000
"""Free bytes below which logs and recordings get tight."""

Level = Literal["ok", "note", "bad"]
"""`note`: something works less well than it could. `bad`: the lab will not run."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    seen: str
    todo: str = ""


def examine(wanted: dict[str, int]) -> list[Finding]:
    """Everything, in the order in which it should be put right."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        python,
        packages,
        event_loop,
        lambda: port_findings(wanted),
        leftovers,
        run_file,
        scenario,
        environment,
        configuration,
        descriptors,
        terminal,
        disk,
    ]
    return [finding for check in checks for finding in check()]


def python() -> Iterator[Finding]:
    version = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    if sys.version_info >= PYTHON:
        yield Finding("ok", "python", version)
    else:
        yield Finding("bad", "python", version, f"install Python {PYTHON[0]}.{PYTHON[1]} or newer")


def packages() -> Iterator[Finding]:
    """The installed versions against those that the lab was tested with."""
    pins = Path(__file__).resolve().parents[2] / "constraints.txt"
    if not pins.is_file():
        yield Finding("note", "packages", "no constraints.txt here, versions not compared")
        return
    missing, other, count = [], [], 0
    for requirement in read_pins(pins.read_text(encoding="utf-8")):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            other.append(f"{requirement.name} {installed} (tested: {requirement.specifier})")
    again = "remove .venv and run: python3 -m lab"
    if missing:
        yield Finding("bad", "packages", f"{len(missing)} of {count} missing: {_some(missing)}", again)
    if other:
        yield Finding("note", "packages", f"{len(other)} of {count} differ: {_some(other)}", again)
    if not missing and not other:
        yield Finding("ok", "packages", f"all {count} as tested")


def read_pins(text: str) -> list[Requirement]:
    """The `name==version` lines of a constraints file, without their hashes."""
    pins = []
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            with contextlib.suppress(InvalidRequirement):
                pins.append(Requirement(line.removesuffix("\\").strip()))
    return pins


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def event_loop() -> Iterator[Finding]:
    if sys.platform == "win32":
        yield Finding("note", "event loop", "asyncio; uvloop does not exist for Windows, figures are lower")
    elif importlib.util.find_spec("uvloop") is None:
        yield Finding(
            "note", "event loop", "asyncio; figures are lower than with uvloop", "pip install uvloop"
        )
    else:
        yield Finding("ok", "event loop", f"uvloop {metadata.version('uvloop')}")


def port_findings(wanted: dict[str, int]) -> Iterator[Finding]:
    for name, port in sorted(wanted.items(), key=lambda item: item[1]):
        what = f"port {port}"
        if ports.is_free(port):
            yield Finding("ok", what, f"free for {name}")
            continue
        holder = ports.holder(port)
        if holder is not None and holder.ours:
            yield Finding("ok", what, f"{name} of a lab that runs (process {holder.pid})")
        else:
            seen, _, todo = str(ports.PortInUse(name, port, holder)).partition("; ")
            yield Finding("bad", what, seen, todo)


def leftovers() -> Iterator[Finding]:
    found = ports.leftovers()
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        yield Finding("bad", "leftovers", f"processes of an earlier lab run: {pids}", "lab doctor --fix")
    else:
        yield Finding("ok", "leftovers", "no process of an earlier run is alive")


def run_file() -> Iterator[Finding]:
    run = runfile.load()
    if run is None:
        yield Finding("ok", "running lab", "none")
    elif run.alive:
        yield Finding("ok", "running lab", f"{run.gateway_url}, process {run.pid}")
    else:
        yield Finding("note", "running lab", f"{runfile.path()} is of a lab that is gone", "lab doctor --fix")


def scenario() -> Iterator[Finding]:
    """Whether a scenario's settings are still in the gateway, though whoever played it was killed."""
    found = undo.state()
    if found == "killed":
        seen = "one was killed: the gateway is still set as it needed it"
        yield Finding("bad", "scenarios", seen, "lab doctor --fix")
    elif found == "gone":
        yield Finding("note", "scenarios", f"{undo.path()} is of a lab that is gone", "lab doctor --fix")
    else:
        seen = "one is being played" if found == "playing" else "none left its settings behind"
        yield Finding("ok", "scenarios", seen)


def environment() -> Iterator[Finding]:
    inside = sys.prefix != sys.base_prefix
    yield Finding("ok", "environment", sys.prefix if inside else f"{sys.prefix}, no virtual environment")
    ours = sorted(name for name in os.environ if name.startswith(("GATEWAY_", "LAB_")))
    if ours:
        yield Finding(
            "note", "variables", f"set, and heeded: {', '.join(ours)}", "unset what you did not mean"
        )
    proxies = [
        name for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY") if os.environ.get(name)
    ]
    exempt = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    if proxies and "127.0.0.1" not in exempt:
        todo = "export no_proxy=127.0.0.1,localhost (the lab itself ignores the proxy)"
        yield Finding("note", "web proxy", f"{proxies[0]} would also catch curl to 127.0.0.1", todo)


def configuration() -> Iterator[Finding]:
    source = os.environ.get("GATEWAY_CONFIG") or "built-in defaults"
    try:
        settings.load()
    except settings.ConfigError as error:
        yield Finding("bad", "configuration", str(error), "correct that key")
    else:
        yield Finding("ok", "configuration", source)


def descriptors() -> Iterator[Finding]:
    if sys.platform == "win32":
        yield Finding("ok", "open files", "no limit on Windows")
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        yield Finding("ok", "open files", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}")
    else:
        todo = f"ulimit -n {DESCRIPTORS}"
        yield Finding("note", "open files", f"up to {soft}, few for a load test", todo)


def terminal() -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or locale.getpreferredencoding(False)).lower().replace("-", "")
    if encoding != "utf8":
        todo = "export PYTHONUTF8=1, and a UTF-8 locale"
        yield Finding("note", "characters", f"{encoding}: charts are drawn with UTF-8 ones", todo)
    if not sys.stdout.isatty():
        yield Finding("ok", "terminal", "none: the dashboard needs one, the other commands do not")
        return
    columns, lines = shutil.get_terminal_size()
    colours = describe_colours(os.environ)
    seen = f"{columns}×{lines}, {colours}"
    if columns < SMALLEST_TERMINAL[0] or lines < SMALLEST_TERMINAL[1]:
        yield Finding("note", "terminal", seen, "the dashboard wants at least 80×24")
    elif colours == "no colour":
        yield Finding("note", "terminal", seen, "unset NO_COLOR, or export TERM=xterm-256color")
    else:
        yield Finding("ok", "terminal", seen)


def describe_colours(environ: os._Environ[str] | dict[str, str]) -> str:
    if environ.get("NO_COLOR") or environ.get("TERM", "") == "dumb":
        return "no colour"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or sys.platform == "win32":
        return "16 million colours"
    return "256 colours" if "256" in environ.get("TERM", "") else "16 colours"


def disk() -> Iterator[Finding]:
    folder = runfile.home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding("bad", "disk", f"{folder}: {error.strerror}", "set LAB_HOME to a folder you may write")
        return
    if not os.access(folder, os.W_OK):
        yield Finding("bad", "disk", f"{folder} is not writable", "set LAB_HOME to a folder you may write")
    elif free < DISK:
        yield Finding("note", "disk", f"{free / 1e6:.0f} MB free for {folder}", "make room")
    else:
        yield Finding("ok", "disk", f"{free / 1e9:.0f} GB free for {folder}")


def fix() -> list[str]:
    """End what earlier runs left behind; the value says what was done.

    Raises `UserError` where a scenario's settings cannot be put back.
    """
    done = []
    found = ports.leftovers()
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            done.append(f"ended process {process.pid}, left over from an earlier run")
    psutil.wait_procs(found, timeout=2)
    run = runfile.load()
    if run is not None and not run.alive:
        runfile.remove()
        done.append(f"removed {runfile.path()}, of a lab that is gone")
    if undo.state() in ("killed", "gone"):
        put_back = asyncio.run(undo.leftover())
        done.append("set the gateway as it was before the scenario" if put_back else f"removed {undo.path()}")
    return done
