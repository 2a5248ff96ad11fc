"""Breaking a connection below HTTP, and waiting until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from lab.faults.model import Receive


def reset(transport: asyncio.Transport) -> None:
    """Close with a RST: with a linger time of zero the kernel drops what is unsent and tells the peer so."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # the peer was faster
            # Two ints on POSIX, two shorts in Windows' `struct linger`.
            form = "hh" if hasattr(socket, "SIO_LOOPBACK_FAST_PATH") else "ii"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, 1, 0))
    transport.abort()


async def gone(receive: Receive) -> None:
    """Wait until the server has noticed that the connection is closed: it logs an error about an
    application that returns before.
    """
    while not (await receive())["type"].endswith(".disconnect"):
        pass
