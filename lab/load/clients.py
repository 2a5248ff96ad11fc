"""Who the simulated clients are. Plain data, no Locust.

The gateway counts requests per client, and ten a minute are all that one client gets by default. So a user of
a load is a visitor: it asks `VISIT` times, leaves, and the next one comes, with another address.

    visitor 5    from 127.1.0.5    X-Forwarded-For: 10.0.0.5

Its connections come from a loopback address of its own, which every gateway on this machine can tell from
others. Where that cannot be (another machine, macOS) there is only the name in X-Forwarded-For, which a
gateway believes from its `trusted_proxies` alone.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

VISIT = 10
"""Requests after which a visitor leaves."""
MOST = 254 << 16
"""Visitors that can be told apart; later ones take the addresses of the first."""
PER_PROCESS = 16 << 16
"""Visitors of each process of a load that is distributed."""
LIMITED = re.compile(r"\b429\b")
"""In the text of an error: the gateway's limiter said no, which is no failure of anything."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client of the gateway."""

    source: str | None
    """The address of this machine from which it connects; None: the usual one."""
    headers: dict[str, str] = field(default_factory=dict)


def numbers(process: int = 0, since: float | None = None) -> Iterator[int]:
    """The numbers of the visitors of one run; `process` is Locust's number of a worker.

    A run goes on where the one before it left off, at the millisecond of its start (`since`, Unix seconds),
    as fewer than a thousand visitors come a second: who was here a minute ago may have used up his limit.
    """
    began = int((time.time() if since is None else since) * 1000)
    return itertools.count(began + process * PER_PROCESS)


def visitor(number: int, *, own_address: bool, keys: tuple[str, ...] = ()) -> Visitor:
    """The `number`-th one, from 0 on. `keys` are API keys, which visitors show in turn."""
    number %= MOST
    high, low = number >> 16, f"{number >> 8 & 255}.{number & 255}"
    headers = {"X-Forwarded-For": f"10.{high}.{low}"}
    if keys:
        headers["X-API-Key"] = keys[number % len(keys)]
    # Not 127.0.…: those addresses have their uses, such as the side doors of faults.
    return Visitor(f"127.{high + 1}.{low}" if own_address else None, headers)


@functools.cache
def own_addresses(host: str) -> bool:
    """Whether visitors of the gateway at `host` (a URL) can have loopback addresses of their own.

    Not over TLS, for which the generator's connections are its library's own.
    """
    parts = urlsplit(host)
    name = parts.hostname or ""
    try:
        here = name == "localhost" or ipaddress.ip_address(name) in ipaddress.ip_network("127.0.0.0/8")
    except ValueError:
        return False
    return here and parts.scheme == "http" and _whole_loopback_network()


def _whole_loopback_network() -> bool:
    """True on Linux and Windows; macOS has 127.0.0.1 alone."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.1.0.1", 0))
        except OSError:
            return False
    return True
