"""Keeps memory where no process has it: nameless files, segments, a file system of its own, buffers of sockets."""

import contextlib
import ctypes
import mmap
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
SIZE, TIMES = 15 << 20, 100
KEPT = []


def held(what):
    raise SystemExit(f"{what} can be held")


with contextlib.suppress(OSError):
    for number in range(TIMES):
        KEPT.append(os.memfd_create(f"m{number}"))
        os.write(KEPT[-1], bytes(SIZE))
    held("memory in nameless files")
for _ in range(TIMES):
    if (segment := libc.shmget(0, SIZE, 0o1600)) < 0:
        break
    at = libc.shmat(segment, None, 0)
    ctypes.memset(at, 1, SIZE)
    libc.shmdt(ctypes.c_void_p(at))
else:
    held("memory in segments")
with contextlib.suppress(OSError):
    for _ in range(TIMES):  # what only children have who never look at it
        shared = mmap.mmap(-1, SIZE)
        shared.write(bytes(SIZE))
        if os.fork() == 0:
            os.read(os.pipe()[0], 1)
        shared.close()
    held("shared memory")
libc.unshare(0x10020000)
if libc.mount(b"x", b"/tmp", b"tmpfs", 0, b"size=20g") == 0:
    held("a file system")
with contextlib.suppress(OSError):
    while True:
        KEPT += socket.socketpair()
        KEPT[-2].setblocking(False)
        KEPT[-2].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        with contextlib.suppress(BlockingIOError):
            while True:
                KEPT[-2].send(bytes(60_000))


class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError
