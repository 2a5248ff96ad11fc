"""System calls that a submission is refused, by a filter in the kernel (seccomp(2)): it needs no privilege.

Limits hold what processes have: their memory, their files. These calls would give a submission memory that no
process has (in files without a name, in segments, in buffers, in file systems of its own), something to leave
behind for the next one, or a way into the kernel by which the filter sees nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

if not __package__:  # beside `zygote`, which runs as a file
    import jail  # type: ignore[import-not-found, unused-ignore]
else:
    from lab.grading.inside import jail

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls them (linux/audit.h); calls have other numbers on other machines."""

REFUSED: dict[str, tuple[int, int]] = {
    # memory that is nobody's
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "vmsplice": (278, 75),
    # what outlives a process
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # namespaces and file systems of its own
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    # ways around, and into others
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
}
"""Their numbers on x86_64 and on aarch64."""

CLONE, CLONE3, MMAP, SETSOCKOPT = (56, 220), (435, 435), (9, 222), (54, 208)
NEW_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make one."""
SHARED_ANONYMOUS = 0x21
SOL_SOCKET, SO_SNDBUF, SO_RCVBUF = 1, 7, 8
X32 = 0x40000000
"""Numbers from here on belong to a third set of calls that x86_64 has."""

LOAD, AND, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, MACHINE = 0, 4
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

Step = tuple[int, int, int, int]
"""One instruction: its code, how many to leave out where it is true and where it is false, its value."""


def forbid() -> None:
    """The calling process and its children cannot make these calls any more. Raises `OSError`."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"the numbers of system calls on {machine} are not known here")
    steps = b"".join(struct.pack("HBBI", *step) for step in program(machine))
    buffer = ctypes.create_string_buffer(steps, len(steps))
    described = struct.pack("HP", len(steps) // 8, ctypes.addressof(buffer))
    jail.prctl(jail.PR_SET_NO_NEW_PRIVS, 1)
    jail.call("prctl", PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), described)


def program(machine: str) -> list[Step]:
    """The filter. Who looks at an argument comes to an end there; what is left over is allowed."""
    column = list(MACHINES).index(machine)
    steps = [
        (LOAD, 0, 0, MACHINE),
        (EQUAL, 1, 0, MACHINES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":
        steps += when(AT_LEAST, X32, refused(errno.ENOSYS))
    for numbers in REFUSED.values():
        steps += when(EQUAL, numbers[column], refused(errno.EPERM))
    # Its flags stand in memory, where no filter can look; the C library then takes clone.
    steps += when(EQUAL, CLONE3[column], refused(errno.ENOSYS))
    steps += when(
        EQUAL, CLONE[column], [argument(0), *when(ANY_OF, NEW_NAMESPACES, refused(errno.EPERM)), allowed]
    )
    shared = when(EQUAL, SHARED_ANONYMOUS, refused(errno.ENOMEM))
    steps += when(EQUAL, MMAP[column], [argument(3), (AND, 0, 0, SHARED_ANONYMOUS), *shared, allowed])
    # A buffer may be asked for and is not made larger: not even who asks for it depends on it.
    kept = [*when(EQUAL, SO_SNDBUF, refused(0)), *when(EQUAL, SO_RCVBUF, refused(0))]
    steps += when(
        EQUAL, SETSOCKOPT[column], [argument(1), *when(EQUAL, SOL_SOCKET, [argument(2), *kept]), allowed]
    )
    return [*steps, allowed]


allowed: Step = (RETURN, 0, 0, ALLOW)


def when(test: int, value: int, then: list[Step]) -> list[Step]:
    """These steps where what was loaded passes the test; else they are left out."""
    return [(test, 0, len(then), value), *then]


def refused(code: int) -> list[Step]:
    return [(RETURN, 0, 0, ERRNO | code)]


def argument(number: int) -> Step:
    """Load the lower half of an argument (seccomp_data begins with number, machine and address: 16 bytes)."""
    return (LOAD, 0, 0, 16 + 8 * number)
