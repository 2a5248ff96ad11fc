"""A shadow: a second class is asked what the serving one is asked, and nobody acts on its answers.

So a class of one's own can be compared with the lab's under real traffic, at no client's risk. Both get the
same calls in the same order, with the same times and the same random numbers. The first answer in which they
differ is reported with the request that it belongs to, and ends it: from there on the two have lived through
different things. So do an exception and a call that holds the event loop.

The comparison is of cores, since that is what a class of one's own is. The other cores of a section, and the
stages, know nothing of it: where there is no shadow there is nothing to be paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Self

from lab.model import Exchange, Handler, Response
from lab.policies import Stage, plug
from lab.policies.breaker import ALGORITHMS as BREAKERS
from lab.policies.cache import ALGORITHMS as CACHES
from lab.policies.guard import BOUND, PolicyTimeout, Watchdog
from lab.policies.rate_limit import ALGORITHMS as LIMITERS
from lab.policies.retry import ALGORITHMS as BACKOFFS

CLOSE = 1e-3
"""Seconds by which two times may differ: no header and no client shows less."""


@dataclass(frozen=True)
class Difference:
    """The first answer in which the two differ."""

    number: int
    """Of the requests since the shadow began; the first one is 1, and 0 means before any."""
    request_id: str
    method: str
    path: str
    """As in the access log: raw, without the query."""
    call: str
    serving: str
    """What the serving class answered."""
    shadow: str
    """What the shadow answered, or how it failed."""

    def __str__(self) -> str:
        where = f"request {self.number}, {self.method} {self.path}" if self.number else "before any request"
        return f"{where}: {self.call} is {self.serving}, the shadow says {self.shadow}"


class Shadow:
    """What is known of a comparison: how many requests it saw, and the first difference."""

    def __init__(self, use: str, watchdog: Watchdog | None = None) -> None:
        self.use = use
        self.requests = 0
        self.difference: Difference | None = None
        self.differs: Callable[[Difference], None] = lambda difference: None
        """Called once, with the first difference."""
        self._watchdog = watchdog or Watchdog()
        self._current: ContextVar[tuple[int, Exchange] | None] = ContextVar("current", default=None)
        self._last: tuple[int, Exchange] | None = None
        self._zero: float | None = None

    def begin(self, exchange: Exchange) -> None:
        """What is asked from here on, in this task, is asked for this exchange."""
        self.requests += 1
        self._last = self.requests, exchange
        self._current.set(self._last)

    def at(self, now: float) -> str:
        """A time as it is told: in seconds since the first one."""
        self._zero = now if self._zero is None else self._zero
        return f"{now - self._zero:.3f}"

    def compare(
        self,
        ask: Callable[[], Any],
        serving: Any,
        call: str,
        same: Callable[[Any, Any], bool],
        told: Callable[[Any], str] = repr,
    ) -> Any:
        """What the shadow answers to `ask`; None where it is out, or goes out now.

        `serving` is what the other one has answered, and `same` says whether the two mean the same.
        """
        if self.difference is not None:
            return None
        try:
            answer, agree = self._watchdog.call(lambda: (answer := ask(), same(serving, answer)))
            if agree:
                return answer
            found = self._watchdog.call(told, answer)
        except (KeyboardInterrupt, SystemExit):
            raise
        except PolicyTimeout:
            found = f"nothing: it held the event loop for more than {BOUND:g} s"
        except BaseException as error:
            found = plug.oneline(error)
        self._end(call, told(serving), found)
        return None

    def tell(self, ask: Callable[[], Any], call: str) -> None:
        """Let the shadow know of something to which there is no answer."""
        self.compare(ask, None, call, lambda serving, answer: True, lambda answer: "done")

    def _end(self, call: str, serving: str, shadow: str) -> None:
        number, exchange = self._current.get() or self._last or (0, None)
        self.difference = Difference(
            number,
            exchange.request_id if exchange else "",
            exchange.method if exchange else "",
            exchange.raw_path.decode("latin-1") if exchange else "",
            call,
            serving,
            shadow[:300],
        )
        self.differs(self.difference)

    def snapshot(self) -> dict[str, Any]:
        found = self.difference
        return {"use": self.use, "requests": self.requests, "difference": found and asdict(found)}


class Shadowed:
    """A stage in whose cores a shadow is asked too; it tells the shadow which exchange it is about."""

    section: ClassVar[str] = ""

    def __init__(self, stage: Stage, shadow: Shadow) -> None:
        self.stage = stage
        self.shadow = shadow

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        self.shadow.begin(exchange)
        return await self.stage(exchange, call_next)

    def snapshot(self) -> dict[str, Any]:
        return self.stage.snapshot()

    def adopt(self, old: Self) -> None:
        """Both begin afresh, or they would not have lived through the same."""


# -- pairs ---------------------------------------------------------------------------------------------------


class Pair:
    """A core that asks two: the serving one, whose answers it gives, and the shadow's, which it compares.

    `make` makes the shadow's; what becomes of that is a matter of the comparison as well.
    """

    def __init__(self, serving: Any, make: Callable[[], Any], shadow: Shadow) -> None:
        self.serving = serving
        self.shadow = shadow
        self.other: Any = None
        shadow.tell(lambda: setattr(self, "other", make()), "making it")


class Limiters(Pair):
    """Two `Limiter`s."""

    def take(self, key: Hashable, now: float) -> Any:
        verdict = self.serving.take(key, now)
        ask = lambda: self.other.take(key, now)  # noqa: E731
        self.shadow.compare(ask, verdict, f"take({key!r}, {self.shadow.at(now)})", same_verdict, told_verdict)
        return verdict

    @property
    def clients(self) -> int | None:
        return getattr(self.serving, "clients", None)


def same_verdict(serving: Any, other: Any) -> bool:
    """Whether a client is told the same; how long it has to wait counts only where it has to."""
    return (
        bool(serving.admitted) == bool(other.admitted)
        and (serving.limit, serving.remaining) == (other.limit, other.remaining)
        and close(serving.reset, other.reset)
        and (bool(serving.admitted) or close(serving.retry_after, other.retry_after))
    )


def told_verdict(verdict: Any) -> str:
    times = f"reset {verdict.reset:.3f} s"
    if not verdict.admitted:
        times += f", retry_after {verdict.retry_after:.3f} s"
    return f"{'admitted' if verdict.admitted else 'refused'}, remaining {verdict.remaining}, {times}"


class Stores(Pair):
    """Two `Store`s: the same things are put into both."""

    def get(self, key: bytes, now: float) -> Any:
        entry = self.serving.get(key, now)
        ask = lambda: self.other.get(key, now)  # noqa: E731
        told = partial(told_entry, entry)
        self.shadow.compare(
            ask, entry, f"get({shown(key)}, {self.shadow.at(now)})", lambda a, b: a is b, told
        )
        return entry

    def put(self, key: bytes, entry: Any, now: float) -> None:
        self.serving.put(key, entry, now)
        self.shadow.tell(
            lambda: self.other.put(key, entry, now), f"put({shown(key)}, …, {self.shadow.at(now)})"
        )

    def delete(self, key: bytes) -> None:
        self.serving.delete(key)
        self.shadow.tell(lambda: self.other.delete(key), f"delete({shown(key)})")

    def clear(self) -> None:
        self.serving.clear()
        self.shadow.tell(lambda: self.other.clear(), "clear()")

    def __len__(self) -> int:
        return len(self.serving)


def shown(key: bytes) -> str:
    """A cache's key without the query, which may hold what is nobody's business."""
    path, mark, _ = key.decode("latin-1").partition("?")
    return repr(path + mark + ("…" if mark else ""))


def told_entry(serving: Any, entry: Any) -> str:
    if entry is None:
        return "nothing"
    return "what was put" if entry is serving or serving is None else "something else"


class Breakers(Pair):
    """Two `Breaker`s: a permission of the pair is one of each.

    How long an open breaker stays open is compared; what a half-open one says of it is its own guess.
    """

    def acquire(self, now: float) -> Any | None:
        permission = self.serving.acquire(now)
        other = self.shadow.compare(
            lambda: self.other.acquire(now),
            permission,
            f"acquire({self.shadow.at(now)})",
            lambda a, b: (a is None) == (b is None),
            lambda it: "a refusal" if it is None else "a permission",
        )
        return None if permission is None else (permission, other)

    def success(self, permission: Any, now: float, duration: float) -> None:
        mine, other = permission
        self.serving.success(mine, now, duration)
        self.shadow.tell(
            lambda: self.other.success(other, now, duration), f"success(…, {self.shadow.at(now)})"
        )

    def failure(self, permission: Any, now: float, duration: float) -> None:
        mine, other = permission
        self.serving.failure(mine, now, duration)
        self.shadow.tell(
            lambda: self.other.failure(other, now, duration), f"failure(…, {self.shadow.at(now)})"
        )

    def release(self, permission: Any, now: float) -> None:
        mine, other = permission
        self.serving.release(mine, now)
        self.shadow.tell(lambda: self.other.release(other, now), f"release(…, {self.shadow.at(now)})")

    def state(self, now: float) -> Any:
        state = self.serving.state(now)
        self.shadow.compare(
            lambda: self.other.state(now), state, f"state({self.shadow.at(now)})", lambda a, b: a == b
        )
        return state

    def retry_after(self, now: float) -> float:
        wait: float = self.serving.retry_after(now)
        if self.serving.state(now) == "open":
            call = f"retry_after({self.shadow.at(now)})"
            self.shadow.compare(lambda: self.other.retry_after(now), wait, call, close, "{:.3f} s".format)
        return wait

    @property
    def reason(self) -> str:
        return str(getattr(self.serving, "reason", ""))

    def snapshot(self, now: float) -> dict[str, Any]:
        figures: dict[str, Any] = self.serving.snapshot(now)
        return figures


class Backoffs(Pair):
    """Two `Backoff`s."""

    def pause(self, retry: int, draw: float) -> float:
        pause: float = self.serving.pause(retry, draw)
        call = f"pause({retry}, {draw:.3f})"
        self.shadow.compare(lambda: self.other.pause(retry, draw), pause, call, close, "{:.3f} s".format)
        return pause


def close(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE


PAIRS: dict[str, tuple[dict[str, type[Any]], type[Pair]]] = {
    "rate_limit": (LIMITERS, Limiters),
    "cache": (CACHES, Stores),
    "breaker": (BREAKERS, Breakers),
    "retry": (BACKOFFS, Backoffs),
}
"""By section: the algorithms of the lab's, and what asks one of them and a shadow."""


def pair(section: str, use: str, shadow: Shadow) -> type[Pair]:
    """A class whose objects ask what `use` names, an algorithm of the lab's, and the shadow's class.

    Raises `plug.PlugError`.
    """
    if section not in PAIRS:
        raise plug.PlugError(f"{section}: there is nothing to compare; try {', '.join(PAIRS)}")
    algorithms, kind = PAIRS[section]
    if use not in algorithms:
        raise plug.PlugError(f"{section}: '{use}' serves; a shadow needs an algorithm of the lab's beside it")
    serving, other = algorithms[use], plug.find(shadow.use, {})
    if hasattr(serving, "lookup"):
        raise plug.PlugError(f"{section}: '{use}' is no table; a shadow needs 'ttl' beside it")

    class Both(kind):  # type: ignore[valid-type, misc]
        def __init__(self, **options: Any) -> None:
            make = partial(plug.construct, other, **options)
            super().__init__(plug.construct(serving, **options), make, shadow)

    return Both
