"""The stack: the two services and the gateway as processes that are started, probed, restarted and stopped.

A viewer reads `Stack.processes` and is told of changes through `on_change` and `on_line`. All of it runs in
the asyncio loop that called `start`; that loop, and its thread, must live as long as the stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab import settings
from lab.errors import UserError
from lab.launcher import ports as port_table
from lab.launcher import runfile
from lab.launcher.ports import PortInUse
from lab.launcher.tail import Tail

if TYPE_CHECKING:
    import httpx

State = Literal["stopped", "starting", "healthy", "unhealthy", "crashed", "stopping"]

APPS = {"service-a": "service_a:app", "service-b": "service_b:app", "gateway": "gateway:app"}
LOG_FILES = 20
"""Log files that are kept; stacks on other ports than usual have files of their own."""
LOG_LINES = 500
"""Lines of a process's output that are kept in memory."""
STARTING, HEALTHY = 0.05, 1.0
"""Seconds between two probes, before and after the first good one."""
PROBE_TIMEOUT = 1.0
MISSES = 2
"""Failed probes in a row that make a healthy process unhealthy."""
SLOW_START = 15.0
"""Seconds after which a process that never answered counts as unhealthy."""
GIVE_UP = 4
"""Crashes in a row, each before the process was `STABLE` seconds old, after which it is not restarted."""
WRONGLY_USED = 2
"""The exit status of a process that cannot work as it is configured."""
STABLE = 10.0
BACKOFF = 0.25
"""Seconds before the first restart; each further one waits twice as long."""
GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL, short enough that all is gone two seconds after Ctrl-C. Whoever ends the
gateway in another way, with `kill`, gives it `limits.drain` seconds."""


class Process:
    """One of the three processes, as it is now."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.url = f"http://{port_table.HOST}:{port}"
        self.pid: int | None = None
        self.state: State = "stopped"
        self.detail = "not started yet"
        """Why it is in that state, one line."""
        self.since = time.time()
        """When it got into that state, Unix seconds."""
        self.restarts = 0
        """How often it was started again after a crash."""
        self.exit_status: int | None = None
        """Of its last end; minus the signal's number where a signal ended it."""
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.paused = False
        """Stopped by SIGSTOP through `Stack.pause_process`."""
        self.given_up = False
        """It crashed again and again and is not restarted by itself any more."""

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.state}: {self.detail}>"


def _no_change(process: Process) -> None: ...


def _no_line(process: Process, line: str) -> None: ...


class Stack:
    """Service A, service B and the gateway on `ports`, by default the usual ones.

    `config` is the gateway's configuration file, else what GATEWAY_CONFIG names; `env` is added to this
    process's environment for the children. `apps` replaces what the processes run (`module:app`), `home` is
    the folder for logs and the run file, which is written only if `announce`. Raises `settings.ConfigError`
    where the gateway could not start with this configuration.
    """

    def __init__(
        self,
        *,
        ports: Mapping[str, int] | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        apps: Mapping[str, str] | None = None,
        home: Path | None = None,
        announce: bool = True,
        on_change: Callable[[Process], None] = _no_change,
        on_line: Callable[[Process, str], None] = _no_line,
    ) -> None:
        self._apps = dict(apps or APPS)
        numbers = {**port_table.DEFAULT, **(ports or {})}
        self.ports = {name: numbers[name] for name in self._apps}
        self.processes = {name: Process(name, port) for name, port in self.ports.items()}
        self.gateway_url = f"http://{port_table.HOST}:{numbers['gateway']}"
        self.home = home or runfile.home()
        self.on_change = on_change
        self.on_line = on_line

        self._env = {**os.environ, **(env or {}), "PYTHONUNBUFFERED": "1"}
        if config is not None:
            self._env["GATEWAY_CONFIG"] = str(config)
        self.settings = settings.load(self._env)
        self.admin_token = self.settings.admin.token or secrets.token_urlsafe(24)
        self._gateway_env = {"GATEWAY_ADMIN_TOKEN": self.admin_token, **self._service_urls()}

        self._announce = announce
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._locks = {name: asyncio.Lock() for name in self.processes}
        self._changed = asyncio.Event()
        self._killed: set[str] = set()
        self._client: httpx.AsyncClient | None = None

    def _service_urls(self) -> dict[str, str]:
        """Overrides for services on other ports than usual; an address that the user chose stays."""
        overrides = {}
        for name, process in self.processes.items():
            usual = f"http://{port_table.HOST}:{port_table.DEFAULT.get(name)}"
            service = self.settings.services.get(name)
            if service is not None and service.url == usual != process.url:
                overrides[f"GATEWAY__SERVICES__{name.upper().replace('-', '_')}__URL"] = process.url
        return overrides

    # -- all of it -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Launch all processes at once. Raises `PortInUse`, and then nothing was started."""
        port_table.check(self.ports)
        self._remove_old_logs()
        try:
            await asyncio.gather(*(self.start_process(name) for name in self.processes))
        except BaseException:
            await self.stop(grace=0)
            raise
        if self._announce:
            urls = {name: process.url for name, process in self.processes.items()}
            runfile.write(self.gateway_url, urls, self.ports, self.admin_token, self.home)

    async def wait_healthy(self, timeout: float) -> bool:
        """Wait until all processes are healthy: False after `timeout` seconds, or once one has given up."""
        try:
            async with asyncio.timeout(timeout):
                while not all(p.state == "healthy" for p in self.processes.values()):
                    if any(p.given_up for p in self.processes.values()):
                        return False
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, grace: float = GRACE) -> None:
        """Stop all processes, the gateway first so that it can finish what it is doing.

        It gets `grace` seconds from SIGTERM on, the services, which nobody asks any more, half of that. What
        is left is killed; 0 kills at once.
        """
        others = [name for name in self.processes if name != "gateway"]
        if "gateway" in self.processes:
            await self.stop_process("gateway", grace)
        await asyncio.gather(*(self.stop_process(name, grace / 2) for name in others))
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._announce:
            runfile.remove(self.home)

    def kill(self) -> None:
        """Kill what still runs, for someone who does not want to wait for `stop`."""
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    # -- one of it -------------------------------------------------------------------------------------------

    async def start_process(self, name: str) -> None:
        """Launch one process; nothing where it runs already. Raises `PortInUse`."""
        async with self._locks[name]:
            if (keeper := self._keepers.get(name)) is not None and not keeper.done():
                return
            process = self.processes[name]
            if not port_table.is_free(process.port):
                raise PortInUse(name, process.port, await asyncio.to_thread(port_table.holder, process.port))
            process.given_up = False
            child, tail = await self._launch(process)
            self._keepers[name] = asyncio.create_task(self._keep(process, child, tail), name=f"keep {name}")

    async def stop_process(self, name: str, grace: float = GRACE) -> None:
        """Stop one process, which then stays down; killed where it needs more than `grace` seconds."""
        async with self._locks[name]:
            process = self.processes[name]
            keeper = self._keepers.pop(name, None)
            if keeper is None:
                return
            if (child := self._children.get(name)) is None:
                keeper.cancel()  # it waits for its next restart, or has given up
            else:
                self._set(process, "stopping", "asked to stop")
                if grace > 0:
                    self._ask_to_stop(process, child)
                    await asyncio.wait([keeper], timeout=grace)
                if not keeper.done():
                    with contextlib.suppress(ProcessLookupError):
                        child.kill()
            await asyncio.wait([keeper])
            process.given_up = False
            self._set(process, "stopped", "stopped on request")

    async def restart_process(self, name: str) -> None:
        """Stop one process and start it again."""
        await self.stop_process(name)
        await self.start_process(name)

    async def kill_process(self, name: str) -> None:
        """Kill one process without warning, as a crash would; it is restarted like after one."""
        if (child := self._children.get(name)) is not None:
            self._killed.add(name)
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    async def pause_process(self, name: str) -> None:
        """Freeze one process (SIGSTOP): it holds its port and its connections and answers nothing."""
        self._signal(name, "SIGSTOP", paused=True)

    async def resume_process(self, name: str) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._signal(name, "SIGCONT", paused=False)

    def _signal(self, name: str, signal_name: str, *, paused: bool) -> None:
        process, child = self.processes[name], self._children.get(name)
        number = getattr(signal, signal_name, None)
        if number is None:
            raise UserError("this system cannot freeze a process; stop it instead")
        if child is None or process.state == "stopping":
            return
        child.send_signal(number)
        process.paused = paused
        if paused:
            self._set(process, "unhealthy", "paused (SIGSTOP)")
        else:
            self._set(process, "starting", "resumed; not probed yet")

    def _ask_to_stop(self, process: Process, child: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError, ConnectionError):
            if sys.platform == "win32":
                assert child.stdin is not None
                child.stdin.write(b"stop\n")
                return
            child.terminate()
            if process.paused:
                child.send_signal(signal.SIGCONT)  # a frozen process does not see SIGTERM
                process.paused = False

    # -- behind it -------------------------------------------------------------------------------------------

    async def _launch(self, process: Process) -> tuple[asyncio.subprocess.Process, Tail]:
        log = self._log_path(process)
        log.parent.mkdir(parents=True, exist_ok=True)
        drain = math.ceil(self.settings.limits.drain) if process.name == "gateway" else 1
        env = {**self._env, **self._gateway_env} if process.name == "gateway" else dict(self._env)
        if process.name != "gateway":
            env.pop("GATEWAY_ADMIN_TOKEN", None)
        command = [sys.executable, "-m", "lab.launcher.child"]
        command += ["--name", process.name, "--app", self._apps[process.name], "--port", str(process.port)]
        command += ["--parent", str(os.getpid()), "--log", str(log), "--drain", str(drain)]
        # A process group of its own: Ctrl-C in the terminal reaches the launcher alone, which stops the
        # children in order. The same session, so that the kernel wakes a stopped child when we die.
        group: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        with log.open("ab") as output:
            tail = Tail(log)
            child = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=env, **group
            )
        self._children[process.name] = child
        process.pid, process.paused, process.exit_status = child.pid, False, None
        self._set(process, "starting", f"pid {child.pid}, not answering yet")
        return child, tail

    def _log_path(self, process: Process) -> Path:
        usual = process.port == port_table.DEFAULT.get(process.name)
        return self.home / "logs" / (f"{process.name}.log" if usual else f"{process.name}-{process.port}.log")

    def _remove_old_logs(self) -> None:
        with contextlib.suppress(OSError):  # another stack may be doing the same
            files = sorted(self.home.glob("logs/*"), key=lambda file: file.stat().st_mtime, reverse=True)
            for file in files[LOG_FILES:]:
                file.unlink()

    async def _keep(self, process: Process, child: asyncio.subprocess.Process, tail: Tail) -> None:
        """Stay with a process until it is stopped: read its log, probe it, restart it after a crash."""
        crashes = 0
        while True:
            launched = time.monotonic()
            helpers = [
                asyncio.create_task(self._probe(process)),
                asyncio.create_task(self._read(process, tail)),
            ]
            try:
                status = await child.wait()
            finally:
                for helper in helpers:
                    helper.cancel()
                del self._children[process.name]
                self._take_lines(process, tail)
                tail.close()
            process.pid, process.paused, process.exit_status = None, False, status
            if process.state == "stopping":
                return
            killed = process.name in self._killed
            self._killed.discard(process.name)
            stable = killed or time.monotonic() - launched >= STABLE
            crashes = 1 if stable else crashes + 1
            reason = describe_exit(status, process.log)
            if status == WRONGLY_USED:
                process.given_up = True
                self._set(process, "crashed", f"{reason}; not started again: that would not change it")
                return
            if crashes >= GIVE_UP:
                process.given_up = True
                self._set(process, "crashed", f"{reason}; {crashes} times in a row, not started again")
                return
            pause = BACKOFF * 2 ** (crashes - 1)
            self._set(process, "crashed", f"{reason}; starting again in {pause:g} s")
            await asyncio.sleep(pause)
            process.restarts += 1
            try:
                child, tail = await self._launch(process)
            except OSError as error:
                process.given_up = True
                self._set(process, "crashed", f"{reason}; cannot be started again: {error}")
                return

    async def _probe(self, process: Process) -> None:
        """Ask /health again and again and note what comes of it."""
        launched = time.monotonic()
        answered, misses = False, 0
        while True:
            problem = await self._ask_health(process)
            if process.state == "stopping":
                return
            if process.paused:
                pass
            elif problem is None:
                misses = 0
                if process.state != "healthy":
                    took = "" if answered else f", after {time.monotonic() - launched:.1f} s"
                    answered = True
                    self._set(process, "healthy", f"/health answers{took}")
            else:
                misses += 1
                patient = misses < MISSES if answered else time.monotonic() - launched < SLOW_START
                if not patient and (process.state, process.detail) != ("unhealthy", problem):
                    self._set(process, "unhealthy", problem)
            await asyncio.sleep(HEALTHY if answered else STARTING)

    async def _ask_health(self, process: Process) -> str | None:
        """None where the process is well, else what is wrong."""
        # Imported while the children start, and beside the loop, which has a screen to paint.
        httpx = await asyncio.to_thread(importlib.import_module, "httpx")
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=PROBE_TIMEOUT,
                verify=False,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),  # each probe shows that connecting works
            )
        try:
            response = await self._client.get(process.url + "/health")
        except httpx.TimeoutException:
            return f"/health does not answer within {PROBE_TIMEOUT:g} s"
        except httpx.HTTPError as error:
            return f"/health cannot be reached: {type(error).__name__}"
        return None if response.is_success else f"/health answers {response.status_code}"

    async def _read(self, process: Process, tail: Tail) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._take_lines(process, tail)

    def _take_lines(self, process: Process, tail: Tail) -> None:
        for line in tail.read():
            process.log.append(line)
            self.on_line(process, line)

    def _set(self, process: Process, state: State, detail: str) -> None:
        process.state, process.detail, process.since = state, detail, time.time()
        self._changed.set()
        self.on_change(process)


def describe_exit(status: int, log: deque[str]) -> str:
    """`ended by SIGKILL`, or `exit status 3: …` with the last line of the log."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    last = next((line for line in reversed(log) if line.strip()), "")
    return f"exit status {status}: {last.strip()[:200]}" if last else f"exit status {status}"
