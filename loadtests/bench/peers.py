"""Who is measured, and how each is started."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lab.launcher.ports import free_port
from loadtests.bench.processes import HOST, Server, Servers
from loadtests.bench.service import BIG, BODY, CACHEABLE, HUGE, UNCACHEABLE

KEY = "bench-key"
TOKEN = "bench-token"


@dataclass(frozen=True)
class Behind:
    """The two services: `web` answers small GETs and files (nginx where installed), `own` all the rest."""

    web: Server
    own: Server
    web_is: str

    @property
    def environ(self) -> dict[str, str]:
        return {f"BENCH_{name}": url for name, url in (("WEB", self.web_url), ("OWN", self.own_url))}

    @property
    def web_url(self) -> str:
        return f"http://{HOST}:{self.web.port}"

    @property
    def own_url(self) -> str:
        return f"http://{HOST}:{self.own.port}"


async def start_services(servers: Servers, folder: Path) -> Behind:
    port = free_port()
    service = str(Path(__file__).parent / "service.py")
    own = await servers.start("service", [sys.executable, service, str(port)], port)
    nginx = shutil.which("nginx")
    if nginx is None:
        return Behind(own, own, "asyncio")
    port = free_port()
    home = folder / "nginx-service"
    (home / "files").mkdir(parents=True)
    for name, size in (("big", BIG), ("huge", HUGE)):
        with (home / "files" / name).open("wb") as file:
            file.truncate(size)  # a hole: 200 MiB that need no room
    answers = "".join(
        f"location = /{name} {{ default_type application/json; add_header Cache-Control '{cache.decode()}'; "
        f"return 200 '{_escape(BODY)}'; }}\n"
        for name, cache in (("plain", UNCACHEABLE), ("cached", CACHEABLE))
    )
    config = _nginx(
        home,
        port,
        "access_log off;",
        answers + f"location / {{ root '{home}/files'; add_header Cache-Control no-store; }}",
    )
    return Behind(await servers.start("nginx-service", [nginx, *config], port), own, "nginx")


def _escape(body: bytes) -> str:
    return body.decode("ascii").replace("\n", "\\n")


def _nginx(home: Path, port: int, http: str, server: str) -> list[str]:
    """Write a configuration for one nginx process without master; the arguments that start it."""
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (home / name).mkdir(parents=True, exist_ok=True)
    temporary = "\n".join(
        f"{directive}_temp_path '{home}/{name}';"
        for directive, name in (
            ("client_body", "body"),
            ("proxy", "proxy"),
            ("fastcgi", "fastcgi"),
            ("uwsgi", "uwsgi"),
            ("scgi", "scgi"),
        )
    )
    path = home / "nginx.conf"
    path.write_text(
        f"""daemon off; master_process off; pid '{home}/pid'; error_log '{home}/error.log' warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
{temporary}
{http}
keepalive_requests 100000000;
server {{
listen {HOST}:{port};
client_max_body_size 0;
{server}
}}
}}
"""
    )
    return ["-p", str(home), "-e", str(home / "error.log"), "-c", str(path)]


# -- the peers -----------------------------------------------------------------------------------------------

Start = Callable[[Servers, Path, Behind], Awaitable[Server]]


def _uvicorn(app: str, *more: str) -> tuple[list[str], int]:
    port = free_port()
    return [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", *more], port


async def start_gateway(servers: Servers, folder: Path, behind: Behind) -> Server:
    """`uvicorn gateway:app` with every policy on; the access log goes to a file."""
    config = folder / "gateway.json"
    config.write_text(
        json.dumps(
            {
                "services": {
                    "web": {"url": behind.web_url, "health": "/plain"},
                    "own": {"url": behind.own_url, "health": "/plain"},
                },
                "auth": {"enabled": True, "keys": [{"name": "bench", "key": KEY}]},
                "rate_limit": {"limit": 1_000_000_000},
                "limits": {"max_body": 2 * HUGE},
                "admin": {"token": TOKEN},
            }
        )
    )
    command, port = _uvicorn("gateway:app")
    return await servers.start("gateway", command, port, {"GATEWAY_CONFIG": str(config)})


async def start_nginx(servers: Servers, folder: Path, behind: Behind) -> Server:
    """A reverse proxy with kept connections, a cache for one location, and its access log on."""
    home = folder / "nginx-proxy"
    (home / "cache").mkdir(parents=True)
    port = free_port()
    upstream = "".join(
        f"upstream {name} {{ server {url.removeprefix('http://')}; keepalive 256; "
        "keepalive_requests 100000000; }\n"
        for name, url in (("web", behind.web_url), ("own", behind.own_url))
    )
    http = f"""access_log '{home}/access.log';
{upstream}
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
proxy_cache_path '{home}/cache' keys_zone=hits:1m;
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"""
    server = """location = /web/cached { proxy_pass http://web/cached; proxy_cache hits; }
location /web/ { proxy_pass http://web/; }
location /own/ { proxy_pass http://own/; }"""
    nginx = shutil.which("nginx") or "nginx"
    return await servers.start("nginx", [nginx, *_nginx(home, port, http, server)], port)


def _under_uvicorn(name: str, app: str, *more: str) -> Start:
    async def start(servers: Servers, folder: Path, behind: Behind) -> Server:
        command, port = _uvicorn(app, "--no-access-log", *more)
        return await servers.start(name, command, port, behind.environ)

    return start


async def start_aiohttp(servers: Servers, folder: Path, behind: Behind) -> Server:
    port = free_port()
    script = str(Path(__file__).parent / "aiohttp_proxy.py")
    return await servers.start("aiohttp", [sys.executable, script, str(port)], port, behind.environ)


@dataclass(frozen=True)
class Peer:
    """One that is measured. `needs` names the module or program without which it is left out."""

    name: str
    what: str
    start: Start
    module: str | None = None
    program: str | None = None
    websocket: bool = True
    proxy: bool = True

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        if self.module is not None and find_spec(self.module) is None:
            return f"{self.module} is not installed: pip install -e '.[bench]'"
        if self.program is not None and shutil.which(self.program) is None:
            return f"there is no {self.program} here"
        return None


PEERS = {
    peer.name: peer
    for peer in (
        Peer("gateway", "this gateway, all policies on", start_gateway),
        Peer("nginx", "nginx as a proxy, one worker", start_nginx, program="nginx"),
        Peer(
            "uvicorn",
            "bare uvicorn application: no proxy, the floor",
            _under_uvicorn("uvicorn", "loadtests.bench.apps:bare"),
            proxy=False,
        ),
        Peer("aiohttp", "aiohttp, server and client", start_aiohttp, module="aiohttp"),
        Peer(
            "fastapi-proxy-lib",
            "the library's own applications",
            _under_uvicorn("fastapi-proxy-lib", "loadtests.bench.apps:fastapi_proxy_lib", "--factory"),
            module="fastapi_proxy_lib",
        ),
        Peer(
            "fastapi+httpx",
            "a FastAPI route and httpx.AsyncClient",
            _under_uvicorn("fastapi+httpx", "loadtests.bench.fastapi_httpx:app"),
            websocket=False,
        ),
    )
}
