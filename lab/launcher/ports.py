"""Ports: which the lab uses, whether they are free, and who holds them."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from lab.errors import UserError

DEFAULT = {"service-a": 8001, "service-b": 8002, "gateway": 8000}
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    command: str
    leftover: bool
    """A child of an earlier lab run, whose launcher is gone."""
    ours: bool
    """A child of a lab that runs."""


class PortInUse(UserError):
    """A port that the lab needs is taken; the text says by whom and what to do."""

    def __init__(self, name: str, port: int, holder: Holder | None) -> None:
        self.name, self.port, self.holder = name, port, holder
        other = "or use other ports: --port-base 9000"
        if holder is None:
            who, todo = "a process of another user", f"see it with: {ask_system(port)}; {other}"
        else:
            who = f"process {holder.pid} ({holder.command})"
            todo = f"end it with: {end_command(holder.pid)}; {other}"
            if holder.leftover:
                who, todo = f"{who}, left over from an earlier lab run", "end it with: lab doctor --fix"
            elif holder.ours:
                who, todo = f"{who}, of a lab that runs", f"look at it with: lab attach; {other}"
        super().__init__(f"port {port}, which {name} needs, is held by {who}; {todo}")


def end_command(pid: int) -> str:
    """What to type to end a process."""
    return f"taskkill /F /PID {pid}" if sys.platform == "win32" else f"kill {pid}"


def ask_system(port: int) -> str:
    """What to type to see who listens on a port, with more rights than we have."""
    if sys.platform == "win32":
        return f"netstat -ano | findstr :{port}"
    return f"sudo lsof -nP -iTCP:{port} -sTCP:LISTEN"


def from_base(base: int) -> dict[str, int]:
    """The three ports from `base` on, in the usual order; 0 is any that are free."""
    if base == 0:
        return free()
    if not 1 <= base <= 65_533:
        raise UserError(f"--port-base {base}: a number from 1 to 65533 was expected, or 0 for any free ports")
    return {name: base + port - DEFAULT["gateway"] for name, port in DEFAULT.items()}


def free() -> dict[str, int]:
    """Three different ports, each like `free_port`'s."""
    return {name: free_port() for name in DEFAULT}


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to nobody else for the next half minute.

    Between the choice and the server's start others ask the system for any port, or connect somewhere and
    get one. A connection that the server's end closed first leaves the port in TIME_WAIT (RFC 9293 §3.3.2):
    only who asks for it by its number gets it.
    """
    with socket.socket() as listener:
        if sys.platform != "win32":  # where the option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        listener.listen(1)
        port: int = listener.getsockname()[1]
        with socket.create_connection((HOST, port)) as client:
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)  # the other end has closed, and closed first
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now. Connections of a dead server that linger do not count."""
    with socket.socket() as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    if sys.platform == "darwin":  # lets one address be bound beside a listener on all of them
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) != 0
    return True


def check(ports: Mapping[str, int]) -> None:
    """Raise `PortInUse` for the first of these ports that is taken."""
    for name, port in ports.items():
        if not is_free(port):
            raise PortInUse(name, port, holder(port))


def holder(port: int) -> Holder | None:
    """Who listens on `port`; None where the system does not tell us."""
    pid = next((pid for listening, pid in _listeners() if listening == port), None)
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        arguments = process.cmdline() or [process.name()]
    except psutil.Error:
        return Holder(pid, "unknown command", leftover=False, ours=False)
    launcher = launcher_of(arguments)
    alive = launcher is not None and is_launcher(launcher, process)
    return Holder(pid, " ".join(arguments)[:120], leftover=launcher is not None and not alive, ours=alive)


def _listeners() -> list[tuple[int, int]]:
    """(port, pid) of the listening sockets that we may see."""
    found: list[tuple[int, int]] = []

    def note(connection: Any, pid: int | None) -> None:
        if connection.status == psutil.CONN_LISTEN and pid:
            found.append((connection.laddr.port, pid))

    try:
        for connection in psutil.net_connections("tcp"):
            note(connection, connection.pid)
    except psutil.Error:  # macOS tells only about one's own processes, one by one
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                for own in process.net_connections("tcp"):
                    note(own, process.pid)
    return found


def launcher_of(arguments: list[str]) -> int | None:
    """The launcher's pid, from the command line of one of the lab's children; None for other processes."""
    if "lab.launcher.child" not in arguments or "--parent" not in arguments[:-1]:
        return None
    value = arguments[arguments.index("--parent") + 1]
    return int(value) if value.isdecimal() else None


def is_launcher(pid: int, child: psutil.Process) -> bool:
    """Whether `pid` is still the process that started `child`, not a later one of the same number."""
    try:
        parent = psutil.Process(pid)
        return parent.status() != psutil.STATUS_ZOMBIE and parent.create_time() <= child.create_time()
    except psutil.Error:
        return False


def leftovers() -> list[psutil.Process]:
    """Children of earlier lab runs whose launcher is gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            launcher = launcher_of(process.cmdline())
            if launcher is None or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if not is_launcher(launcher, process):
                found.append(process)
    return found
