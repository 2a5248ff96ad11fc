"""Traffic for the lab: an ordinary Locust file.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000        # its web page asks for the rest
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless --users 50 --run-time 30s
    locust … --shape spike     --rate 200     --api-keys my-secret-key     --processes 2

Each user is a client of its own: it shows an API key of `--api-keys`, and its own address in X-Forwarded-For,
which a gateway believes that trusts this machine (`trusted_proxies: [127.0.0.1/32]`).
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import gevent.pool
from locust import FastHttpUser, LoadTestShape, User, constant, events, task

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Locust puts only this folder there

from lab.load.shapes import HERD_EVERY, SHAPES, USUAL_TIME
from loadtests import figures

SEED = 2026
PATIENCE = 10.0
"""Seconds that a user waits for an answer."""
OUTSTANDING = 1000
"""Requests of one `Arrivals` that may be on their way; beyond that they count as failed, unsent."""
ITEMS = [round(1 + 200 * (n / 1000) ** 3) for n in range(1000)]
"""Items that are asked for: few of them often, many seldom."""

numbers = itertools.count()


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="steady", help="How the load goes on")
    parser.add_argument(
        "--rate", type=float, default=0, help="Requests a second of all users; 0: all they can"
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


class Client(FastHttpUser):
    """A client with a name of its own."""

    abstract = True
    concurrency = 1
    network_timeout = PATIENCE
    connection_timeout = PATIENCE

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.options = environment.parsed_options
        self.number = next(numbers)
        self.dice = random.Random(SEED + self.number)
        self.headers = {
            "X-Forwarded-For": f"10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}"
        }
        keys = [key for key in self.options.api_keys.split(",") if key]
        if keys:
            self.headers["X-API-Key"] = keys[self.number % len(keys)]

    def ask(self, path: str, name: str) -> None:
        self.client.get(path, name=name, headers=self.headers)

    def ask_for_an_item(self) -> None:
        self.ask(f"/service-a/items/{self.dice.choice(ITEMS)}", "/service-a/items/[id]")


class Shopper(Client):
    """Looks at items, now and then at the users; waits as long as `--rate` wants it to."""

    def wait_time(self) -> float:
        rate, users = self.options.rate, self.options.num_users or 1
        if not rate:
            return 0.0
        # The next moment of its own clock: a slow answer is made up for, so that the rate is kept.
        pace = users / rate
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

    @task
    def items(self) -> None:
        self.ask_for_an_item()


class Arrivals(Client):
    """An open loop: a request whenever one is due, and latency from when it was due."""

    concurrency = OUTSTANDING
    connections = OUTSTANDING

    @task
    def arrive(self) -> None:
        rate = (self.options.rate or 100.0) / (self.options.num_users or 1)
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
        with self.client.get(
            path, name="/service-a/items/[id]", headers=self.headers, catch_response=True
        ) as response:
            response.request_meta["response_time"] = (time.perf_counter() - due) * 1000


class Listener(User):
    """Listens to service B's ticker; each message counts as a request, its latency is how late it came."""

    EVERY = 0.5

    @task
    def listen(self) -> None:
        import websocket  # Locust has patched its sockets by now

        host = str(self.host or "").replace("http", "ws", 1)
        url = f"{host}/service-b/ws/ticker?every={self.EVERY}&count=100000"
        began = time.perf_counter()
        socket = None
        try:
            socket = websocket.create_connection(url, timeout=PATIENCE)
            self.note("connect", began, 0, None)
            due = time.perf_counter()
            while True:
                message = socket.recv()
                self.note("message", due, len(message), None)
                due = max(due + self.EVERY, time.perf_counter())
        except (OSError, websocket.WebSocketException) as error:
            self.note("connect" if socket is None else "message", began, 0, error)
            gevent.sleep(1)
        finally:
            if socket is not None:
                socket.close(timeout=0)

    def note(self, name: str, since: float, length: int, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="WS", name=name, response_length=length, context={}, exception=error,
            response_time=max(time.perf_counter() - since, 0) * 1000,
        )  # fmt: skip
