"""How a process is shut in on Linux: namespaces, mounts, limits, privileges.

Everything here is a thin layer over system calls (unshare(2), mount(2), pivot_root(2), prctl(2), capset(2)),
called through the C library, since Python 3.11 has none of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAP_VERSION_3 = 0x20080522

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix", "/opt/python")
"""Where programs and shared libraries are; shown read-only in every sandbox."""
SETTINGS = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/mime.types",
    "/etc/alternatives",
)
NAMES = {
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "hosts: files\n",
}
"""So that localhost can be found, and no other name."""
DEVICES = ("null", "full", "random", "urandom")
"""Not `zero`: what is mapped of it and shared is memory that no process has."""

OURS = ("lab", "exercises", "tests", "gateway.py", "service_a.py", "service_b.py")
"""What stands of the lab beside the libraries, where it is installed."""

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION = 1
LANDLOCK_READ = 0b1101  # execute, read files, list folders
LANDLOCK_FILE = 1 << 15 | 1 << 14 | 0b111  # of all kinds of access those that a file has
LANDLOCK_DEVICE = 1 << 15 | 0b110
LANDLOCK_SCOPED = 0b11  # abstract sockets, signals

HOME = "/home/student"
"""A sandbox's home, where the submission's files are, and which is empty otherwise."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def call(name: str, *arguments: object) -> int:
    """A function of the C library; a negative result raises `OSError`."""
    if _libc is None:
        raise OSError(errno.ENOSYS, f"{name}: only Linux has it")
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones; raises `OSError` where the system forbids it."""
    call("unshare", flags)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument; does nothing outside Linux."""
    if _libc is not None:
        call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def become_root_of_own_namespace(extra: int = 0) -> None:
    """A new user namespace in which this process, whoever it is outside, may mount and unshare."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | extra)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def loopback_up() -> None:
    """Switch the loopback interface of a new network namespace on (netdevice(7))."""
    import fcntl

    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0) + bytes(22))
        (flags,) = struct.unpack_from("h", answer, 16)
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP) + bytes(22))


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2); raises `OSError`."""
    call(
        "mount",
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def show(source: str, root: Path, at: str | None = None) -> None:
    """Make `source` visible below `root`, read-only, at its own path or at `at`."""
    target = root / (at or source).lstrip("/")
    if os.path.islink(source) and at is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(source))
        return
    if os.path.isdir(source):
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, str(target), None, MS_BIND | MS_REC)
    # Flags that the source has may not be taken off in a user namespace.
    kept = os.statvfs(source).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | 8 | 1024 | 2048)
    mount("", str(target), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


def new_root(root: Path, library: Path, size: int, owner: tuple[int, int]) -> None:
    """Give the calling process a file system with nothing in it but Python, `library` and an empty home.

    `root` is any empty folder; `size` bounds what can be written, in bytes. Needs a mount namespace of its
    own. Raises `OSError`.
    """
    mount("", "/", None, MS_REC | MS_PRIVATE)
    mount("sandbox", str(root), "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},mode=755,nr_inodes=4000")
    hidden = ourselves()
    for paths in ((*SYSTEM, *SETTINGS), prefixes()):
        for path in paths:
            if os.path.lexists(path) and not os.path.lexists(root / path.lstrip("/")):
                show(path, root)
        # What lies in something that was shown just now. The folder above a prefix is no such thing: a clone
        # has its environment inside, and is seen as a folder with nothing else in it.
        for path in sorted(hidden):
            was_shown = any(path == shown or path.startswith(f"{shown}/") for shown in paths)
            if was_shown and os.path.exists(root / path.lstrip("/")):
                cover(root / path.lstrip("/"))
    show(str(library), root)
    for device in DEVICES:
        target = root / "dev" / device
        target.parent.mkdir(exist_ok=True)
        target.touch()
        mount(f"/dev/{device}", str(target), None, MS_BIND)
    for folder in ("tmp", "dev/shm"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder).chmod(0o1777)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for name, text in NAMES.items():
        (root / "etc").mkdir(exist_ok=True)
        (root / name.lstrip("/")).write_text(text)
    (root / "proc").mkdir()
    with contextlib.suppress(OSError):  # a container may forbid it; then there is an empty folder
        mount("proc", str(root / "proc"), "proc", MS_NOSUID | MS_NODEV)
    (root / HOME.lstrip("/")).mkdir(parents=True)
    os.chown(root / HOME.lstrip("/"), *owner)


def prefixes() -> list[str]:
    """Where Python and its libraries are, when that is not where the system's are."""
    found = (sys.prefix, sys.base_prefix)
    return sorted({*found, *map(os.path.realpath, found)})


def ourselves() -> list[str]:
    """The lab's own files, which no submission gets to see, wherever they stand.

    That is a clone as a whole; where the lab is installed, what stands of it beside the libraries.
    """
    found = []
    above = Path(__file__).resolve().parents[3]
    for folder in {above, *(Path(p) for p in sys.path if p.endswith("-packages"))}:
        if (folder / "pyproject.toml").is_file():
            found.append(str(folder))
        else:
            found += [str(folder / name) for name in OURS if (folder / name).exists()]
    return found


def cover(path: Path) -> None:
    """Let there be nothing, or an empty file, where there was something."""
    if path.is_dir():
        mount("none", str(path), "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755")
    else:
        mount("/dev/null", str(path), None, MS_BIND)


# -- without mounts ------------------------------------------------------------------------------------------


def landlock(home: Path, library: Path) -> int:
    """Rules that leave a process nothing of the file system but what `new_root` would show, and `home`.

    The value is a descriptor for `obey`. Landlock (landlock(7)) needs no privilege; what else is on the disk
    is there, and cannot be opened. Where the kernel can, signals end at the process's own family. Raises
    `OSError` where the kernel has nothing of the kind.
    """
    version = _syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("QQQ", handled, 0, LANDLOCK_SCOPED if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _syscall(LANDLOCK_CREATE, attributes, size, 0)
    for path in [*visible(), *NAMES, "/proc", str(library)]:
        _allow(rules, path, LANDLOCK_READ & handled)
    for device in DEVICES:
        _allow(rules, f"/dev/{device}", LANDLOCK_DEVICE & handled)
    _allow(rules, str(home), handled)
    return rules


def obey(rules: int) -> None:
    """The calling process and its children keep to the rules of `landlock` from now on."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _syscall(LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def visible() -> list[str]:
    """What may be read: Python and the system's libraries, without the lab's own files."""
    hidden = ourselves()
    paths = [p for p in (*SYSTEM, *SETTINGS, *prefixes()) if os.path.exists(p)]
    return [one for path in paths for one in without(os.path.realpath(path), hidden)]


def without(path: str, hidden: list[str]) -> list[str]:
    """`path`, or where something hidden is in it, what else is in it."""
    if path in hidden:
        return []
    if not any(one.startswith(f"{path}/") for one in hidden):
        return [path]
    return [one for name in sorted(os.listdir(path)) for one in without(f"{path}/{name}", hidden)]


def _allow(rules: int, path: str, access: int) -> None:
    """Add a rule: this access to `path` and all that is below it. What is not there needs none."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                access &= LANDLOCK_FILE
            _syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", access, descriptor), 0)
        finally:
            os.close(descriptor)


def _syscall(number: int, *arguments: object) -> int:
    """A system call that the C library has no function for; these have the same number on every machine."""
    return call("syscall", ctypes.c_long(number), *arguments)


def enter_root(root: Path) -> None:
    """Make `root` the root, and let go of the old one (pivot_root(2), the form without a second folder)."""
    os.chdir(root)
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root: its number on {os.uname().machine} is not known here")
    call("syscall", number, b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def copy_files(work: Path, home: Path, owner: tuple[int, int] | None) -> None:
    """The submission's files into a sandbox's home, belonging to `owner`."""
    shutil.copytree(work, home, dirs_exist_ok=True, copy_function=shutil.copyfile)
    if owner is not None:
        for folder, folders, files in os.walk(home):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), *owner)


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process and its children (setrlimit(2)).

    cpu: seconds; memory, file: bytes; processes (threads count), files: how many. What is not in `limits`
    stays as it is. Raises `ImportError` where the system has nothing of the kind.
    """
    import resource

    kinds = {
        "cpu": resource.RLIMIT_CPU,
        "memory": resource.RLIMIT_AS,
        "file": resource.RLIMIT_FSIZE,
        "files": resource.RLIMIT_NOFILE,
        "processes": resource.RLIMIT_NPROC,
    }
    wanted = [(what, limits[name]) for name, what in kinds.items() if name in limits]
    for what, value in [*wanted, (resource.RLIMIT_CORE, 0)]:
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some of them
            resource.setrlimit(what, (value, value))


def drop_privileges(owner: tuple[int, int] | None) -> None:
    """Become `owner` for good; without one, give up the capabilities that a user namespace gave."""
    if owner is not None:
        uid, gid = owner
        os.setgroups([])
        os.setgid(gid)  # for root these set the real and the saved one as well
        os.setuid(uid)
    if _libc is None:
        return
    if owner is None:
        for capability in range(64):
            with contextlib.suppress(OSError):
                prctl(PR_CAPBSET_DROP, capability)
        header = struct.pack("Ii", CAP_VERSION_3, 0)
        call("capset", header, bytes(24))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
