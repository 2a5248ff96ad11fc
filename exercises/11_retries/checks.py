"""The checks of exercise 11."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from lab.exercises.kit import Answer, Clock, Request, Student, Thing, check, expect, expect_that

START = 1000.0
ATTEMPTS = "test_a_failure_is_tried_again"
DISGUISE = {
    "Backoff": {"backoff": "span", "backoff_max": "span"},
    "Budget": {"window": "span"},
    "exchange": ("moment",),
    "take": ("moment",),
    "returns": {"pause": "span"},
    "words": ("service", "items"),
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


class Service:
    """What stands behind the stage: notes when it is asked, and gives its answers one after the other.

    An answer is a status, an `Answer`, an `asyncio.Event` (a 503 when it is set) or None: there is none.
    """

    def __init__(self, clock: Clock, *answers: int | Answer | asyncio.Event | None) -> None:
        self.clock = clock
        self.answers = answers
        self.asked: list[float] = []

    async def call_next(self, request: Request) -> Answer:
        self.asked.append(self.clock.now - START)
        number = len(self.asked)
        answer = self.answers[min(number, len(self.answers)) - 1]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = 503
        if isinstance(answer, Answer):
            return answer
        return Answer(
            int(answer or 0), [["x-attempt", str(number)]], f"attempt {number}".encode(), streamed=True
        )


class Setting:
    """A stage with a clock that stands still, pauses of 0.5, 1, 2, … seconds and a generous budget."""

    def __init__(self, student: Student, *, minimum: int = 100, percent: float = 0.0, **options: Any) -> None:
        self.student = student
        self.clock = student.clock(START)
        backoff = student.new("Backoff", backoff=1.0, backoff_max=8.0)
        self.budget = student.new("Budget", percent=percent, minimum=minimum, window=1000.0)
        self.stage: Thing = student.new(
            "Retry",
            backoff,
            self.budget,
            clock=self.clock,
            sleep=self.clock.sleep,
            draw=student.clock(0.5),  # a clock that stands still is also a die that always shows the same
            **options,
        ).answering(__call__=Answer)

    async def send(self, service: Service, method: str = "GET") -> asyncio.Task[Answer]:
        """One request, as far as it comes without time passing."""
        task = self.stage.start("__call__", Request(method), service.call_next)
        await self.student.settle()
        return task

    async def wait(self, seconds: float) -> None:
        self.clock.tick(seconds)
        await self.student.settle()

    async def end(self, task: asyncio.Task[Answer], when: str) -> Answer:
        """The answer, which must be there."""
        await self.student.settle()
        expect_that(task.done(), f"an answer {when}", "none yet")
        return await task


@check(
    points=2,
    why="A service that is starting again needs room; who asks twice as fast gives it half of that.",
    look="`pause`: the range is `backoff` before the first retry, and doubles with each further one",
    mistake="doubling",
)
def test_the_range_of_pauses_doubles(student: Student) -> None:
    backoff = student.new("Backoff", backoff=0.25, backoff_max=100.0).answering(pause=float)
    pauses = [backoff.pause(retry, 0.5) for retry in (1, 2, 3, 4, 5)]
    expect(
        pauses,
        [0.125, 0.25, 0.5, 1.0, 2.0],
        of="pauses before retries 1 to 5, backoff 0.25, draw 0.5",
        within=1e-9,
    )


@check(
    points=2,
    why="Clients that failed together must not come back together.",
    look="`draw`: 0 is the beginning of the range, 0.999… its end",
    mistake="jitter",
)
def test_a_pause_can_be_anything_in_its_range(student: Student) -> None:
    backoff = student.new("Backoff", backoff=2.0, backoff_max=100.0).answering(pause=float)
    pauses = [backoff.pause(2, draw) for draw in (0.0, 0.25, 0.75)]
    expect(
        pauses, [0.0, 1.0, 3.0], of="pauses before retry 2, backoff 2.0, draws 0, 0.25 and 0.75", within=1e-9
    )


@check(
    points=2,
    why="Doubling gets out of hand quickly: the twentieth pause would be six days.",
    after=("test_the_range_of_pauses_doubles",),
    look="`backoff_max` limits the range before `draw` picks from it; and what 2 ** 5000 is as a float",
    mistake="maximum",
)
def test_no_range_is_longer_than_the_maximum(student: Student) -> None:
    backoff = student.new("Backoff", backoff=0.5, backoff_max=4.0).answering(pause=float)
    pauses = [backoff.pause(retry, 0.5) for retry in (3, 4, 5, 20, 5000)]
    expect(
        pauses,
        [1.0, 2.0, 2.0, 2.0, 2.0],
        of="pauses before retries 3, 4, 5, 20 and 5000, draw 0.5",
        within=1e-9,
    )


@check(
    points=2,
    why="A lone request may have its second chance.",
    look="`minimum`: so many retries are granted although there was hardly an exchange",
    mistake="minimum",
)
def test_a_few_retries_are_always_granted(student: Student) -> None:
    for minimum in (3, 1, 0):
        budget = student.new("Budget", percent=20.0, minimum=minimum, window=10.0).answering(
            exchange=None, take=bool
        )
        budget.exchange(50.0)
        granted = [budget.take(50.0) for _ in range(6)]
        wanted = [True] * minimum + [False] * (6 - minimum)
        expect(granted, wanted, of=f"retries granted after one exchange, minimum {minimum}")


@check(
    points=3,
    why="A service that is down gets its normal load and a fifth, not its load three times.",
    after=("test_a_few_retries_are_always_granted",),
    look="the larger of `minimum` and `percent` of the exchanges is what may be retried",
    mistake="percent",
)
def test_a_share_of_the_exchanges_may_be_retried(student: Student) -> None:
    for percent, exchanges, wanted in ((20.0, 100, 20), (50.0, 9, 4), (10.0, 20, 3), (100.0, 200, 200)):
        budget = student.new("Budget", percent=percent, minimum=3, window=10.0).answering(
            exchange=None, take=bool
        )
        for _ in range(exchanges):
            budget.exchange(50.0)
        granted = [budget.take(51.0) for _ in range(exchanges + 5)]
        expect(
            sum(granted),
            wanted,
            of=f"retries granted of {exchanges} exchanges, {percent:g} percent, minimum 3",
        )


@check(
    points=3,
    why="Yesterday's quiet must not pay for today's storm, nor yesterday's storm forbid it.",
    after=("test_a_share_of_the_exchanges_may_be_retried",),
    look="exchanges and granted retries count for `window` seconds and no longer; refusals never",
    mistake="window",
)
def test_the_budget_looks_at_the_last_seconds_only(student: Student) -> None:
    budget = student.new("Budget", percent=50.0, minimum=1, window=10.0).answering(exchange=None, take=bool)
    for _ in range(8):
        budget.exchange(50.0)
    expect(
        [budget.take(55.0) for _ in range(6)], [True] * 4 + [False] * 2, of="take at 55, 8 exchanges at 50"
    )
    expect(budget.take(59.75), False, of="take at 59.75")
    expect(
        budget.take(60.0), False, of="take at 60: the exchanges are forgotten, the four retries of 55 are not"
    )
    expect(budget.take(64.75), False, of="take at 64.75")
    expect(
        [budget.take(65.0), budget.take(65.0)],
        [True, False],
        of="take at 65, twice: the retries are forgotten, too",
    )
    for _ in range(4):
        budget.exchange(74.0)
    expect(budget.take(74.0), True, of="take at 74, one retry at 65 and 4 exchanges now")
    expect(budget.take(74.5), False, of="take at 74.5, the two that were granted counting still")


@check(
    points=1,
    why="The gateway gives a class the options that its constructor names; a test may give it none.",
    after=("test_the_budget_looks_at_the_last_seconds_only", "test_no_range_is_longer_than_the_maximum"),
    look="the constructors' defaults: do not change them",
)
def test_the_defaults_are_as_they_were(student: Student) -> None:
    backoff = student.new("Backoff").answering(pause=float)
    expect(
        [backoff.pause(n, 0.5) for n in (1, 99)],
        [0.025, 0.5],
        of="pauses before retries 1 and 99",
        within=1e-9,
    )
    budget = student.new("Budget").answering(take=bool)
    expect(
        [budget.take(0.0) for _ in range(5)],
        [True] * 3 + [False] * 2,
        of="take, five times, without exchanges",
    )
    for _ in range(100):
        budget.exchange(9.75)
    granted = sum(budget.take(9.875) for _ in range(30))
    expect(granted, 17, of="retries granted 9.875 s later, after 100 exchanges and those three")
    expect([budget.take(10.0) for _ in range(4)], [True] * 3 + [False], of="take, four times, 10 s later")


@check(
    points=2,
    why="Most requests succeed at once; for them there must be no difference.",
    look="the simplest case first: one attempt whose answer is passed on",
)
async def test_a_success_is_passed_on(student: Student) -> None:
    setting = Setting(student)
    for status in (200, 404, 500):
        service = Service(setting.clock, status)
        task = await setting.send(service)
        await setting.wait(60.0)
        expect(
            len(service.asked),
            1,
            of=f"attempts where the service answers {status}",
            mistake="what-is-retried",
        )
        answer = await setting.end(task, "at once")
        expect(answer.status, status, of="the status")
        expect(answer.body, b"attempt 1", of="the body")
        expect(answer.header("x-attempt"), "1", of="the field X-Attempt")


@check(
    points=3,
    why="A service that is restarting answers the second time.",
    after=("test_a_success_is_passed_on", "test_the_range_of_pauses_doubles"),
    look="which statuses are tried again, after which pause: `RETRYABLE`, `backoff.pause(retry, draw())`",
    mistake="what-is-retried",
)
async def test_a_failure_is_tried_again(student: Student) -> None:
    for status in (502, 503, 504):
        setting = Setting(student)
        service = Service(setting.clock, status, 200)
        task = await setting.send(service)
        expect(
            service.asked,
            [0.0],
            of=f"attempts before any time has passed, the first being {status}",
            mistake="pause",
        )
        await setting.wait(0.25)
        expect(service.asked, [0.0], of="attempts half-way through the pause of 0.5 s", mistake="pause")
        await setting.wait(0.25)
        expect(service.asked, [0.0, 0.5], of="seconds at which the service is asked")
        answer = await setting.end(task, "when the second attempt has succeeded")
        expect(answer.status, 200, of="the status")
        expect(answer.body, b"attempt 2", of="the body")


@check(
    points=2,
    why="Who never gives up is part of the problem.",
    after=(ATTEMPTS,),
    look="`retries` counts the attempts after the first; then the last answer is passed on; the pauses grow",
    mistake="retries",
)
async def test_it_gives_up_after_so_many_retries(student: Student) -> None:
    for retries, wanted in ((2, [0.0, 0.5, 1.5]), (0, [0.0]), (3, [0.0, 0.5, 1.5, 3.5])):
        setting = Setting(student, retries=retries, timeout=60.0)
        service = Service(setting.clock, 503)
        task = await setting.send(service)
        for _ in range(40):
            await setting.wait(0.125)
        expect(service.asked, wanted, of=f"seconds at which the service is asked, with retries={retries}")
        answer = await setting.end(task, "when all attempts have failed")
        expect(answer.status, 503, of="the status")
        expect(answer.body, f"attempt {len(wanted)}".encode(), of="the body")


@check(
    points=3,
    why="The first attempt may have worked and only its answer been lost: two POSTs are two orders.",
    after=(ATTEMPTS,),
    look="the methods in `IDEMPOTENT`, and no others",
    mistake="method",
)
async def test_only_idempotent_methods_are_tried_again(student: Student) -> None:
    for method, attempts in (
        ("POST", 1),
        ("PATCH", 1),
        ("PUT", 2),
        ("DELETE", 2),
        ("HEAD", 2),
        ("OPTIONS", 2),
    ):
        setting = Setting(student, retries=1)
        service = Service(setting.clock, 502)
        task = await setting.send(service, method)
        if attempts == 1:
            expect((await setting.end(task, "at once")).status, 502, of=f"the status for {method}")
        await setting.wait(5.0)
        expect(len(service.asked), attempts, of=f"attempts for {method}")
        await setting.end(task, "after the attempts")


@check(
    points=3,
    why="A client that waits for ever holds a connection for ever.",
    after=("test_a_success_is_passed_on",),
    look="the attempt and an alarm side by side: `sleep` until the deadline in a task; whichever is first",
    mistake="timeout",
)
async def test_a_service_that_does_not_answer_is_given_up(student: Student) -> None:
    setting = Setting(student, timeout=4.0)
    task = await setting.send(Service(setting.clock, None))
    await setting.wait(3.75)
    expect(task.done(), False, of="an answer a quarter of a second before the time is up")
    await setting.wait(0.25)
    answer = await setting.end(task, "when the time is up")
    expect(answer.status, 504, of="the status")
    expect(answer.failure, "http_response_timeout", of="failure")


@check(
    points=1,
    why="Who says nothing gets ten seconds and two retries.",
    after=(ATTEMPTS, "test_a_service_that_does_not_answer_is_given_up"),
    look="the constructor's defaults: do not change them",
)
async def test_the_stage_has_its_defaults(student: Student) -> None:
    setting = Setting(student)
    task = await setting.send(Service(setting.clock, None))
    await setting.wait(9.75)
    expect(task.done(), False, of="an answer after 9.75 s")
    await setting.wait(0.25)
    await setting.end(task, "after 10 s")
    service = Service(setting.clock, 503)
    task = await setting.send(service)
    for _ in range(9):
        await setting.wait(1.0)
    expect(len(service.asked), 3, of="attempts")


@check(
    points=4,
    why="Three attempts of ten seconds each are half a minute; nobody waits that long.",
    after=(ATTEMPTS, "test_a_service_that_does_not_answer_is_given_up"),
    look="one deadline, computed once at the beginning; each attempt gets what is left of it",
    mistake="deadline",
)
async def test_the_time_is_for_all_attempts_together(student: Student) -> None:
    setting = Setting(student, timeout=10.0)
    slow = asyncio.Event()
    service = Service(setting.clock, slow, None)
    task = await setting.send(service)
    await setting.wait(6.0)
    slow.set()
    await student.settle()
    await setting.wait(0.5)
    expect(service.asked, [0.0, 6.5], of="seconds at which the service is asked, the first failing after 6 s")
    await setting.wait(3.25)
    expect(task.done(), False, of="an answer after 9.75 s, with timeout=10.0")
    await setting.wait(0.25)
    answer = await setting.end(task, "after 10 s")
    expect(answer.status, 504, of="the status")
    await setting.wait(60.0)
    expect(len(service.asked), 2, of="attempts in the end")


@check(
    points=2,
    why="An answer now is better than the same answer later.",
    after=("test_it_gives_up_after_so_many_retries",),
    look="a pause that would end at the deadline or later is not begun: pass on the answer that is there",
    mistake="pause-too-long",
)
async def test_a_pause_that_does_not_fit_is_not_begun(student: Student) -> None:
    for timeout in (1.5, 1.25):
        setting = Setting(student, timeout=timeout, retries=5)
        service = Service(setting.clock, 503)
        task = await setting.send(service)
        await setting.wait(0.5)
        answer = await setting.end(task, f"after 0.5 s: the next pause is 1 s, with timeout={timeout}")
        expect(answer.body, b"attempt 2", of="the body")


@check(
    points=1,
    why="Who comes back earlier than told is refused, and adds to the load (RFC 9110 §10.2.3).",
    after=("test_a_pause_that_does_not_fit_is_not_begun",),
    look="the field Retry-After of the answer, in seconds: the pause is at least that",
    mistake="retry-after",
)
async def test_it_waits_as_long_as_it_is_asked_to(student: Student) -> None:
    setting = Setting(student, timeout=10.0)
    service = Service(setting.clock, Answer(503, [["retry-after", "3"]], b"later"), 200)
    task = await setting.send(service)
    await setting.wait(2.75)
    expect(service.asked, [0.0], of="attempts after 2.75 s, Retry-After being 3")
    await setting.wait(0.25)
    expect(service.asked, [0.0, 3.0], of="seconds at which the service is asked")
    await setting.end(task, "then")
    for value, asked in (("0", [0.0, 0.5]), ("soon", [0.0, 0.5]), ("60", [0.0])):
        setting = Setting(student, timeout=10.0)
        service = Service(setting.clock, Answer(503, [["retry-after", value]], b"later"), 200)
        task = await setting.send(service)
        if len(asked) == 1:
            expect((await setting.end(task, "at once")).body, b"later", of="the body, Retry-After being 60")
        for _ in range(8):
            await setting.wait(0.125)
        expect(service.asked, asked, of=f"seconds at which the service is asked, Retry-After being {value}")
        await setting.end(task, "then")


@check(
    points=3,
    why="Without a budget a failing service gets several times its load, exactly when it can bear the least.",
    after=(ATTEMPTS, "test_a_share_of_the_exchanges_may_be_retried"),
    look="`budget.exchange` once for each request, `budget.take` before each retry",
    mistake="budget",
)
async def test_no_retry_without_budget(student: Student) -> None:
    setting = Setting(student, minimum=1, percent=0.0)
    for number, wanted in ((1, 2), (2, 1), (3, 1)):
        service = Service(setting.clock, 503)
        task = await setting.send(service)
        if wanted == 1:
            answer = await setting.end(task, "at once, where the budget is used up")
            expect(answer.body, b"attempt 1", of="the body")
        await setting.wait(5.0)
        expect(len(service.asked), wanted, of=f"attempts for request {number}, with a budget of one retry")
        await setting.end(task, "after the attempts")

    setting = Setting(student, minimum=0, percent=50.0, retries=1)
    for _ in range(5):
        await setting.end(await setting.send(Service(setting.clock, 200)), "at once")
    attempts = []
    for _ in range(7):
        service = Service(setting.clock, 502)
        task = await setting.send(service)
        await setting.wait(1.0)
        attempts.append(len(service.asked))
        await setting.end(task, "after the attempts")
    wanted_each = [2, 2, 2, 2, 2, 1, 2]
    expect(
        attempts,
        wanted_each,
        of="attempts for 7 failing requests after 5 good ones, with a budget of 50 percent",
    )


@check(
    points=1,
    why="A budget that is spent on retries that are not made is missing where one would have helped.",
    after=("test_no_retry_without_budget", "test_only_idempotent_methods_are_tried_again"),
    look="the budget is the last to be asked: when it says yes, the retry is made",
    mistake="wasted",
)
async def test_only_retries_that_are_made_cost(student: Student) -> None:
    setting = Setting(student, minimum=1, percent=0.0)
    await setting.end(await setting.send(Service(setting.clock, 503), "POST"), "at once")
    await setting.end(await setting.send(Service(setting.clock, 500)), "at once")
    later = Answer(503, [["retry-after", "60"]], b"later")
    await setting.end(await setting.send(Service(setting.clock, later)), "at once")
    service = Service(setting.clock, 503, 200)
    task = await setting.send(service)
    await setting.wait(0.5)
    expect(
        len(service.asked),
        2,
        of="attempts for a GET, after a POST, a 500 and a Retry-After of 60 were not retried",
    )
    await setting.end(task, "after the attempts")


@check(
    points=1,
    why="What each request leaves behind is all there is after a million of them.",
    after=(ATTEMPTS,),
    look="`await response.aclose()` for an answer that you drop; `cancel()` for an alarm that came too late",
    mistake="left-open",
)
async def test_nothing_is_left_behind(student: Student) -> None:
    setting = Setting(student)
    service = Service(setting.clock, 503, 502, 200)
    task = await setting.send(service)
    await setting.wait(0.5)
    await setting.wait(1.0)
    expect(len(service.asked), 3, of="attempts")
    await setting.end(task, "when the third attempt has succeeded")
    await student.settle()
    expect(student.open_bodies(), 0, of="dropped answers of the service that nobody has closed")
    expect(setting.clock.asleep(), 0, of="tasks that still sleep, the client having its answer")


@check(
    points=2,
    why="Nobody is waiting any more: another attempt would be for nothing.",
    after=(ATTEMPTS,),
    look="a cancelled task: let `CancelledError` out, do not catch it together with other errors",
    mistake="cancelled",
)
async def test_a_client_that_goes_away_ends_it(student: Student) -> None:
    setting = Setting(student)
    service = Service(setting.clock, 503)
    task = await setting.send(service)
    task.cancel()
    await setting.wait(0.5)
    await setting.wait(5.0)
    expect(len(service.asked), 1, of="attempts, the client having gone away in the first pause")
    waiting = Service(setting.clock, None)
    task = await setting.send(waiting)
    task.cancel()
    await setting.wait(60.0)
    expect(len(waiting.asked), 1, of="attempts, the client having gone away during the first")


@check(
    points=2,
    why="What holds for the examples must hold for any traffic.",
    hidden=True,
    after=("test_the_budget_looks_at_the_last_seconds_only",),
    look="a budget over some hundred exchanges and retries at all distances",
)
def test_any_traffic(student: Student) -> None:
    for round_ in range(4):
        numbers = random.Random(f"{student.seed} {round_}")
        percent, minimum = numbers.choice([10.0, 25.0, 50.0, 75.0]), numbers.randint(0, 3)
        budget = student.new("Budget", percent=percent, minimum=minimum, window=8.0).answering(take=bool)
        exchanges: list[float] = []
        retries: list[float] = []
        now = 100.0
        for _ in range(200):
            now += numbers.choice([0.0, 0.125, 0.5, 2.0])
            if numbers.random() < 0.6:
                budget.exchange(now)
                exchanges.append(now)
                continue
            allowed = max(minimum, int(sum(at > now - 8.0 for at in exchanges) * percent / 100))
            wanted = sum(at > now - 8.0 for at in retries) < allowed
            if wanted:
                retries.append(now)
            expect(budget.take(now), wanted, of=f"take at {now:g}")
