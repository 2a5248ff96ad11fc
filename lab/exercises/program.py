"""Starts a submission as the program that it is, finds out where it listens, and ends all that it started.

What is tried, in this order, until something listens:

    1. python exercise.py                       with PORT in the environment
    2. python exercise.py --port PORT           where that ended with an error
    3. python exercise.py PORT                  likewise
    4. the file imported, and then
         uvicorn exercise:app                   what is called app, application or gateway
         uvicorn --factory exercise:create_app  or make_app, build_app, get_app
         exercise.main()                        or run, serve, start

A program that listens on another port than PORT is asked there: what its processes listen on can be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import multiprocessing
import os
import runpy
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from lab.exercises.agent import Complaint, Message, load_file, raised_by

START = 15.0
"""Seconds until it must listen."""
ELSEWHERE = 0.5
"""Seconds that an idle program which listens on another port is given to listen on PORT as well."""
FIRST_LOOK, LAST_LOOK = 0.01, 0.1
"""Seconds between two looks at where a program listens: few at first, then more and more."""
RARE = 5
"""Every so many looks are at the processes that it started, too, which takes a look at all there are."""

APPS = ("app", "application", "gateway")
FACTORIES = ("create_app", "make_app", "build_app", "get_app")
MAINS = ("main", "run", "serve", "start")

OWN_FILES = Path("/proc/self/fd")
"""Where a process finds its open files; where there is no such folder, it is looked at from outside only."""

WARM = ["lab.exercises.catalog", "lab.exercises.agent", "lab.exercises.program", "lab.exercises.warm"]
"""What a process is forked with: what gateways load, and what multiprocessing loads of ours in each one."""
BOOKS = threading.Lock()
"""multiprocessing keeps books of what it has started, and does not expect several threads there."""


@dataclass(frozen=True)
class Place:
    """Where a program listens."""

    host: str
    port: int


# -- in the program's own process ----------------------------------------------------------------------------


def as_script(path: Path, arguments: list[str]) -> None:
    """What `python exercise.py ARGUMENT…` does."""
    sys.argv = [path.name, *arguments]
    sys.orig_argv = [sys.executable, *sys.argv]  # what a program goes by that starts itself anew, to reload
    runpy.run_path(str(path), run_name="__main__")


def as_module(path: Path, port: int) -> None:
    """What `uvicorn exercise:app` does, or `uvicorn --factory exercise:create_app`, or a call of `main()`."""
    import uvicorn

    sys.argv = [path.name]
    module = load_file(path)
    if app := first(module, APPS):
        uvicorn.run(app, host="127.0.0.1", port=port)
    elif factory := first(module, FACTORIES):
        uvicorn.run(factory, host="127.0.0.1", port=port, factory=True)
    elif main := first(module, MAINS):
        if inspect.isawaitable(work := main()):
            asyncio.run(to_end(work))
    else:
        raise Complaint(f"{path.name} has no app, no create_app() and no main()")


async def to_end(work: Any) -> None:
    await work


def first(module: Any, names: tuple[str, ...]) -> Callable[..., Any] | None:
    """The first of these names that the module has, where it can be called."""
    return next((found for name in names if callable(found := getattr(module, name, None))), None)


def run(
    way: Callable[..., None],
    path: Path,
    given: Any,
    env: dict[str, str],
    told: Connection,
    shown: Connection,
) -> None:
    """Go one way; show where it listens, and tell what it was that ended it."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that what it starts can be ended with it
    threading.Thread(target=end_with_parent, name="end-with-parent", daemon=True).start()
    if OWN_FILES.exists():
        looking = partial(show_places, shown, env["PORT"])
        threading.Thread(target=looking, name="show-places", daemon=True).start()
    empty_input()
    os.environ.update(env)
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))
    try:
        way(path, given)
    except SystemExit:
        raise
    except BaseException as error:
        told.send(raised_by(error, path)["raised"])
        raise


def empty_input() -> None:
    """Let standard input be file 0, and empty.

    multiprocessing puts /dev/null there under another number, which does not reach a program's own children:
    those of `uvicorn.run("exercise:app", reload=True)` end at it.
    """
    with open(os.devnull, encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)


def end_with_parent() -> None:
    """Whoever started the program may be killed, and then nobody else would end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def show_places(shown: Connection, wanted: str) -> None:
    """Show where this process listens, each place once, until it is the wanted port."""
    known: set[Place] = set()
    until = time.monotonic() + START
    with contextlib.suppress(OSError):  # whoever asked has gone
        while time.monotonic() < until:
            for place in own_places() - known:
                known.add(place)
                shown.send(place)
                if place.port == int(wanted):
                    return
            time.sleep(FIRST_LOOK)


def own_places() -> set[Place]:
    """Where this process listens: those of its files that are sockets and listen."""
    found = set()
    for name in os.listdir(OWN_FILES):
        with contextlib.suppress(OSError):  # it has been closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
                    if internet and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        host, port = sock.getsockname()[:2]
                        found.add(place_of(host, port))
    return found


def place_of(host: str, port: int) -> Place:
    """Where somebody on this machine reaches whoever listens at that address."""
    return Place("::1" if host == "::1" else "127.0.0.1", port)


# -- in the process that starts it ---------------------------------------------------------------------------


class Program:
    """The submission at `path` as a program with these environment variables. To be stopped."""

    def __init__(self, path: Path, env: dict[str, str]) -> None:
        self._path = path
        self._env = env
        self._process: Any = None
        self.elsewhere = False
        """Whether it listens on a port of its own choice: a second one at the same time could not have it."""

    def start(self) -> Place | list[Message]:
        """Where it listens, or what was tried and how that ended: {command, status, raised}.

        Raises `Complaint` where it goes on for `START` seconds and does not listen.
        """
        until = time.monotonic() + START
        name = self._path.name
        tried: list[Message] = []
        for arguments in ([], ["--port", "PORT"], ["PORT"]):
            command = " ".join(["python", name, *arguments])
            port = free_port()
            given = [str(port) if each == "PORT" else each for each in arguments]
            if isinstance(end := self._go(as_script, given, port, until, command), Place):
                return end
            tried.append(end)
            if end["status"] == 0:
                break  # it has no complaint: it just does not serve when it is run
        port = free_port()
        if isinstance(end := self._go(as_module, port, port, until, f"import {name}"), Place):
            return end
        return [*tried, end]

    def _go(
        self, way: Callable[..., None], given: Any, port: int, until: float, command: str
    ) -> Place | Message:
        """Go one way: where it listens then, or how it ended."""
        self.stop()
        context: Any = kind_of_process()
        hears, tells = context.Pipe(duplex=False)
        sees, shows = context.Pipe(duplex=False)
        env = {**self._env, "PORT": str(port)}
        with hears, sees:
            with tells, shows, BOOKS:
                given = way, self._path, given, env, tells, shows
                self._process = context.Process(target=run, args=given)
                self._process.start()
            if place := self._listens(sees, port, until, command):
                self.elsewhere = place.port != port
                return place
            with BOOKS:
                self._process.join()
                status = self._process.exitcode
            raised = None
            with contextlib.suppress(EOFError, OSError):  # it has told nothing
                raised = hears.recv() if hears.poll() else None
            return {"command": command, "status": status, "raised": raised}

    def _listens(self, sees: Connection, port: int, until: float, command: str) -> Place | None:
        """Where it listens, as soon as it does; None where it ends before."""
        looks, pause, elsewhere = 0, FIRST_LOOK, time.monotonic()
        places: dict[int, Place] = {}
        signs = [self._process.sentinel, sees]
        while not self._ended():
            # A program that has itself exchanged for another one (execve) runs on with nothing of ours in it:
            # both signs say that they are over, and it can only be looked at from outside.
            ready = wait(signs, pause)
            now = time.monotonic()
            if self._process.sentinel in ready:
                signs.remove(self._process.sentinel)
            elif sees in ready:
                try:
                    place: Place = sees.recv()
                    places[place.port] = place
                except (EOFError, OSError):
                    signs.remove(sees)
            else:
                looks, pause = looks + 1, min(LAST_LOOK, 1.2 * pause)
                deep = looks % RARE == 0
                if deep or not OWN_FILES.exists():
                    places = listening(self._process.pid, port, deep)
            if port in places:
                return places[port]
            if not places or busy(self._process.pid):
                elsewhere = now
            elif now - elsewhere > ELSEWHERE:
                return places[min(places)]
            if now > until:
                raise Complaint(f"`{command}` went on for {START:g} seconds and did not listen on PORT")
        return None

    def _ended(self) -> bool:
        with BOOKS:
            return self._process.exitcode is not None

    def stop(self) -> None:
        """End it, and every process that it started."""
        if self._process is None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):  # all gone, or it has not come so far that it has a group
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            with contextlib.suppress(psutil.Error):
                for one in psutil.Process(self._process.pid).children(recursive=True):
                    one.kill()
        with BOOKS:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = None


def kind_of_process() -> Any:
    """How a process is made: with the libraries loaded already where the system can do so safely.

    A fork has all that we have; where threads of ours run, it comes from a server without any.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    if threading.active_count() == 1:
        return multiprocessing.get_context("fork")
    multiprocessing.set_forkserver_preload(WARM)
    return multiprocessing.get_context("forkserver")


def get_ready() -> None:
    """Begin what `kind_of_process` needs where there will be threads: it takes a second beside other work."""
    if sys.platform == "linux":
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(WARM)
        forkserver.ensure_running()


def free_port() -> int:
    with socket.socket() as sock:
        if os.name == "posix":  # what others have closed just now counts as free
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def busy(pid: int) -> bool:
    """Whether a process is at work, or would be if a core were free; False where the system does not tell."""
    with contextlib.suppress(psutil.Error):
        return OWN_FILES.exists() and psutil.Process(pid).status() != psutil.STATUS_SLEEPING
    return False


def listening(pid: int, port: int, deep: bool) -> dict[int, Place]:
    """Where a process listens, and with `deep` those that it started; by port."""
    found: dict[int, Place] = {}
    try:
        root = psutil.Process(pid)
        for process in [root, *(root.children(recursive=True) if deep else ())]:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    place = place_of(connection.laddr.ip, connection.laddr.port)
                    found[place.port] = place
    except (psutil.Error, OSError):  # it has just ended; or there is no /proc here
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            found[port] = Place("127.0.0.1", port)
    return found
