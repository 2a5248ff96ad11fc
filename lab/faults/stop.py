"""Stopped: the process does nothing (SIGSTOP), but holds its port and its connections.

    service  ▓▓▓▓▓▓▓░░░░░░░░░░░░▓▓▓▓▓▓
                    ▲           ▲
    watchdog ──ready┘SIGSTOP    └SIGCONT: its time is over, or it was told to clear

A stopped process cannot wake itself, so it first starts a watchdog: a child that stops it, answers in its
place at the side door, and wakes it whatever becomes of those who asked.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.faults.model import Active, FaultError, ProcessFault

if TYPE_CHECKING:
    from lab.faults.target import Target

WATCHDOG = Path(__file__).with_name("watchdog.py")


class Stop(ProcessFault):
    kind: Literal["stop"] = "stop"

    @property
    def label(self) -> str:
        return "stopped"

    async def begin(self, target: Target, active: Active) -> None:
        if not hasattr(signal, "SIGSTOP"):
            raise FaultError("this system cannot stop a process; 'refuse' and 'hang' come close")
        door = target.listener.side_door_socket()
        try:
            active.held = await asyncio.to_thread(self._start, active, door)
        finally:
            door.close()

    def _start(self, active: Active, door: socket.socket) -> subprocess.Popen[bytes]:
        told = {"ends": active.expires, "fault": active.describe(active.expires - self.ttl)}
        # -I -S: nothing but the standard library, so that it is there in a few hundredths of a second.
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(WATCHDOG), str(door.fileno()), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[door.fileno()],
        )
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            child.kill()
            child.wait()
            raise FaultError("the watchdog that would wake the process did not start")
        return child

    async def answered(self, target: Target, active: Active) -> None:
        child: subprocess.Popen[bytes] = active.held
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"stop\n")
        child.stdin.flush()
        # Blocks the loop on purpose, so that nothing more is answered until the signal has come. Here the
        # process is stopped. When it runs again, the watchdog has ended, and with it the pipe.
        child.stdout.read()
        await target.clear(active.name, active)

    async def end(self, target: Target, active: Active) -> None:
        child: subprocess.Popen[bytes] = active.held
        child.kill()  # it has done its work, or was never told to
        await asyncio.to_thread(child.wait)
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()
