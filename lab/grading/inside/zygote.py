"""The process that sandboxes are forked from: `python -I zygote.py FD OPTIONS`.

It has the libraries loaded and nothing else, so a sandbox starts in milliseconds and holds no check, no
solution and no secret. For each request on the socket FD it forks a *keeper*; the keeper makes the namespaces
and forks the *inmate*, which shuts itself in and runs the submission. The keeper stays outside, enforces the
limits, drains what is printed, and kills everything at the end; it also does so when the grader is gone.

    request   {"work", "file", "limits"} with two descriptors: the inmate's channel, the keeper's report
    report    {"end", "code", "output", "output_bytes", "cpu"}, one JSON document, when nothing is left alive

`end` is exit, signal, wall, cpu, memory, files, output, disk, killed (by the grader) or setup (the sandbox
failed).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, with nothing of ours on the path
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import calls  # type: ignore[import-not-found, unused-ignore]
    import jail  # type: ignore[import-not-found, unused-ignore]
    import runtime  # type: ignore[import-not-found, unused-ignore]

    sys.path.pop(0)
else:
    from lab.grading.inside import calls, jail, runtime

SHOWN = 16_384
"""Bytes of a submission's output that are kept."""
LOOK = 0.25
"""Seconds between two looks at what the processes of a sandbox use."""
ENTRIES = 4_000
"""Files and folders that a submission may have."""
SETUP_FAILED = 121
"""The inmate's exit status where it could not be shut in."""


class Options:
    """How sandboxes are made here; `isolation` is found out once, by trying."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.library = Path(given["library"])
        self.empty = Path(given["empty"])
        self.owner: tuple[int, int] | None = tuple(given["owner"]) if given["owner"] else None
        self.wanted: list[str] = given["isolation"]
        self.isolation: set[str] = set()
        self.mounts = False
        """Whether a submission has a file system of its own; else `jail.landlock` may keep it from ours."""
        self.others = 0
        """Threads that the same user runs already, which count against the limit on processes."""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    given = json.loads(sys.argv[2])
    options = Options(given)
    sys.path[:0] = [str(options.library)]
    os.environ.clear()
    os.environ.update(environment(jail.HOME))
    os.umask(0o022)  # who is graded must enter what is made here, whatever the grader keeps to itself
    for name in given["preload"]:
        with contextlib.suppress(Exception):  # a library that is missing is missing in the sandbox too
            importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the grader's business
    if options.owner is None:
        if os.geteuid() != 0 and options.wanted and works(jail.become_root_of_own_namespace):
            jail.become_root_of_own_namespace()
        if not works(counted_alone):
            options.others = threads_of_user()
    with contextlib.suppress(OSError):
        jail.prctl(jail.PR_SET_DUMPABLE, 0)  # a submission of the same user must not look into us
    find_out(options)
    control.sendall(json.dumps({"isolation": sorted(options.isolation), "owner": options.owner}).encode())
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 65_536, 2)
        if not message:
            return  # the grader is gone
        while True:  # keepers that are done
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            break
        if os.fork() == 0:
            control.close()
            keep(json.loads(message), descriptors[0], descriptors[1], options)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"k")


def find_out(options: Options) -> None:
    """What of the wanted isolation is to be had. "user" is the first: for that one the others make files."""
    for kind in sorted(options.wanted, reverse=True):
        ways = ("files", "landlock") if kind == "files" else (kind,)
        found = next((way for way in ways if works(attempt, way, options)), None)
        if found is not None:
            options.isolation.add("files" if found == "landlock" else found)
            options.mounts = options.mounts or found == "files"
        elif kind == "user":
            options.owner = None  # a root that may not become anybody else, as in some containers
    if works(reach_libraries, options):
        options.isolation.add("libraries")
    elif "files" in options.isolation:  # then the libraries matter more than that user
        options.owner = None
        options.isolation.discard("user")
        options.isolation.add("libraries")
    if options.owner is None and not (options.mounts and "processes" in options.isolation):
        options.isolation.discard("user")  # the same user, and in sight


def environment(home: str) -> dict[str, str]:
    return {
        "HOME": home,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def threads_of_user() -> int:
    count = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


def counted_alone() -> None:
    """Raise `OSError` where the limit on processes counts what the user runs elsewhere too.

    Linux counts by user, and since 5.14 by user namespace as well (user_namespaces(7)).
    """
    import resource

    resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))  # us, who tried this, and room for others of our kind
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def works(function: Callable[..., None], *arguments: Any) -> bool:
    """Whether `function` succeeds here: tried in a process that then dies, since there is no way back."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def attempt(kind: str, options: Options) -> None:
    """Put this process into one kind of isolation. Raises `OSError`, or ends it, where that does not work."""
    if kind == "processes":
        jail.unshare(jail.CLONE_NEWPID | jail.CLONE_NEWIPC)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        os._exit(0 if os.waitpid(pid, 0)[1] == 0 else 1)
    if kind == "files":
        jail.unshare(jail.CLONE_NEWNS)
        jail.new_root(options.empty, options.library, 1 << 20, options.owner or (0, 0))
        jail.enter_root(options.empty)
        if os.path.exists(jail.__file__) or not os.path.exists(jail.HOME):
            os._exit(1)  # what the grader is made of must be gone
    if kind == "landlock":
        jail.obey(jail.landlock(options.empty, options.library))
        os.listdir(options.empty)
        with contextlib.suppress(PermissionError):
            open(jail.__file__).close()
            os._exit(1)
    if kind == "user":
        if options.owner is not None:
            os.chown(options.empty, *options.owner)
            os.chown(options.empty, os.getuid(), os.getgid())
        jail.drop_privileges(options.owner)
    if kind == "calls":
        calls.forbid()


def reach_libraries(options: Options) -> None:
    """Raise `OSError` where Python itself is in a folder that the sandboxes' user may not enter."""
    if options.mounts:
        jail.unshare(jail.CLONE_NEWNS)
        jail.new_root(options.empty, options.library, 1 << 20, options.owner or (0, 0))
        jail.enter_root(options.empty)
    jail.drop_privileges(options.owner)
    for folder in (*jail.prefixes(), *(path for path in sys.path if path.endswith("-packages"))):
        with contextlib.suppress(FileNotFoundError):  # not shown, and so not needed
            os.listdir(folder)


# -- the keeper ----------------------------------------------------------------------------------------------


def keep(request: dict[str, Any], channel: int, report_to: int, options: Options) -> None:
    """Fork the inmate and look after it; never returns."""
    report = socket.socket(fileno=report_to)
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        flags = 0
        if "processes" in options.isolation:
            flags |= jail.CLONE_NEWPID | jail.CLONE_NEWIPC
        else:
            with contextlib.suppress(OSError):  # what loses its parent becomes ours
                jail.prctl(jail.PR_SET_CHILD_SUBREAPER, 1)
        if flags:
            jail.unshare(flags)
        home = None if options.mounts else Path(tempfile.mkdtemp(prefix="lab-sandbox-", dir="/tmp"))
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            report.close()
            os.close(reading)
            inmate(request, channel, writing, home, options)
        os.close(channel)
        os.close(writing)
        result = watch(pid, reading, report, request["limits"], home)
        kill_rest()
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)
    except BaseException:
        result = {
            "end": "setup",
            "code": 0,
            "output": traceback.format_exc(limit=3),
            "output_bytes": 0,
            "cpu": 0,
        }
    with contextlib.suppress(OSError):
        report.sendall(json.dumps(result).encode())
    os._exit(0)


def watch(
    pid: int, reading: int, report: socket.socket, limits: dict[str, int], home: Path | None
) -> dict[str, Any]:
    """Until the inmate is gone, by itself or because a limit was reached."""
    import resource

    began = looked = time.monotonic()
    kept, count, end = b"", 0, ""
    os.set_blocking(reading, False)
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(report, select.POLLIN)
    gone = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    if gone >= 0:
        poll.register(gone, select.POLLIN)
    while True:
        # Without pidfd the wait is short, and its end is seen by asking.
        ready = dict(poll.poll(LOOK * 1000 if gone >= 0 else 10))
        if reading in ready:
            chunk = read(reading)
            if chunk == b"":
                poll.unregister(reading)
            kept += chunk[: SHOWN - len(kept)]
            count += len(chunk)
        now = time.monotonic()
        if count > limits["output"]:
            end = "output"
        elif report.fileno() in ready:
            end = "killed"  # the grader said so, or is gone
        elif now - began > limits["wall"]:
            end = "wall"
        elif now - looked >= LOOK:  # whether or not there is something to read: that is up to the submission
            looked = now
            end = over_limit(pid, limits) or (fills(home, limits["disk"]) if home is not None else "")
        if end or gone in ready or gone < 0:
            if end:
                end_group(pid)
            done, status, _ = os.wait4(pid, 0 if end or gone in ready else os.WNOHANG)
            if done:
                break
    end_group(pid)
    while chunk := read(reading):
        kept += chunk[: SHOWN - len(kept)]
        count += len(chunk)
        if count > limits["output"]:
            break
    code = os.waitstatus_to_exitcode(status)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    if not end:
        end = "exit" if code >= 0 else "signal"
        if code == SETUP_FAILED:
            end = "setup"
        elif code in (-signal.SIGXCPU, -signal.SIGKILL) and cpu >= limits["cpu"] - 0.5:
            end = "cpu"
    return {
        "end": end,
        "code": code,
        "output": kept.decode("utf-8", "replace"),
        "output_bytes": count,
        "cpu": round(cpu, 3),
    }


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""


def end_group(pid: int) -> None:
    """The inmate and its process group; as the first process of its namespace it takes all others along."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def kill_rest() -> None:
    """Where there is no namespace for processes: whatever became ours, until there is no more of it."""
    for _ in range(1000):
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children(pid: int) -> list[int]:
    """Of all its threads: a process is the child of the thread that forked it."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it is gone
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def over_limit(pid: int, limits: dict[str, int]) -> str:
    """What all processes of the sandbox use together; rlimits bound each of them only by itself."""
    ticks = os.sysconf("SC_CLK_TCK")
    memory, cpu, files, waiting, seen = 0, 0.0, 0, [pid], 0
    while waiting and seen < 1000:
        at = waiting.pop()
        seen += 1
        try:
            fields = Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += sum(map(int, fields[11:15])) / ticks  # its own, and that of its children that are gone
        memory += int(fields[21]) * os.sysconf("SC_PAGESIZE")
        files += open_files(at, limits["files"])
        waiting += children(at)
    if memory > limits["memory"]:
        return "memory"
    if files > limits["all_files"]:
        return "files"
    return "cpu" if cpu > limits["cpu"] + 1 else ""


def open_files(pid: int, most: int) -> int:
    """How many descriptors a process has; `most` where it does not let us look."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return most
    except OSError:
        return 0


def fills(home: Path, size: int) -> str:
    """`disk` where there is more in a home than there may be, which no file system of its own bounds."""
    entries, found = 0, 0
    for folder, folders, files in os.walk(home):
        entries += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                found += os.lstat(os.path.join(folder, name)).st_size
        if entries > ENTRIES or found > size:
            return "disk"
    return ""


# -- the inmate ----------------------------------------------------------------------------------------------


def inmate(request: dict[str, Any], channel: int, output: int, home: Path | None, options: Options) -> None:
    """Shut this process in, then run the submission; never returns."""
    try:
        os.setsid()
        if options.mounts:
            jail.unshare(jail.CLONE_NEWNS)
            jail.new_root(options.empty, options.library, request["limits"]["disk"], options.owner or (0, 0))
            work = options.empty / jail.HOME.lstrip("/")
        else:
            assert home is not None
            work = home
            os.environ.update(environment(str(home)), TMPDIR=str(home))
            if options.owner is not None:
                os.chown(home, *options.owner)
        jail.copy_files(Path(request["work"]), work, options.owner)
        if options.mounts:
            jail.enter_root(options.empty)
            work = Path(jail.HOME)
        os.chdir(work)
        rules = -1
        if "files" in options.isolation and not options.mounts:
            rules = jail.landlock(work, options.library)
        jail.limit(request["limits"] | {"processes": request["limits"]["processes"] + options.others})
        with contextlib.nullcontext() if "user" in options.isolation else contextlib.suppress(OSError):
            jail.drop_privileges(options.owner)
        if rules >= 0:
            jail.obey(rules)
        if "calls" in options.isolation:
            calls.forbid()
        with contextlib.suppress(OSError):  # only now: setuid takes it off
            jail.prctl(jail.PR_SET_PDEATHSIG, signal.SIGKILL)
            jail.prctl(jail.PR_SET_DUMPABLE, 1)  # its processes may look where others of them listen
        keep_only(channel, output)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except BaseException:
        os.write(output, traceback.format_exc(limit=-3).encode())
        os._exit(SETUP_FAILED)
    try:
        runtime.main(socket.socket(fileno=channel), work, request["file"])
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def keep_only(channel: int, output: int) -> None:
    """Close every descriptor but the channel and the three standard ones, which lead nowhere and to us."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, channel)
    os.closerange(channel + 1, 1024)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, 1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    main()
