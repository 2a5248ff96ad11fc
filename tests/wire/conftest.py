"""The gateways of the wire tests: few processes, shared; each test has services of its own behind them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.wire.wire import TOKEN, Gateway, Service

Start = Callable[..., Gateway]

BASE: dict[str, Any] = {
    "services": {"unused": {"url": "http://127.0.0.1:9"}},
    "rate_limit": {"limit": 1_000_000},
    "limits": {"drain": 2, "max_body": 1_048_576},
    "admin": {"token": TOKEN},
}

KEYED: dict[str, Any] = {
    "auth": {
        "enabled": True,
        "keys": [
            {"name": "reader", "key": "reader-key", "allow": ["GET /*/items/**"]},
            {"name": "ws", "key": "ws-key", "allow": ["GET /*/ws"]},
            {"name": "all", "key": "all-key"},
            {"name": "anna", "key": "anna-key"},
            {"name": "bert", "key": "bert-key"},
            {"name": "off", "key": "off-key", "active": False},
        ],
        "public": ["/*/public/**"],
    },
    "rate_limit": {
        "limit": 1_000_000,
        "routes": [
            {"match": "/*/ws", "limit": 3, "window": 60},
            {"match": "/*/one", "limit": 1, "window": 60},
            {"match": "/*/two", "limit": 2, "window": 60},
            {"match": "/*/tight/**", "limit": 2, "window": 60},
            {"match": "/*/t*/**", "limit": 3, "window": 30},
            {"match": "/*/kilo/**", "limit": 1000, "window": 3600},
        ],
    },
}
"""A gateway with keys and with limits for some paths."""

OTHER: dict[str, Any] = {
    "trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"],
    "limits": {"max_body": 64 << 20, "max_message": 1000, "drain": 2},
}

_numbers = itertools.count(1)


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `change` put over it, key by key."""
    return base | {
        name: base.get(name, {}) | value if isinstance(value, dict) else value
        for name, value in change.items()
    }


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that gives the gateway of a configuration (over `BASE`), started when first asked for."""
    gateways: dict[str, Gateway] = {}

    def start(**config: Any) -> Gateway:
        key = repr(config)
        if key not in gateways:
            gateways[key] = Gateway(merged(BASE, config), tmp_path_factory.mktemp("gateway"))
        return gateways[key]

    yield start
    for gateway in gateways.values():
        gateway.forget()
        gateway.process.terminate()
    for gateway in gateways.values():
        gateway.wait()


@pytest.fixture(scope="session")
def shared(running: Start) -> Gateway:
    return running()


@pytest.fixture
def keyed(running: Start) -> Iterator[Gateway]:
    gateway = running(**KEYED)
    yield gateway
    gateway.forget()


@pytest.fixture
def other(running: Start) -> Iterator[Gateway]:
    """Trusts the tests as a proxy, takes larger bodies and smaller messages."""
    gateway = running(**OTHER)
    yield gateway
    gateway.forget()


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    """All defaults but a limiter that admits everybody; nothing on standard error may be a traceback."""
    before = len(shared.lines)
    yield shared
    shared.forget()
    assert not [line for line in shared.lines[before:] if "Traceback" in line]


@pytest.fixture
def behind() -> Iterator[Callable[..., Service]]:
    """A function that puts a new service behind a gateway until the test ends."""
    with ExitStack() as stack:

        def add(gateway: Gateway, **settings: Any) -> Service:
            return stack.enter_context(gateway.service(f"s{next(_numbers)}", **settings))

        yield add


@pytest.fixture
def service(gateway: Gateway, behind: Callable[..., Service]) -> Service:
    """A service behind `gateway`, asked once at most for each request."""
    return behind(gateway)


@pytest.fixture
def live() -> Iterator[Service]:
    """A service called `live` for a gateway of the test's own, to be named in its configuration."""
    service = Service("live")
    yield service
    service.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a gateway for this test alone."""
    started: list[Gateway] = []

    def start(
        *arguments: str, app: str = "gateway:app", env: dict[str, str] | None = None, **config: Any
    ) -> Gateway:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Gateway(merged(BASE, config), folder, *arguments, app=app, env=env))
        return started[-1]

    yield start
    for gateway in started:
        gateway.forget()
        if gateway.process.poll() is None:
            gateway.process.kill()
        gateway.wait()
