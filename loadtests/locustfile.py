"""Traffic for the lab: an ordinary Locust file.

    locust -f loadtests/locustfile.py                                    # its web page asks for the rest
    locust -f loadtests/locustfile.py --headless --users 50 --run-time 30s
    locust … --host http://127.0.0.1:8000 --shape spike --rate 200 --visit 10 --api-keys K --processes 2

Each user is a visitor, a client of its own; after `--visit` requests it leaves and the next one comes. What
makes clients different to the gateway is in `lab/load/clients.py`.
"""

from __future__ import annotations

import itertools
import math
import random
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import gevent
import gevent.pool
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.url import URL
from locust import FastHttpUser, LoadTestShape, User, constant, events, task
from locust.runners import WorkerRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Locust puts only this folder there

from lab.load.clients import VISIT, Visitor, numbers, own_addresses, visitor
from lab.load.shapes import HERD_EVERY, SHAPES, USUAL_TIME
from loadtests import figures

HOST = "http://127.0.0.1:8000"
"""The gateway where no `--host` names another."""
SEED = 2026
PATIENCE = 10.0
"""Seconds that a user waits for an answer."""
OUTSTANDING = 1000
"""Requests of one `Arrivals` that may be on their way; beyond that they count as failed, unsent."""
ITEMS = [round(1 + 200 * (n / 1000) ** 3) for n in range(1000)]
"""Items that are asked for: few of them often, many seldom."""

users = itertools.count()
visitors: Iterator[int] = iter(())


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="steady", help="How the load goes on")
    parser.add_argument(
        "--rate", type=float, default=0, help="Requests a second of all users; 0: all they can"
    )
    parser.add_argument(
        "--visit",
        type=int,
        default=VISIT,
        help="Requests until another client comes in a user's place; 0: never",
    )
    parser.add_argument(
        "--api-keys",
        default="",
        env_var="LAB_API_KEYS",
        is_secret=True,
        help="API keys of the users, with commas between",
    )
    parser.add_argument(
        "--figures", action="store_true", help="Write figures to standard output as JSON lines"
    )


@events.test_start.add_listener
def begin(environment: Any, **_: Any) -> None:
    global visitors
    visitors = numbers(getattr(environment.runner, "worker_index", 0))
    options = environment.parsed_options
    if not isinstance(environment.runner, WorkerRunner):
        # Locust gives its workers what it does not know itself; `--users` it keeps.
        options.all_users = options.num_users or 1


@events.init.add_listener
def write_figures(environment: Any, **_: Any) -> None:
    if environment.parsed_options.figures:
        figures.start(environment)


class LabShape(LoadTestShape):
    """What `--shape` names, with `--users` and `--run-time`."""

    use_common_options = True

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        assert self.runner is not None
        environment = self.runner.environment
        options = environment.parsed_options
        shape = SHAPES[options.shape]
        count = shape.users_at(self.get_run_time(), options.num_users or 1, options.run_time or USUAL_TIME)
        if count is None:
            return None
        classes = [environment.user_classes_by_name[name] for name in shape.users]
        return count, float(count), classes


def next_visitor(user: User) -> Visitor:
    """Somebody who has not been here yet."""
    keys = tuple(key for key in user.environment.parsed_options.api_keys.split(",") if key)
    return visitor(next(visitors), own_address=own_addresses(user.host or ""), keys=keys)


class Connections(HTTPClientPool):  # type: ignore[misc]
    """A visitor's connections, from the address `source` of this machine."""

    def __init__(self, source: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._source = source

    def get_client(self, url: URL) -> HTTPClient:
        new = (url.host, url.port) not in self.clients
        client = super().get_client(url)
        if new and self._source is not None:
            usual = client._connection_pool
            client._connection_pool = BoundPool(self._source, usual)
        return client


class BoundPool(ConnectionPool):  # type: ignore[misc]
    """As `usual`, a pool of plain connections, but bound to `source`."""

    addresses: ClassVar[dict[tuple[str, int], Any]] = {}

    def __init__(self, source: str, usual: ConnectionPool) -> None:
        where = (usual._connection_host, usual._connection_port)
        timeouts = {"connection_timeout": usual.connection_timeout, "network_timeout": usual.network_timeout}
        super().__init__(*where, *where, size=usual.size, **timeouts)
        self._where, self._source = where, source

    def _resolve(self) -> Any:
        # Once for all visitors: a look-up is a trip to a thread and back.
        if self._where not in self.addresses:
            self.addresses[self._where] = super()._resolve()
        return self.addresses[self._where]

    def _create_tcp_socket(self, family: int, kind: int, protocol: int) -> Any:
        sock = super()._create_tcp_socket(family, kind, protocol)
        if family == socket.AF_INET:
            sock.bind((self._source, 0))
        return sock


class Client(FastHttpUser):
    """Visitors who come one after the other, each with connections of its own."""

    abstract = True
    host = HOST
    concurrency = 1
    network_timeout = PATIENCE
    connection_timeout = PATIENCE
    max_redirects = 0  # where the gateway sends a client is its answer
    stays = False
    """One visitor that never leaves."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.options = environment.parsed_options
        self.dice = random.Random(f"{SEED} {next(users)}")
        self.client.client.cookiejar = None  # nobody here sets cookies, and looking costs a tenth of all work
        self.welcome_the_next()

    def welcome_the_next(self) -> None:
        """One visitor leaves and another comes."""
        agent = self.client.client
        agent.clientpool.close()
        here = next_visitor(self)
        agent.clientpool = Connections(here.source, **agent.clientpool.client_args)
        self.headers = here.headers
        self.left = math.inf if self.stays else self.options.visit or math.inf

    def ask(self, path: str, name: str, **options: Any) -> Any:
        """Send a GET as the visitor who is here now."""
        if self.left == 0:
            self.welcome_the_next()
        self.left -= 1
        return self.client.get(path, name=name, headers=self.headers, **options)

    def ask_for_an_item(self) -> None:
        self.ask(f"/service-a/items/{self.dice.choice(ITEMS)}", "/service-a/items/[id]")


class Shopper(Client):
    """Looks at items, now and then at the users; waits as long as `--rate` wants it to."""

    def wait_time(self) -> float:
        if not self.options.rate:
            return 0.0
        # The next moment of its own clock: a slow answer is made up for, so that the rate is kept.
        pace = self.options.all_users / self.options.rate
        now = time.perf_counter()
        self.due = max(getattr(self, "due", now + self.dice.random() * pace), now - pace) + pace
        return max(self.due - now, 0.0)

    @task(9)
    def items(self) -> None:
        self.ask_for_an_item()

    @task(1)
    def users(self) -> None:
        self.ask("/service-a/users", "/service-a/users")


class Herd(Client):
    """All wait for the same moment and ask for the same thing: what an expired hot entry does to a cache."""

    def wait_time(self) -> float:
        now = time.time()  # the wall clock: herds on several machines stampede together
        return math.ceil(now / HERD_EVERY + 0.01) * HERD_EVERY - now

    @task
    def hot_item(self) -> None:
        self.ask("/service-a/items/1", "/service-a/items/1")


class Quiet(Client):
    """One request a second."""

    wait_time = constant(1)

    @task
    def items(self) -> None:
        self.ask_for_an_item()


class Noisy(Client):
    """The neighbour from whom the quiet ones are to be protected: as fast as it can."""

    fixed_count = 1
    wait_time = constant(0)
    stays = True

    @task
    def items(self) -> None:
        self.ask_for_an_item()


class Arrivals(Client):
    """An open loop: a request whenever one is due, and latency from when it was due."""

    concurrency = OUTSTANDING
    connections = OUTSTANDING

    @task
    def arrive(self) -> None:
        rate = (self.options.rate or 100.0) / self.options.all_users
        pool = gevent.pool.Pool(OUTSTANDING)
        due = time.perf_counter() + self.dice.random() / rate
        try:
            while True:
                gevent.sleep(max(due - time.perf_counter(), 0))
                if pool.full():
                    self.environment.events.request.fire(
                        request_type="GET", name="(unsent)", response_time=0, response_length=0, context={},
                        exception=RuntimeError(f"{OUTSTANDING} requests are on their way already"),
                    )  # fmt: skip
                else:
                    pool.spawn(self.one, due)
                due += 1 / rate
        finally:
            pool.kill(block=False)

    def one(self, due: float) -> None:
        path = f"/service-a/items/{self.dice.choice(ITEMS)}"
        with self.ask(path, "/service-a/items/[id]", catch_response=True) as response:
            response.request_meta["response_time"] = (time.perf_counter() - due) * 1000


class Listener(User):
    """Listens to service B's ticker; each message counts as a request, its latency is how late it came."""

    host = HOST
    EVERY = 0.5

    @task
    def listen(self) -> None:
        import websocket  # Locust has patched its sockets by now

        here, host = next_visitor(self), str(self.host)
        url = f"{host.replace('http', 'ws', 1)}/service-b/ws/ticker?every={self.EVERY}&count=100000"
        began = time.perf_counter()
        connection = None
        try:
            options: dict[str, Any] = {"timeout": PATIENCE, "header": here.headers}
            if here.source is not None:
                gateway = (urlsplit(host).hostname, urlsplit(host).port or 80)
                options["socket"] = socket.create_connection(gateway, PATIENCE, (here.source, 0))
            connection = websocket.create_connection(url, **options)
            self.note("connect", began, 0, None)
            due = time.perf_counter()
            while True:
                message = connection.recv()
                self.note("message", due, len(message), None)
                due = max(due + self.EVERY, time.perf_counter())
        except (OSError, websocket.WebSocketException) as error:
            self.note("connect" if connection is None else "message", began, 0, error)
            gevent.sleep(1)
        finally:
            if connection is not None:
                connection.close(timeout=0)

    def note(self, name: str, since: float, length: int, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="WS", name=name, response_length=length, context={}, exception=error,
            response_time=max(time.perf_counter() - since, 0) * 1000,
        )  # fmt: skip
