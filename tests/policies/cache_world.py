"""A cache with a fake clock before a service that follows a script: what the cache tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from lab.model import Body, Exchange, Headers, Response
from lab.policies import Context
from lab.policies.cache import Cache
from lab.policies.cache.fields import http_date
from lab.settings import CacheSettings, ServiceSettings

START = 1_790_000_000.0
"""Unix seconds at which every test starts; monotonic time starts at 1000."""


def fields(text: str) -> Headers:
    """`"A: 1\\nB: 2"` as header fields."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return [
        (name.strip().lower().encode(), value.strip().encode("latin-1"))
        for name, _, value in (line.partition(":") for line in lines if line)
    ]


class World:
    """`await world.get(…)` is a client's request; `world.answers` is what the service says to it.

    An answer is a head as text, such as `"404\\nCache-Control: max-age=60"`, whose `@-10` stands for the HTTP
    date ten seconds ago; the body is the number of the call. A callable makes the response itself. Without a
    further answer the service repeats the last. `validate` makes it answer 304 to conditions that match the
    answer.
    """

    def __init__(self, *answers: str | Callable[[Exchange], Awaitable[Response]], **options: Any) -> None:
        self.now = 1000.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        core = options.pop("core", None)
        services = options.pop("services", {"a": ServiceSettings(url="http://127.0.0.1:1", timeout=5)})
        self.context = Context(
            services=services,
            clock=lambda: self.now,
            wall=lambda: START + self.now - 1000.0,
            emit=lambda kind, **data: self.events.append((kind, data)),
        )
        self.cache = Cache(CacheSettings(**{"ttl": 0, **options}), self.context, core=core)
        self.answers = list(answers)
        self.asked: list[Exchange] = []
        self.seen: list[Headers] = []
        """The header fields that reached the service, call by call."""
        self.dropped: list[Response] = []
        self.exchange: Exchange | None = None

    def date(self, offset: float = 0) -> str:
        return http_date(START + self.now - 1000.0 + offset).decode()

    def response(self, text: str, body: bytes | None = None) -> Response:
        """The response that a script's line stands for."""
        status, _, head = text.strip().partition("\n")
        words = []
        for word in head.split("@"):
            number = word.split("\n")[0].split(",")[0].strip()
            if words and number.lstrip("-").isdigit():
                words.append(self.date(int(number)) + word[len(number) :])
            else:
                words.append(word if not words else "@" + word)
        content = str(len(self.asked)).encode() if body is None else body
        response = Response(int(status), fields("".join(words)), content)
        response.on_end(lambda error: self.dropped.append(response))
        return response

    async def service(self, exchange: Exchange) -> Response:
        self.asked.append(exchange)
        self.seen.append(list(exchange.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(exchange)
        return self.response(answer)

    def make(self, target: str = "/items/1", head: str = "", *, method: str = "GET", **more: Any) -> Exchange:
        rest, _, query = target.partition("?")
        identity = more.pop("identity", None)
        service = more.pop("service", "a")
        exchange = Exchange(
            method,
            f"/{service}{rest}".encode(),
            rest=rest.encode(),
            query=query.encode(),
            headers=fields(head),
            service=service,
            host=more.pop("host", b"gateway:8000"),
            **more,
        )
        exchange.identity = identity
        return exchange

    async def get(self, target: str = "/items/1", head: str = "", **more: Any) -> Response:
        self.exchange = self.make(target, head, **more)
        return await self.cache(self.exchange, self.service)

    @property
    def calls(self) -> int:
        return len(self.asked)


def said(response: Response, name: str) -> str | None:
    """A header field's lines, joined, as text."""
    values = [value.decode("latin-1") for key, value in response.headers if key == name.encode()]
    return ", ".join(values) if values else None


async def drain(response: Response) -> bytes:
    """The whole body, as the edge would send it."""
    if response.stream is None:
        response.end()
        return response.content
    body = b"".join([chunk async for chunk in response.stream])
    response.end()
    return body


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def with_body(*chunks: bytes) -> Body:
    return Body(pieces(*chunks), length=sum(map(len, chunks)))
