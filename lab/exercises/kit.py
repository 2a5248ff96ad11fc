"""What checks are written with: `from lab.exercises.kit import check, expect, …`.

    VERDICT = Shape("Verdict", admitted=bool, remaining=int)

    @check(points=2, why="A limit is a promise about how many pass.", look="when the count ends")
    def test_one_too_many_is_refused(student):
        limiter = student.new("FixedWindow", limit=3, window=10.0).answering(take=VERDICT)
        verdicts = [limiter.take("ada", 0.0) for _ in range(4)]
        expect([v.admitted for v in verdicts], [True, True, True, False], of="who is admitted")

A check talks to the submission through `student` alone, in plain data (see `plain`): it never imports it,
looks into it or changes it. So the same check runs beside the submission, for a student who waits for the
verdict, and with a process boundary in between, for a grader who trusts nothing. Nothing sleeps: the time is
an argument, or a clock from `student.clock()`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import random
import types
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin

from lab.exercises.plain import Answer, Handle, NotPlain, Record, Ref, Request, pack, unpack

__all__ = [
    "Answer",
    "Channel",
    "Check",
    "Clock",
    "Failure",
    "Raised",
    "Record",
    "Ref",
    "Request",
    "Served",
    "Shape",
    "StandIn",
    "Student",
    "Theirs",
    "Thing",
    "check",
    "execute",
    "expect",
    "expect_that",
    "raises",
]

MISSING = "the task in README.md, and the names and arguments that the starter has"
"""Where to look next when something is not there, or is not as it should be."""
LIMIT = 3.0
"""Seconds that a check may take where it says nothing else."""

# -- a check -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """What `@check` knows of a check beside its function."""

    name: str
    function: Callable[..., Any]
    points: int
    why: str
    """What the check is good for: one sentence on the subject, not on the code."""
    hidden: bool
    """Run by graders only; students see how many there are."""
    after: tuple[str, ...]
    """Checks without which this one says nothing; where one of them failed it is skipped."""
    look: str
    """Where to look next, for someone whose solution fails here."""
    mistake: str
    """The known mistake that a failure most likely is: a key of hints.md."""
    limit: float
    """Seconds."""


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def check(
    *,
    points: int,
    why: str,
    hidden: bool = False,
    after: tuple[str, ...] = (),
    look: str = "",
    mistake: str = "",
    limit: float = LIMIT,
) -> Callable[[F], F]:
    """Make a check of a function `test_…(student)`, async or not; the arguments are those of `Check`."""

    def mark(function: F) -> F:
        made = Check(function.__name__, function, points, why, hidden, after, look, mistake, limit)
        function.lab_check = made  # type: ignore[attr-defined]
        return function

    return mark


class Failure(Exception):
    """A check did not pass.

    `sent` None: the calls that were made. `mistake` "": the check's own; None: none of the known ones.
    """

    def __init__(
        self, wanted: str, got: str, *, sent: str | None = None, look: str = "", mistake: str | None = ""
    ) -> None:
        super().__init__(f"{wanted}; {got}")
        self.wanted = wanted
        self.got = got
        self.sent = sent
        self.look = look
        self.mistake = mistake


def expect(
    got: Any,
    wanted: Any,
    *,
    of: str = "",
    within: float | None = None,
    sent: str | None = None,
    look: str = "",
    mistake: str = "",
) -> None:
    """`got` must equal `wanted`; with `within`, numbers (in lists too) may differ by that much.

    `of` says what is compared ("the seconds to wait"); `sent` what was done, where the list of calls does not
    say it; `look` and `mistake` are more exact than the check's own.
    """
    if not _same(got, wanted, within):
        prefix = f"{of}: " if of else ""
        raise Failure(
            f"{prefix}{show(wanted)}", f"{prefix}{show(got)}", sent=sent, look=look, mistake=mistake
        )


def _same(got: Any, wanted: Any, within: float | None) -> bool:
    if within is not None and _number(got) and _number(wanted):
        return bool(abs(got - wanted) <= within)
    if isinstance(got, list) and isinstance(wanted, list):
        return len(got) == len(wanted) and all(_same(g, w, within) for g, w in zip(got, wanted, strict=True))
    # Python holds True and 1 for equal, a reader of JSON does not.
    return bool(got == wanted) and isinstance(got, bool) == isinstance(wanted, bool)


def expect_that(
    true: bool, wanted: str, got: Any, *, sent: str | None = None, look: str = "", mistake: str = ""
) -> None:
    """`true` must hold; `wanted` says what was expected in words, `got` is shown as it is."""
    if not true:
        raise Failure(
            wanted, got if isinstance(got, str) else show(got), sent=sent, look=look, mistake=mistake
        )


def show(value: Any, room: int = 300) -> str:
    """A value for a message: short, on one line."""
    if isinstance(value, Answer):
        body = f", {show(value.body, 80)}" if value.body else ""
        text = f"a response {value.status}{body}"
    elif isinstance(value, Request):
        target = f"{value.path}?{value.query}" if value.query else value.path
        visible = "".join(each if each.isprintable() else repr(each)[1:-1] for each in target)
        text = f"{value.method} {visible}"
    elif isinstance(value, float):
        text = f"{value:.10g}"
        text = text + ".0" if text.lstrip("-").isdigit() else text
    elif isinstance(value, list):
        text = f"[{', '.join(show(item, room) for item in value)}]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{show(k, room)}: {show(v, room)}" for k, v in value.items()) + "}"
    elif isinstance(value, Record) and any(map(callable, value.fields.values())):
        text = value.kind  # an object of the check's; its methods say nothing
    elif isinstance(value, Record):
        text = f"{value.kind}({', '.join(f'{k}={show(v, room)}' for k, v in value.fields.items())})"
    elif isinstance(value, Thing):
        text = f"<{value.ref.kind}>"
    elif isinstance(value, StandIn):
        text = value.name
    elif isinstance(value, Clock | Sleep):
        text = "clock" if isinstance(value, Clock) else "clock.sleep"
    elif callable(value):
        text = getattr(value, "__name__", "a function")
    else:
        text = repr(value)
    return text if len(text) <= room else text[: room - 1] + "…"


# -- shapes: what a method must return -----------------------------------------------------------------------


class Shape:
    """A record with at least these fields, of these types; more fields are allowed, other names are.

    So is an object of any class that has them as attributes.
    """

    def __init__(self, kind: str, **fields: Any) -> None:
        self.kind = kind
        self.fields = fields

    def __or__(self, other: Any) -> tuple[Any, ...]:
        return (self, other)

    def __str__(self) -> str:
        return f"a {self.kind}({', '.join(self.fields)})"


def mismatch(value: Any, wanted: Any) -> str:
    """Why `value` is not what `wanted` asks for; empty where it is.

    `wanted` is a type (float takes whole numbers too, both must be finite), a `Shape`, None, `list[…]`, or
    several joined by `|`. With `Ref` or `Ref | None` whatever comes back (None apart) stays with the
    submission and arrives as a ticket: for what is only to be handed back, such as a permission.
    """
    if parts := _alternatives(wanted):
        reasons = [mismatch(value, part) for part in parts]
        return "" if "" in reasons else reasons[0]
    origin = get_origin(wanted)
    if wanted is None or wanted is type(None):
        return "" if value is None else f"{show(value, 80)} came back where nothing was expected"
    if isinstance(wanted, Shape):
        if not isinstance(value, Record):
            return f"{show(value, 80)} is not {wanted}"
        for name, kind in wanted.fields.items():
            if name not in value.fields:
                return f"the {value.kind} has no {name}"
            if reason := mismatch(value.fields[name], kind):
                return f"{name}: {reason}"
        return ""
    if wanted is Any:
        return ""
    if origin is list:
        if not isinstance(value, list):
            return f"{show(value, 80)} is not a list"
        return next((reason for item in value if (reason := mismatch(item, get_args(wanted)[0]))), "")
    if wanted in (int, float):
        number = _number(value) if wanted is float else isinstance(value, int) and not isinstance(value, bool)
        if not number:
            return f"{show(value, 80)} is not a {'whole number' if wanted is int else 'finite number'}"
        return ""
    if isinstance(value, wanted):
        return ""
    return f"{show(value, 80)} is not {_NAMES.get(wanted, wanted.__name__)}"


_NAMES: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    bytes: "bytes",
    list: "a list",
    dict: "a dict",
    Answer: "a Response",
    Ref: "an object",
}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- the submission ------------------------------------------------------------------------------------------


class Theirs(Exception):
    """For a callback to raise: an exception of the submission's own class `name`, made with `args`."""

    def __init__(self, name: str, *args: Any) -> None:
        super().__init__(name, *args)
        self.name = name
        self.arguments = args


class Channel(Protocol):
    """The way to a submission's agent (see `agent` for the messages)."""

    def ask(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Send one message and wait for the answer."""

    async def ask_async(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The same for work that may have to wait; cancelling this cancels that work."""

    def callback(self, function: Callable[[list[Any]], Awaitable[dict[str, Any]]]) -> int:
        """Make a function known that the submission may call.

        It gets the packed positional arguments and the packed keywords, two values, and gives an answer.
        """


class Raised(Exception):
    """The submission raised something. Where a check does not expect it, it is a failure."""

    def __init__(self, raised: dict[str, Any]) -> None:
        # Whoever has taken over the agent has put there what they like.
        told = {name: value if isinstance(value, str) else "" for name, value in raised.items()}
        mro, line = raised.get("mro"), raised.get("line")
        self.kind = " ".join(told.get("kind", "").split())[:100]
        """The class's name; empty where the class or method is not there or not as it should be."""
        self.mro = [str(name) for name in mro[:100]] if isinstance(mro, list) else []
        """The names of the class and of those it is derived from."""
        self.text = " ".join(told.get("text", "").split())[:300]
        self.line = line if type(line) is int and 0 <= line < 1 << 31 else 0
        self.source = told.get("source", "")[:120]
        self.function = told.get("function", "")[:100]
        super().__init__(self.text)

    def sentence(self) -> str:
        """What happened, for the one who wrote it."""
        if not self.kind:
            return self.text or "an error about which nothing is said"
        where = (
            f" (line {self.line}: {self.source})"
            if self.source
            else f" (line {self.line})"
            if self.line
            else ""
        )
        if self.kind == "NotImplementedError":
            return f"{self.function or 'this'} is not written yet{where}"
        if self.kind == "SystemExit":
            return f"the code ended the program{where}"
        return f"{self.kind}: {self.text}{where}" if self.text else f"{self.kind}{where}"


class Calls:
    """What was done with the submission so far, for the message of a failed check."""

    SHOWN = 12

    def __init__(self) -> None:
        self._lines: list[list[str]] = []
        self.over = False
        """The check has ended: what is cancelled then, and the last it does, is not what it was about."""

    def add(self, line: str) -> list[str]:
        """Note one call; what came back is appended to the entry that this returns."""
        entry = [line]
        if not self.over:
            self._lines.append(entry)
        return entry

    def text(self) -> str:
        """The first call and the last ones; those that are equal in a row are told once."""
        told: list[tuple[str, int]] = []
        for entry in self._lines:
            line = " → ".join(entry)
            if told and told[-1][0] == line:
                told[-1] = (line, told[-1][1] + 1)
            else:
                told.append((line, 1))
        lines = [line if count == 1 else f"{line}   ({count} times)" for line, count in told]
        if len(lines) > self.SHOWN:
            left_out = len(lines) - self.SHOWN
            lines = [lines[0], f"… {left_out} more calls …", *lines[1 - self.SHOWN :]]
        return "\n".join(lines)


class Student:
    """A submission as a check sees it."""

    def __init__(self, channel: Channel, calls: Calls | None = None) -> None:
        self._channel = channel
        self.seed: int = getattr(channel, "seed", 0)
        """For a hidden check's random input: 0 for students, the grader's choice for graders."""
        self.calls = calls or Calls()
        self._trouble: list[BaseException] = []
        self._stand_ins: dict[int, StandIn] = {}
        self._started: dict[asyncio.Task[Any], Started] = {}
        self._moment: list[Step] | None = None

    def pick(self, usual: T, among: Sequence[T]) -> T:
        """`usual` for students; for a grader one of `among`, the same all through a run."""
        return random.Random(f"{self.seed} {usual}").choice(among) if self.seed else usual

    def new(self, name: str, /, *args: Any, **kwargs: Any) -> Thing:
        """A new object of the class `name`."""
        entry = self.calls.add(f"{name}({_arguments(args, kwargs)})")
        ref = self._value(self._channel.ask("new", {"name": name, **self._packed(args, kwargs)}), entry)
        if not isinstance(ref, Ref):
            raise Failure(f"an object of the class {name}", show(ref))
        return Thing(self, ref, name)

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the module's function `function` returns."""
        return Thing(self, Ref(0, ""), "").call(function, *args, **kwargs)

    def start(self, function: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """The module's async function `function`, begun; await the task for what it returns."""
        return Thing(self, Ref(0, ""), "").start(function, *args, **kwargs)

    async def settle(self) -> None:
        """Let everything that was begun go on until it waits for something."""
        await self._channel.ask_async("settle", {})
        self.raise_trouble()

    def clock(self, start: float = 1000.0) -> Clock:
        """A clock that stands still; it and its `sleep` can be given to the submission."""
        return Clock(self, self._value(self._channel.ask("clock", {"start": start})), start)

    def stand_in(
        self, name: str, attributes: dict[str, Any], methods: dict[str, dict[str, Any]] | None = None
    ) -> StandIn:
        """An object to give to the submission: attributes, and methods with the attributes that they set.

        Where the submission gives it back, the check gets this very `StandIn`.
        """
        fields = {"name": name, "attributes": pack(attributes), "methods": pack(methods or {})}
        ref = self._value(self._channel.ask("stand", fields))
        made = self._stand_ins[ref.number] = StandIn(self, ref, name)
        return made

    def open_bodies(self) -> int:
        """How many of the check's answers with `streamed` were neither read to the end nor closed."""
        number: int = self._value(self._channel.ask("open", {}))
        return number

    @contextmanager
    def moment(self) -> Iterator[None]:
        """What is done inside is done in one moment: nothing that was begun goes on in between.

        Calls give back None here. What `start` begins comes to its first line when the moment is over.
        """
        self.calls.add("in one moment:")
        steps: list[Step] = []
        self._moment = steps
        try:
            yield
        finally:
            self._moment = None
        answers = self._value(self._channel.ask("moment", {"steps": [[s.op, s.fields] for s in steps]}))
        for step, answer in zip(steps, answers, strict=True):
            step.finish(answer)

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Let whoever waits for a task of `start` go away, now and not when this check next waits."""
        started = self._started[task]
        started.cancelled = True
        self.calls.add(f"{started.name} is cancelled")
        self._do("cancel", {"task": started.number}, self._value)

    @contextmanager
    def serve(self, name: str = "app", env: dict[str, str] | None = None) -> Iterator[Served]:
        """The file, loaded anew with these environment variables; its application `name` on a free port."""
        entry = self.calls.add(f"serve {name}{' with ' + show(env) if env else ''}")
        try:
            yield served_at(self._value(self._channel.ask("serve", {"name": name, "env": env or {}}), entry))
        finally:
            self._channel.ask("stop", {})

    @contextmanager
    def run(self, env: dict[str, str] | None = None) -> Iterator[Served]:
        """The file as a program of its own, with these environment variables.

        `lab.exercises.program` says how it is started, and how the port is found on which it listens.
        """
        # Where the services are is different each time, and nobody's mistake.
        told = [f"{name}={value}" for name, value in (env or {}).items() if not name.endswith("_URL")]
        self.calls.add(" ".join(["start it", *(["with"] if told else []), *told]))
        try:
            where = self._value(self._channel.ask("run", {"env": env or {}}))
            if tried := where.get("tried"):
                reasons = [ended(tried[0]), ended(tried[-1])]  # what lies between is variations of the first
                raise Failure("a program that listens on PORT", "\n".join(reasons), mistake=None)
            yield served_at(where)
        finally:
            self._channel.ask("stop", {})

    # -- for Thing, Clock and StandIn ------------------------------------------------------------------------

    def _do(self, op: str, fields: dict[str, Any], finish: Callable[[dict[str, Any]], Any]) -> Any:
        """What `finish` makes of the answer: at once, or when the moment is over."""
        if self._moment is None:
            return finish(self._channel.ask(op, fields))
        self._moment.append(Step(op, fields, finish))
        return None

    def _own(self, it: Ref | Handle) -> Any:
        return self._stand_ins.get(it.number, it) if isinstance(it, Ref) else it

    def _packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {
            "args": [pack(arg, self._handle) for arg in args],
            "kwargs": pack(kwargs, self._handle),
        }

    def _handle(self, value: Any) -> Any:
        match value:
            case Thing() | StandIn():
                return value.ref
            case Clock():
                return Handle(value.number, "clock")
            case Sleep():
                return Handle(value.number, "sleep")
        if inspect.iscoroutinefunction(value):
            return Handle(self._channel.callback(self._answering(value)), "callback")
        raise TypeError(f"{value!r} cannot be given to a submission: plain data and async functions can")

    def _answering(self, function: Callable[..., Awaitable[Any]]) -> Callable[[list[Any]], Awaitable[Any]]:
        async def answer(packed: list[Any]) -> dict[str, Any]:
            try:
                args, kwargs = (unpack(part, self._own) for part in packed)
                return {"value": pack(await function(*args, **kwargs), self._handle)}
            except asyncio.CancelledError:
                raise
            except Theirs as error:
                return {"raised": {"own": error.name, "args": pack(list(error.arguments))}}
            except Exception as error:
                kind = type(error).__name__
                if isinstance(error, Failure | AssertionError | NotPlain):
                    self._trouble.append(error)
                    return {"raised": {"kind": "RuntimeError", "text": "the check has failed"}}
                module = type(error).__module__.partition(".")[0]
                return {
                    "raised": {
                        "kind": kind if module == "builtins" else f"{module}.{kind}",
                        "text": str(error),
                    }
                }

        return answer

    def raise_trouble(self) -> None:
        """Raise the first failure that happened inside a callback, if one did."""
        if self._trouble:
            raise self._trouble[0]

    def _value(self, answer: dict[str, Any], entry: list[str] | None = None) -> Any:
        self.raise_trouble()
        if "raised" in answer:
            raised = Raised(answer["raised"])
            if entry is not None and raised.kind:
                entry.append(raised.kind)
            raise raised
        value = unpack(answer.get("value"), self._own)
        if entry is not None and value is not None and not isinstance(value, Ref):
            entry.append(show(value, 120))
        return value


class Thing:
    """An object of the submission's: `thing.take("ada", 0.0)` calls its method."""

    def __init__(self, student: Student, ref: Ref, name: str) -> None:
        self.ref = ref
        self._student = student
        self._name = name
        self._shapes: dict[str, Any] = {}

    def answering(self, **shapes: Any) -> Thing:
        """Say what methods must return, see `mismatch`; anything else fails the check. Returns itself."""
        self._shapes.update(shapes)
        return self

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda *args, **kwargs: self.call(method, *args, **kwargs)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the method returns."""
        entry = self._student.calls.add(f"{method}({_arguments(args, kwargs)})")
        fields = {"ref": self.ref.number, "method": method, **self._student._packed(args, kwargs)}
        wanted = self._shapes.get(method)
        if wanted is Ref or Ref in get_args(wanted):
            fields["sealed"] = True
        return self._student._do(
            "call", fields, lambda answer: self._shaped(method, self._student._value(answer, entry), entry)
        )

    def start(self, method: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """The async method, begun; await the task for what it returns, cancel it to go away."""
        student = self._student
        entry = student.calls.add(f"await {method}({_arguments(args, kwargs)})")
        number = len(student._started) + 1
        fields = {"ref": self.ref.number, "method": method, **student._packed(args, kwargs), "task": number}
        begun = student._moment is not None
        if begun:
            student._do("begin", fields, student._value)
        before = sum(other.method == method for other in student._started.values())
        started = Started(number, method, f"{method}() number {before + 1}")

        async def finish() -> Any:
            if begun:
                answer = await student._channel.ask_async("join", {"task": number})
            else:
                answer = await student._channel.ask_async("start", fields)
            if started.cancelled and answer.get("raised", {}).get("kind") == "CancelledError":
                raise asyncio.CancelledError
            return self._shaped(method, student._value(answer, entry), entry)

        task = asyncio.ensure_future(finish())
        student._started[task] = started
        # A check that fails first never reads it; nobody is to complain about that.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _shaped(self, method: str, value: Any, entry: list[str]) -> Any:
        shape = _shape(self._shapes.get(method))
        if shape is not None and isinstance(
            value, Ref
        ):  # of a class that is no dataclass: it has attributes too
            fields = {"ref": value.number, "names": list(shape.fields)}
            value = self._student._value(self._student._channel.ask("look", fields), entry)
        if method in self._shapes and (reason := mismatch(value, self._shapes[method])):
            raise Failure(f"{method} returns {_type_name(self._shapes[method])}", reason)
        return value


def _alternatives(wanted: Any) -> tuple[Any, ...]:
    """The parts of `str | None` or `Shape | None`; empty for anything else."""
    if isinstance(wanted, tuple):
        return wanted
    return get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else ()


def _shape(wanted: Any) -> Shape | None:
    """The shape that `wanted` asks for, or is one of the alternatives."""
    return next((part for part in (wanted, *_alternatives(wanted)) if isinstance(part, Shape)), None)


def _type_name(wanted: Any) -> str:
    if parts := _alternatives(wanted):
        return " or ".join(_type_name(part) if part not in (None, type(None)) else "None" for part in parts)
    if wanted is None or wanted is type(None):
        return "nothing"
    if isinstance(wanted, Shape) or get_origin(wanted) is not None:
        return str(wanted)
    return _NAMES.get(wanted) or str(getattr(wanted, "__name__", wanted))


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join([show(arg, 80) for arg in args] + [f"{k}={show(v, 80)}" for k, v in kwargs.items()])


class Clock:
    """A clock in the check's hand. As an argument it is a function without parameters that says the time."""

    def __init__(self, student: Student, handle: Any, start: float) -> None:
        self._student = student
        self.number: int = handle.number
        self.now = start

    @property
    def sleep(self) -> Sleep:
        """As an argument: `async sleep(seconds)`, which returns when the clock has been moved that far."""
        return Sleep(self.number)

    def asleep(self) -> int:
        """How many sleep by it."""
        number: int = self._student._value(self._student._channel.ask("asleep", {"clock": self.number}))
        return number

    def tick(self, seconds: float) -> None:
        """Move it forward."""
        self._student.calls.add(f"{seconds:g} s pass")
        self.now += seconds
        self._student._do("tick", {"clock": self.number, "seconds": seconds}, self._student._value)


@dataclass(frozen=True)
class Sleep:
    number: int


class StandIn:
    """An object in the check's hand that the submission works with, see `Student.stand_in`."""

    def __init__(self, student: Student, ref: Ref, name: str) -> None:
        self.name = name
        self.ref = ref
        self._student = student

    def set(self, **attributes: Any) -> None:
        """From now on its attributes have these values."""
        for name, value in attributes.items():
            self._student.calls.add(f"{self.name}.{name} = {show(value)}")
        fields = {"ref": self.ref.number, "attributes": pack(attributes)}
        self._student._do("set", fields, self._student._value)

    def told(self) -> list[str]:
        """The names of its methods that the submission has called, in order."""
        names: list[str] = self._student._value(self._student._channel.ask("told", {"ref": self.ref.number}))
        return names


@dataclass
class Started:
    """What is known of a task of `start`."""

    number: int
    method: str
    name: str
    cancelled: bool = False


@dataclass(frozen=True)
class Step:
    """Something to be done in a moment; `finish` gets the answer to it."""

    op: str
    fields: dict[str, Any]
    finish: Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Served:
    """Where a submission's application listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def served_at(where: dict[str, Any]) -> Served:
    """The submission may say anything: who asks there must not leave this machine."""
    host, port = where["host"], where["port"]
    if host not in ("127.0.0.1", "::1") or type(port) is not int or not 0 < port < 65_536:
        raise Failure("an address of this machine", show([host, port]))
    return Served(host, port)


def ended(attempt: dict[str, Any]) -> str:
    """One way in which a program was started, and how it ended before it listened."""
    if attempt["raised"] is not None:
        return f"{attempt['command']}: {Raised(attempt['raised']).sentence()}"
    return f"{attempt['command']}: it ended, with status {attempt['status']}"


class _Caught:
    raised: Raised | None = None

    @property
    def text(self) -> str:
        """The exception's text."""
        return self.raised.text if self.raised else ""


@contextmanager
def raises(kind: str, *, when: str = "", look: str = "", mistake: str = "") -> Iterator[_Caught]:
    """The submission must raise an exception of the class `kind`, or of one derived from it."""
    caught = _Caught()
    after = f" when {when}" if when else ""
    try:
        yield caught
    except Raised as raised:
        caught.raised = raised
        if kind not in raised.mro:
            raise Failure(f"a {kind}{after}", raised.sentence(), look=look, mistake=mistake) from None
    else:
        raise Failure(f"a {kind}{after}", "nothing was raised", look=look, mistake=mistake)


# -- running one check ---------------------------------------------------------------------------------------

Status = Literal["passed", "failed", "hung", "crashed", "unloadable", "skipped"]


@dataclass(frozen=True)
class Result:
    """What became of one check."""

    name: str
    status: Status
    points: int
    """What it brought: all or nothing."""
    maximum: int
    text: str = ""
    """For a student: what was sent, what was expected, what came, where to look next."""
    mistake: str = ""
    """The known mistake that was recognised."""
    hidden: bool = False
    why: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def execute(check: Check, channel: Channel, calls: Calls | None = None) -> Result:
    """Run one check against the submission behind `channel`. Nothing but KeyboardInterrupt comes out.

    `calls` is for whoever has to say what was sent although this never returns.
    """
    student = Student(channel, calls)
    try:
        if inspect.iscoroutinefunction(check.function):
            asyncio.run(_to_end(check.function(student), student.calls))
        else:
            check.function(student)
        student.raise_trouble()
    except Failure as failure:
        return failed(check, failure, student.calls)
    except Raised as raised:
        wanted, look = ("no exception", "") if raised.kind else ("what the task asks for", MISSING)
        return failed(check, Failure(wanted, raised.sentence(), look=look), student.calls)
    except Exception as error:
        # The check stumbled over what it was given, or the way to the submission broke.
        got = f"something that the check could not work with ({type(error).__name__})"
        return failed(check, Failure("an answer as the task describes it", got), student.calls)
    return Result(check.name, "passed", check.points, check.points, hidden=check.hidden, why=check.why)


async def _to_end(work: Awaitable[None], calls: Calls) -> None:
    try:
        await work
    finally:
        calls.over = True
        # What a failed check leaves waiting is cancelled, and must not complain about it.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def failed(check: Check, failure: Failure, calls: Calls | None = None, status: Status = "failed") -> Result:
    """The result of a check that did not pass, with its message."""
    sent = failure.sent if failure.sent is not None else calls.text() if calls else ""
    parts = [("sent", sent), ("expected", failure.wanted), ("came", failure.got)]
    parts.append(("look at", failure.look or check.look))
    text = "\n".join(_part(label, body) for label, body in parts if body)
    mistake = check.mistake if failure.mistake == "" else failure.mistake or ""
    return Result(check.name, status, 0, check.points, text, mistake, check.hidden, check.why)


def unloaded(check: Check, problem: str, status: Status = "unloadable") -> Result:
    """The result of a check whose file cannot be loaded: it saw nothing, so it names no known mistake."""
    text = _part("expected", "a file that can be loaded") + "\n" + _part("came", problem)
    return Result(check.name, status, 0, check.points, text, "", check.hidden, check.why)


def _part(label: str, body: str) -> str:
    return f"{label:<10}" + body.replace("\n", "\n" + " " * 10)


def skipped(check: Check, missing: str) -> Result:
    """The result of a check that was not run because `missing` did not pass."""
    text = f"skipped: it needs {missing}, which did not pass"
    return Result(check.name, "skipped", 0, check.points, text, "", check.hidden, check.why)


def checks_in(module: Any) -> list[Check]:
    """The checks of a module, in the order in which they stand there."""
    return [thing.lab_check for thing in vars(module).values() if hasattr(thing, "lab_check")]


class LocalChannel:
    """An agent in this very process: nothing in between but the messages' form."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._callbacks: list[Callable[[list[Any]], Awaitable[dict[str, Any]]]] = []
        agent.call = self._call

    def ask(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._agent.handle(op, fields)
        return answer

    async def ask_async(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._agent.handle_async(op, fields)
        return answer

    def callback(self, function: Callable[[list[Any]], Awaitable[dict[str, Any]]]) -> int:
        self._callbacks.append(function)
        return len(self._callbacks) - 1

    async def _call(self, number: int, args: list[Any]) -> dict[str, Any]:
        return await self._callbacks[number](args)
