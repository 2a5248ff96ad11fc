"""Retries: a short failure stays unseen, within one deadline, and never as a storm."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Protocol, Self

from lab.model import Exchange, Handler, Response
from lab.policies import Context, plug
from lab.policies.per_service import PerService
from lab.settings import RetrySettings

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice (RFC 9110 §9.2.2); TRACE never gets here."""

CONNECT_FAILURES = frozenset(
    {"dns_timeout", "destination_ip_unroutable", "connection_refused", "connection_timeout"}
)
"""Failures (RFC 9209 §2.3) before the service was asked anything."""

RETRYABLE_FAILURES = CONNECT_FAILURES | {
    "connection_terminated",
    "connection_read_timeout",
    "connection_write_timeout",
    "http_response_incomplete",
    "http_protocol_error",
}
"""Failures that another attempt may not meet: the conditions `error` and `invalid_header` of nginx's
proxy_next_upstream, `connect-failure` and `reset` of Envoy's retry_on. Not among them: a used-up deadline, a
full pool and a service marked down, where a retry would only add to the load."""

RETRYABLE_STATUS = frozenset({502, 503, 504})
"""The service's own answers that are worth another attempt (Envoy's `gateway-error`); a 500 is its bug."""


class Backoff(Protocol):
    """How long to wait before a retry."""

    def pause(self, retry: int, draw: float) -> float:
        """Seconds before retry number `retry` (1 is the first); `draw` is a random number, 0 ≤ draw < 1."""


class FullJitter:
    """Exponential backoff with full jitter: retry n waits anything from 0 to `backoff` · 2ⁿ⁻¹ seconds.

    The range ends at `backoff_max`. Drawing from the whole range spreads the clients of one outage evenly;
    without the jitter they would all come back at the same moment. After M. Brooker, "Timeouts, retries, and
    backoff with jitter", Amazon Builders' Library.
    """

    def __init__(self, backoff: float = 0.05, backoff_max: float = 1.0) -> None:
        self.backoff = backoff
        self.backoff_max = backoff_max

    def pause(self, retry: int, draw: float) -> float:
        # 2³² times anything is beyond every maximum, and no float overflows before it.
        return draw * min(self.backoff_max, self.backoff * 2.0 ** min(retry - 1, 32))


ALGORITHMS: dict[str, type[Any]] = {"backoff": FullJitter}


class RetryBudget:
    """Of the exchanges of the last `window` seconds at most `percent` (0 to 100) of a hundred are retried.

    While there are few exchanges, `minimum` retries per window are allowed all the same, so that a lone
    request may have its retry; 0 percent allows none. A failing service thus gets its normal load and a
    little more, never a multiple. After Finagle's RetryBudget, whose default is ten a second as well, and
    "Site Reliability Engineering", ch. 21.
    """

    def __init__(self, percent: float = 20.0, minimum: int = 100, window: int = 10) -> None:
        self.percent = percent
        self.minimum = minimum if percent > 0 else 0
        self.exhausted = False
        """True from the first refusal until half of the allowance is free again."""
        self._second = 0
        self._exchanges = [0] * window  # a counter for each second, used as a ring
        self._retries = [0] * window

    def exchange(self, now: float) -> None:
        """Count an exchange, whatever becomes of it."""
        self._turn(now)
        self._exchanges[self._second % len(self._exchanges)] += 1

    def take(self, now: float) -> bool:
        """Whether one more retry may be made; True counts it."""
        if self.used(now) >= self.allowance(now):
            self.exhausted = self.percent > 0
            return False
        self._retries[self._second % len(self._retries)] += 1
        return True

    def restored(self, now: float) -> bool:
        """True once, when an exhausted budget has half of its allowance again."""
        if not self.exhausted or 2 * self.used(now) > self.allowance(now):
            return False
        self.exhausted = False
        return True

    def used(self, now: float) -> int:
        """Retries made within the window."""
        self._turn(now)
        return sum(self._retries)

    def allowance(self, now: float) -> int:
        """Retries that the exchanges of the window pay for, those already made included."""
        self._turn(now)
        return max(self.minimum, int(sum(self._exchanges) * self.percent / 100))

    def _turn(self, now: float) -> None:
        """Turn the ring to this second, emptying the counters of those that left the window."""
        second = int(now)
        if second == self._second:
            return
        window = len(self._exchanges)
        for passed in range(max(self._second + 1, second - window + 1), second + 1):
            self._exchanges[passed % window] = self._retries[passed % window] = 0
        self._second = second

    def adopt(self, old: Self) -> None:
        """Go on with the counts of `old`, whose window is as long."""
        self.exhausted = old.exhausted
        self._second = old._second
        self._exchanges = list(old._exchanges)
        self._retries = list(old._retries)


def worth_retrying(exchange: Exchange, response: Response) -> bool:
    """Whether another attempt is allowed by the request, and may end better than this one."""
    if response.status not in RETRYABLE_STATUS:
        return False
    if exchange.kind == "websocket":
        return response.failure in CONNECT_FAILURES  # once the service has been asked, its word counts
    if exchange.method not in IDEMPOTENT or not exchange.body.replayable:
        return False
    return response.failure is None or response.failure in RETRYABLE_FAILURES


def retry_after(response: Response, wall: float) -> float:
    """Seconds that the response asks to wait (RFC 9110 §10.2.3), 0.0 without a word; `wall` is Unix time."""
    value = (response.header(b"retry-after") or b"").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value.decode("latin-1"))
    except ValueError:
        return 0.0
    # An HTTP date is in GMT (§5.6.7), whether Python recognised the zone or not.
    return max(0.0, moment.replace(tzinfo=UTC).timestamp() - wall)


class _Account:
    """A service's budget and its figures."""

    __slots__ = ("budget", "denied", "retries")

    def __init__(self, budget: RetryBudget) -> None:
        self.budget = budget
        self.retries = 0
        self.denied = 0


class Retry:
    """Sets the exchange's deadline and repeats attempts that failed before the response went on its way.

    The deadline is `timeout` seconds of the service from here on and covers all attempts and pauses: the last
    step gives each attempt what is left of it. An answer whose retry would not fit, or is not paid for by the
    service's budget, is passed on as it is.
    """

    section: ClassVar[str] = "retry"

    def __init__(self, options: RetrySettings, context: Context, *, core: Any = None) -> None:
        """`core` is a `Backoff` to use instead of the one that `options.use` names, or a class of it."""
        self._services = context.services
        self._clock = context.clock
        self._wall = context.wall
        self._sleep = context.sleep
        self._random = context.random
        self._emit = context.emit
        if core is None:
            core = plug.find(options.use, ALGORITHMS)
        self._backoff: Backoff = plug.construct(core, **dict(options)) if isinstance(core, type) else core
        self._accounts = PerService(
            context.services,
            lambda _: _Account(RetryBudget(options.budget_percent, options.budget_minimum)),
        )

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        name = exchange.service
        service = self._services.get(name)
        account = self._accounts.get(name)
        if service is None or account is None:
            return await call_next(exchange)
        now = self._clock()
        if exchange.deadline is None:
            exchange.deadline = now + service.timeout
        account.budget.exchange(now)
        self._watch(name, account, now)
        response = await call_next(exchange)
        retry = 0
        while retry < service.retries and worth_retrying(exchange, response):
            retry += 1
            pause = max(
                self._backoff.pause(retry, self._random()),
                retry_after(response, self._wall()) if response.failure is None else 0.0,
            )
            now = self._clock()
            if now + pause >= exchange.deadline or not self._paid(name, account, now):
                break
            account.retries += 1
            await response.aclose()
            await self._sleep(pause)
            response = await call_next(exchange)
        return response

    def _paid(self, name: str, account: _Account, now: float) -> bool:
        before = account.budget.exhausted
        if account.budget.take(now):
            return True
        account.denied += 1
        if account.budget.exhausted and not before:
            self._emit("retry_budget", service=name, action="exhausted")
        return False

    def _watch(self, name: str, account: _Account, now: float) -> None:
        if account.budget.exhausted and account.budget.restored(now):
            self._emit("retry_budget", service=name, action="restored")

    @classmethod
    def prove(cls, options: RetrySettings, context: Context) -> None:
        """Ask what `options.use` names for some pauses. Raises `PlugError` where one is none."""
        backoff = cls(options, context)._backoff
        plug.promise(options.use, *plug.methods(backoff, Backoff))
        for retry in (1, 2, 10, 1000):
            for draw in (0.0, 0.5, 0.999):
                pause = backoff.pause(retry, draw)
                fine = 0 <= pause < math.inf
                plug.promise(options.use, fine, f"pause({retry}, {draw}) is {pause!r}, no number of seconds")

    def snapshot(self) -> dict[str, Any]:
        """Per service: retries made and denied, and the budget: used and allowed in its window."""
        now = self._clock()
        services: dict[str, Any] = {}
        for name, account in self._accounts.items():
            self._watch(name, account, now)
            budget = account.budget
            services[name] = {
                "retries": account.retries,
                "denied": account.denied,
                "exhausted": budget.exhausted,
                "used": budget.used(now),
                "allowance": budget.allowance(now),
            }
        return {"services": services}

    def adopt(self, old: Self) -> None:
        """Go on with the budgets and totals of `old`."""
        adopted = dict(self._accounts.items())
        for name, before in old._accounts.items():
            account = adopted[name]
            account.retries = before.retries
            account.denied = before.denied
            account.budget.adopt(before.budget)
