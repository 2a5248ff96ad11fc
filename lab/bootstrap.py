"""From a bare Python to a complete environment, with the standard library alone.

`python3 -m lab` must work in a fresh clone on a machine that has Python and nothing else. `ensure` looks
whether this interpreter can run the lab; if it cannot, it makes `.venv` in the clone's root, installs what
`constraints.txt` pins (`constraints-dev.txt` for `lab test`), and continues in there.

    this interpreter has it all ────────────────────────────────────▶ run here
    .venv has it all (its stamp fits) ──────────────────────────────▶ run there
    .venv is missing, half-made, moved, damaged, of another Python ─▶ make it anew, install, stamp, run there
    .venv is sound but the pins have changed ───────────────────────▶ install over it, stamp, run there

The stamp is written last and withdrawn before the first package changes, so an interrupted set-up is never
taken for a finished one. All messages go to standard error: standard output belongs to the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = os.name == "nt"

USER = "user"
"""What running the lab takes."""
DEV = "dev"
"""That, and what its own tests and style checks take."""
PINS = {USER: "constraints.txt", DEV: "constraints-dev.txt"}

COULD_NOT_START = 2
"""The exit status where set-up failed: 1 would make `lab test` look like a suite with a failure."""

PIP_VARIABLES = (
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_NO_DEPS"),
    *("PIP_ONLY_BINARY", "PIP_NO_BINARY", "PIP_DRY_RUN", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON", "PIP_QUIET"),
    *("PYTHONHOME", "PYTHONPATH"),
)
"""Settings that would change what pip installs or where to; those that say where from (an index, a proxy, a
certificate) stay in force."""


class SetupFailed(Exception):
    """The environment could not be made; the text is one line for the person who waits for it."""


def ensure(arguments: list[str]) -> int | None:
    """Make sure that the lab can run; called with the command line's arguments.

    None: go on in this process. Otherwise an exit status, either of a set-up that failed or, on Windows, of
    the lab's run inside `.venv`; on POSIX this process has become that run and the call does not return.
    """
    level = DEV if arguments[:1] == ["test"] else USER
    environment = Environment(ROOT)
    try:
        ready, current = environment.fits(level), environment.is_current()
        if ready and current:
            return None
        if not current and (not ready or in_virtual_environment()) and has_requirements(ROOT, level):
            return None
        if not ready:
            Setup(environment).run(level)
        return continue_in(environment.python, arguments)
    except SetupFailed as failure:
        print(f"lab: {failure}", file=sys.stderr)
    except OSError as error:
        print(f"lab: set-up failed: {error.strerror or error}: {error.filename or ROOT}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nlab: set-up interrupted; the next start takes it up again", file=sys.stderr)
        return 130
    return COULD_NOT_START


def interpreter() -> str:
    """The Python that `lab test` runs in, for scripts that call other tools of the same environment."""
    environment = Environment(ROOT)
    if not environment.fits(DEV) and has_requirements(ROOT, DEV):
        return sys.executable
    return str(environment.python)


def in_virtual_environment() -> bool:
    """True where someone chose an environment themselves; that choice goes before `.venv`."""
    return sys.prefix != sys.base_prefix


def has_requirements(root: Path, level: str) -> bool:
    """True where this interpreter already has what pyproject.toml asks for, in versions that it allows."""
    try:
        from packaging.requirements import (
            Requirement,
        )  # is itself a requirement: without it, the answer is no
    except ImportError:
        return False
    import tomllib
    from importlib.metadata import PackageNotFoundError, version

    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except FileNotFoundError:
        return True  # not a clone but an installed package; whoever installed it took care of the rest
    lines: list[str] = project["dependencies"]
    if level == DEV:
        lines = lines + project["optional-dependencies"][DEV]
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                return False
        except PackageNotFoundError:
            return False
    return True


def continue_in(python: Path, arguments: list[str]) -> int:
    """Run the lab with `python` in this process's place; on Windows, beside it until it ends."""
    return replace_process([str(python), "-m", "lab", *arguments])


def replace_process(command: list[str]) -> int:
    """Become `command`. Windows has no such call: there the child's exit status is returned."""
    sys.stdout.flush()
    sys.stderr.flush()
    if not WINDOWS:
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            pass  # the console tells the child as well, and the child decides what it means


# -- the environment -----------------------------------------------------------------------------------------


class Environment:
    """The clone's `.venv` and the stamp in it that says what it was made from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".venv"
        self.scripts = self.path / ("Scripts" if WINDOWS else "bin")
        self.python = self.scripts / ("python.exe" if WINDOWS else "python")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.site = self.path / ("Lib" if WINDOWS else f"lib/{version}") / "site-packages"
        self.stamp = self.path / "gateway-lab.stamp"

    def is_current(self) -> bool:
        """True in a process that this environment's interpreter runs."""
        try:
            return os.path.samefile(sys.prefix, self.path)
        except OSError:
            return False

    def fits(self, level: str) -> bool:
        """True where nothing has to be done before the lab runs in it."""
        stamped, made_by, made_from = self._read()
        return stamped in (level, DEV) and made_by == self.maker() and made_from == self.digest()

    def is_sound(self) -> bool:
        """True where it is complete and of this place and Python, whatever the pins say by now."""
        level, made_by, _ = self._read()
        return level != "" and made_by == self.maker()

    def level(self) -> str:
        """USER or DEV as stamped, or nothing."""
        return self._read()[0]

    def maker(self) -> str:
        """Its place and its kind of Python: a moved clone or another Python needs a new environment."""
        return f"{sys.implementation.cache_tag} {sys.platform} {self.root}"

    def digest(self) -> str:
        """A digest of what is to be installed."""
        import hashlib

        found = hashlib.sha256()
        for name in (*PINS.values(), "pyproject.toml"):
            found.update((self.root / name).read_bytes())
        return found.hexdigest()

    def write_stamp(self, level: str) -> None:
        """Declare the environment complete."""
        partial = self.stamp.with_suffix(".partial")
        lines = [level, self.maker(), self.digest(), *sorted(self.installed())]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(self.stamp)

    def installed(self) -> set[str]:
        """The modules and packages in it, by file name."""
        try:
            return {
                name for name in os.listdir(self.site) if not name.endswith((".dist-info", "__pycache__"))
            }
        except OSError:
            return set()

    def _read(self) -> tuple[str, str, str]:
        try:
            level, maker, digest, *parts = self.stamp.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return "", "", ""
        # A link to an interpreter that was uninstalled meanwhile does not "exist", and without pyvenv.cfg it
        # is no environment's interpreter. What was added since may stay.
        sound = self.python.exists() and (self.path / "pyvenv.cfg").exists()
        return (level, maker, digest) if sound and self.installed().issuperset(parts) else ("", "", "")


# -- setting it up -------------------------------------------------------------------------------------------

Run = Callable[[list[str]], Iterable[str]]
"""Runs a command and yields its output line by line; raises `CalledProcessError` where it fails."""


class Setup:
    """Makes or updates an environment, one process at a time, and tells how far it is."""

    def __init__(self, environment: Environment, run: Run | None = None) -> None:
        self.environment = environment
        self.log = environment.root / ".lab" / "setup.log"
        self._run = self._subprocess if run is None else run
        self._lock = -1
        self._pretty = sys.stderr.isatty()

    def run(self, level: str) -> None:
        """Leave an environment that fits `level`. Raises `SetupFailed`, OSError."""
        self.log.parent.mkdir(exist_ok=True)
        with lock(self.log.with_name("setup.lock"), self._wait_note) as self._lock:
            environment = self.environment
            if environment.fits(level):
                return  # another start made it while this one waited
            self.log.write_text("", encoding="utf-8")
            if environment.level() == DEV:
                level = DEV  # an update does not take the tests' packages away
            if not environment.is_sound():
                why = "what is there is not usable" if environment.path.exists() else "first start"
                self._say(f"setting up {environment.path} with Python {sys.version.split()[0]} ({why})")
                self._make()
            self._install(level)
            make_importable(environment)
            environment.write_stamp(level)
            self._say("ready")

    def _make(self) -> None:
        # Debian has `venv` without `ensurepip`; there pip may still be installed beside the system's Python.
        base = getattr(sys, "_base_executable", None) or sys.executable
        pip = [] if has_module("ensurepip") else ["--without-pip"]
        if not has_module("venv") or (pip and not has_module("pip")):
            package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            raise SetupFailed(f"this Python cannot make environments; try: sudo apt install {package}")
        command = [base, "-m", "venv", "--clear", *pip, str(self.environment.path)]
        self._do(command, "the environment cannot be made")

    def _install(self, level: str) -> None:
        environment = self.environment
        pins = environment.root / PINS[level]
        total = sum(line[:1].isalnum() for line in pins.read_text(encoding="utf-8").splitlines())
        if (environment.scripts / ("pip.exe" if WINDOWS else "pip")).exists():
            pip = [str(environment.python), "-I", "-m", "pip"]
        else:
            pip = [sys.executable, "-m", "pip", "--python", str(environment.python)]
        # Every package is pinned with its dependencies' pins beside it: there is nothing left to resolve.
        what = ["--require-hashes", "--no-deps", "--no-user", "-r", str(pins)]
        how = ["--no-input", "--no-color", "--progress-bar", "off"]
        fetched = 0

        def follow(line: str) -> None:
            nonlocal fetched
            if line.startswith("Collecting "):
                fetched += 1
                name = line.split()[1].partition("==")[0]
                self._progress(f"fetching {fetched} of at most {total}: {name}", fetched)
            elif line.startswith(("Installing collected packages", "Attempting uninstall")):
                environment.stamp.unlink(missing_ok=True)
                self._say("installing")

        self._say(f"up to {total} packages to fetch" + (", the tests' included" if level == DEV else ""))
        self._do([*pip, "install", *what, *how], "the packages cannot be installed", follow)

    def _do(self, command: list[str], failed: str, follow: Callable[[str], None] = lambda line: None) -> None:
        output: list[str] = []
        try:
            with self.log.open("a", encoding="utf-8") as log:
                for line in self._run(command):
                    log.write(line + "\n")
                    output.append(line)
                    follow(line.strip())
        except subprocess.CalledProcessError:
            self._end_progress()
            log_name = self.log.relative_to(self.environment.root)
            raise SetupFailed(f"set-up failed: {failed}: {reason(output)} (all of it: {log_name})") from None

    def _subprocess(self, command: list[str]) -> Iterator[str]:
        variables = {k: v for k, v in os.environ.items() if k.upper() not in PIP_VARIABLES}
        # Nobody wants to wait for a dead network as patiently as a build server does.
        variables = {"PIP_RETRIES": "2", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if WINDOWS else (self._lock,),  # a pip that outlives us still holds it
            env=variables,
            encoding="utf-8",
            errors="replace",
            # The grader's sandboxes have users of their own, which must get at the libraries.
            umask=-1 if WINDOWS else 0o022,
        )
        assert child.stdout is not None
        try:
            for line in child.stdout:
                yield line.rstrip()
        finally:
            child.stdout.close()
            status = child.wait()
        if status != 0:
            raise subprocess.CalledProcessError(status, command)

    def _wait_note(self) -> None:
        self._say("another start is setting the environment up; waiting for it")

    def _say(self, text: str) -> None:
        self._end_progress()
        print(f"lab: {text}", file=sys.stderr, flush=True)

    def _progress(self, text: str, count: int) -> None:
        if self._pretty:
            print(f"\r\033[Klab: {text:.70}", end="", file=sys.stderr, flush=True)
        elif count % 25 == 0:
            print(f"lab: {text}", file=sys.stderr, flush=True)

    def _end_progress(self) -> None:
        if self._pretty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


NO_NETWORK = (
    *(
        "NewConnectionError",
        "NameResolutionError",
        "Temporary failure in name resolution",
        "ConnectTimeoutError",
    ),
    *("Failed to establish a new connection", "Network is unreachable", "ProxyError", "getaddrinfo failed"),
    *("ReadTimeoutError", "Connection refused"),
)


def reason(output: list[str]) -> str:
    """What went wrong, from the output of pip or venv, in one line."""
    if any(sign in line for line in output for sign in NO_NETWORK):
        return "the package index cannot be reached; check the network and start again"
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR: ")]
    said = errors or [line.strip() for line in output if line.strip()]
    return f"{said[-1]:.200}" if said else "no reason given"


def make_importable(environment: Environment) -> None:
    """Put the clone on the environment's path and a `lab` beside its Python.

    What `pip install -e .` would do, without the build tools that it would have to fetch.
    """
    if WINDOWS:
        script, text = environment.scripts / "lab.cmd", '@"%~dp0python.exe" -m lab %*\n'
    else:
        # No interpreter in the first line: the path of a clone may be long or hold a space.
        script, text = environment.scripts / "lab", '#!/bin/sh\nexec "$(dirname "$0")/python" -m lab "$@"\n'
    (environment.site / "gateway_lab.pth").write_text(f"{environment.root}\n", encoding="locale")
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)


def has_module(name: str) -> bool:
    """True where this interpreter can import the top-level module `name`."""
    from importlib.util import find_spec

    return find_spec(name) is not None


@contextmanager
def lock(path: Path, when_waiting: Callable[[], None]) -> Iterator[int]:
    """Hold the file at `path`, one process at a time; the system lets go of it when the holder dies.

    The value is the descriptor: on POSIX, a child that gets it holds the file too.
    """
    with path.open("a") as file:
        try:
            take(file.fileno(), wait=False)
        except OSError:
            when_waiting()
            take(file.fileno(), wait=True)
        yield file.fileno()


if sys.platform == "win32":
    import msvcrt

    def take(descriptor: int, wait: bool) -> None:
        """Lock an open file. Raises OSError where another process holds it and `wait` is false."""
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return
            except OSError:  # LK_LOCK gives up after ten seconds
                if not wait:
                    raise

else:
    import fcntl

    def take(descriptor: int, wait: bool) -> None:
        """Lock an open file. Raises OSError where another process holds it and `wait` is false."""
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
