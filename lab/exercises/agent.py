"""The submission's side: loads the file, makes its objects, calls their methods, answers in plain data.

Everything arrives and leaves as messages, so that an agent may stand in the checks' own process (fast, for
students) or in a locked-up child (for graders). `Agent.handle` and `Agent.handle_async` are all there is:

    op      fields                               value
    ------  -----------------------------------  --------------------------------------------------------
    new     name, args, kwargs                   a ref: the new object of that class
    call    ref, method, args, kwargs            what the method returns; ref 0 is the module
            + sealed: True                       the same, as a ref whatever it is (None stays None)
    start   ref, method, args, kwargs            the same for an async method
            + task                               it is the check's number for this work
    clock   start                                a handle: a clock that stands still until it is told
    tick    clock, seconds                       nothing; who slept until then is awake
    asleep  clock                                how many sleep by it
    open                                         how many streamed bodies are neither read out nor closed
    stand   name, attributes, methods            a ref: an object of the check's (see `StandIn`)
    look    ref, names                           a record of those of that object's attributes that it has
    set     ref, attributes                      nothing; that object's attributes have these values now
    told    ref                                  the names of its methods that were called, in order
    settle                                       nothing; by now every task has come as far as it can
    moment  steps, a list of (op, fields)        their answers; nothing that waits goes on in between
    begin   task, ref, method, args, kwargs      nothing; `start` whose result is asked for by `join`
    join    task                                 what that work returns
    cancel  task                                 nothing; that work (of `start` or `begin`) is cancelled
    serve   name, env                            {"host", "port"}: the ASGI application listens there
    run     env                                  the same for the file as a program, or {"tried"}: `program`
    stop                                         nothing; what `serve` and `run` started is gone
    parse                                        nothing; raises what keeps the file from being compiled

An answer is `{"value": packed}` or `{"raised": {kind, mro, text, line, function, source}}`. In the latter, a
`kind` of "" is the agent's own complaint: its `text` is a whole sentence and the rest is left out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import importlib
import importlib.util
import inspect
import itertools
import linecache
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.exercises.plain import Answer, Handle, NotPlain, Record, Ref, Request, pack, unpack
from lab.model import NO_BODY, Body, Exchange, Response

Message = dict[str, Any]
Call = Callable[[int, list[Any]], Awaitable[Message]]
"""Asks the check to run its callback of that number with its packed arguments and keywords, two values.

The value is an answer. There, `raised` may also be {own, args}: the submission's own exception of that name.
"""

PLAIN: tuple[Any, ...] = (int, float, str, bytes, list, tuple, dict)
PASSES = 60
"""How often `settle` lets every ready task run: the longest chain of hand-overs that it sees through."""


class Complaint(Exception):
    """What the submission lacks, as a whole sentence."""


class ManualClock:
    """A clock that moves when it is told to. Calling it says the time; `sleep` waits for it."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return await asyncio.sleep(0)
        awake = asyncio.get_running_loop().create_future()
        entry = (self.now + seconds, next(self._numbers), awake)
        self._sleepers.append(entry)
        try:
            await awake
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    @property
    def asleep(self) -> int:
        return len(self._sleepers)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for entry in sorted(self._sleepers):
            if entry[0] <= self.now + 1e-9 and not entry[2].done():
                entry[2].set_result(None)


class Pieces:
    """The body of a check's answer on its way. It is open until it was read to its end, or closed."""

    SIZE = 1024

    def __init__(self, body: bytes, breaks_off: bool) -> None:
        self.open = True
        self._rest = body
        self._breaks_off = breaks_off

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        piece, self._rest = self._rest[: self.SIZE], self._rest[self.SIZE :]
        if piece and self.open:
            return piece
        was_open, self.open = self.open, False
        if was_open and self._breaks_off:
            raise ConnectionResetError("the service's body breaks off")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.open = False


class StandIn:
    """An object that a check gives to the submission, as a service's connection would be.

    `methods`: name → the attributes that a call of it sets. They take no arguments; calls are noted.
    """

    def __init__(self, attributes: dict[str, Any], methods: dict[str, dict[str, Any]]) -> None:
        self.__dict__.update(attributes)
        self._told: list[str] = []
        for name, values in methods.items():
            self.__dict__[name] = functools.partial(self._call, name, values)

    def _call(self, name: str, values: dict[str, Any]) -> None:
        self._told.append(name)
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return type(self).__name__


class Agent:
    """One submission. `path` is its file; `call` reaches the check's callbacks."""

    def __init__(self, path: Path, call: Call | None = None) -> None:
        self.path = path
        self.call = call
        self.module: ModuleType | None = None
        self._objects: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[Any]] = {}  # by the check's numbers
        self._served: list[Any] = []
        self.elsewhere = False
        """Whether the file, run as a program, listens on a port of its own choice."""
        self._bodies: list[Pieces] = []

    # -- messages --------------------------------------------------------------------------------------------

    def load(self) -> Message:
        """Run the file, once."""
        try:
            if self.module is None:
                self.module = load_file(self.path)
        except BaseException as error:
            return self._raised(error)
        return {"value": None}

    def handle(self, op: str, fields: Message) -> Message:
        """Answer one message whose work is done at once."""
        try:
            return {"value": self._pack(self._do(op, fields))}
        except BaseException as error:
            return self._raised(error)

    async def handle_async(self, op: str, fields: Message) -> Message:
        """Answer one message whose work may have to wait. Cancelling this cancels the submission's work."""
        try:
            if op == "settle":
                for _ in range(PASSES):
                    await asyncio.sleep(0)
                return {"value": None}
            if op == "join":
                answer: Message = await self._tasks[fields["task"]]
                return answer
            if (number := fields.get("task")) is not None and (me := asyncio.current_task()):
                self._tasks[number] = me
            result = self._result(fields)
            if not inspect.isawaitable(result):
                raise Complaint(f"{fields['method']} must be async: async def {fields['method']}(…)")
            return {"value": self._pack(await _whole(await result))}
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._raised(error)  # nobody asked for it: something within was cancelled
        except BaseException as error:
            return self._raised(error)

    def _do(self, op: str, fields: Message) -> Any:
        match op:
            case "new":
                return self._ticket(self._new(**fields))
            case "call":
                result = self._result(fields)
                if inspect.isawaitable(result):
                    if inspect.iscoroutine(result):
                        result.close()
                    raise Complaint(f"{fields['method']} must not be async: write def, not async def")
                return self._ticket(result) if fields.get("sealed") and result is not None else result
            case "clock":
                return Handle(self._keep(ManualClock(fields["start"])), "clock")
            case "tick":
                return self._objects[fields["clock"]].tick(fields["seconds"])
            case "asleep":
                return self._objects[fields["clock"]].asleep
            case "open":
                return sum(body.open for body in self._bodies)
            case "stand":
                kind = type(fields["name"], (StandIn,), {})
                return self._ticket(kind(self._unpack(fields["attributes"]), self._unpack(fields["methods"])))
            case "look":
                thing = self._objects[fields["ref"]]
                has = {name: getattr(thing, name) for name in fields["names"] if hasattr(thing, name)}
                return Record(type(thing).__name__, has)
            case "set":
                return vars(self._objects[fields["ref"]]).update(self._unpack(fields["attributes"]))
            case "told":
                return self._objects[fields["ref"]]._told
            case "moment":
                return [self.handle(step, its_fields) for step, its_fields in fields["steps"]]
            case "begin":
                self._tasks[fields["task"]] = asyncio.ensure_future(self.handle_async("start", fields))
                return None
            case "cancel":
                self._tasks[fields["task"]].cancel()
                return None
            case "serve":
                return self._serve(fields["name"], fields["env"])
            case "run":
                return self._run(fields["env"])
            case "parse":
                compile(self.path.read_bytes(), str(self.path), "exec", dont_inherit=True)
                return None
            case "stop":
                while self._served:
                    self._served.pop().stop()
                return None
        raise Complaint(f"there is no operation {op}")

    # -- the submission's objects ----------------------------------------------------------------------------

    def _module(self) -> ModuleType:
        if self.module is None:
            self.module = load_file(self.path)
        return self.module

    def _new(self, name: str, args: list[Any], kwargs: Any) -> Any:
        cls = getattr(self._module(), name, None)
        if not inspect.isclass(cls):
            raise Complaint(f"{self.path.name} has no class {name}")
        return cls(*self._unpack(args), **self._unpack(kwargs))

    def _result(self, fields: Message) -> Any:
        ref, name = fields["ref"], fields["method"]
        owner = self._module() if ref == 0 else self._objects[ref]
        method = getattr(owner, name, None)
        if not callable(method):
            kind = type(owner).__name__
            what = f"{self.path.name} has no function" if ref == 0 else f"{kind} has no method"
            raise Complaint(f"{what} {name}")
        return method(*self._unpack(fields["args"]), **self._unpack(fields["kwargs"]))

    def _keep(self, thing: Any) -> int:
        number = next(self._numbers)
        self._objects[number] = thing
        return number

    def _ticket(self, thing: Any) -> Ref:
        for number, known in self._objects.items():
            if known is thing:
                return Ref(number, type(thing).__name__)
        return Ref(self._keep(thing), type(thing).__name__)

    def _pack(self, value: Any) -> Any:
        try:
            return pack(value, self._foreign)
        except NotPlain as error:
            raise Complaint(f"what came back cannot be used: {error}") from None

    def _foreign(self, value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return Record(type(value).__name__, {"name": value.name, "value": value.value})
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return Record(type(value).__name__, {name: getattr(value, name, None) for name in names})
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return Record(type(value).__name__, dict(zip(value._fields, value, strict=True)))
        for base in PLAIN:
            if isinstance(value, base):
                return base(value)  # of a class derived from it, such as an IntEnum or a defaultdict
        if isinstance(value, Exchange):
            return _request(value)
        if isinstance(value, Response):
            return _answer(value)
        return self._ticket(value)

    def _unpack(self, data: Any) -> Any:
        return _native(unpack(data, self._thing), self._bodies)

    def _thing(self, it: Ref | Handle) -> Any:
        if isinstance(it, Handle) and it.kind == "callback":
            return self._callback(it.number)
        thing = self._objects[it.number]
        return thing.sleep if isinstance(it, Handle) and it.kind == "sleep" else thing

    def _callback(self, number: int) -> Callable[..., Awaitable[Any]]:
        async def callback(*args: Any, **kwargs: Any) -> Any:
            assert self.call is not None
            answer = await self.call(number, [self._pack(args), self._pack(kwargs)])
            if "raised" in answer:
                raise self._error(answer["raised"])
            return self._unpack(answer["value"])

        return callback

    def _error(self, raised: Message) -> BaseException:
        """What a check's callback raised."""
        if "own" not in raised:
            return _error(raised)
        cls = getattr(self._module(), raised["own"], None)
        if not inspect.isclass(cls) or not issubclass(cls, BaseException):
            raise Complaint(f"{self.path.name} has no exception {raised['own']}")
        return cls(*self._unpack(raised["args"]))

    # -- serving ---------------------------------------------------------------------------------------------

    def _serve(self, name: str, env: dict[str, str]) -> dict[str, Any]:
        from lab.exercises.serving import Server

        with environment(env):
            # Loaded anew: an application reads its configuration when it is loaded, or when it starts.
            app = getattr(load_file(self.path), name, None)
            if app is None:
                raise Complaint(f"{self.path.name} has no {name}")
            server = Server(app)
            self._served.append(server)
            server.start()
        return {"host": server.host, "port": server.port}

    def _run(self, env: dict[str, str]) -> dict[str, Any]:
        from lab.exercises.program import Place, Program

        program = Program(self.path, env)
        self._served.append(program)
        end = program.start()
        self.elsewhere = program.elsewhere
        return {"host": end.host, "port": end.port} if isinstance(end, Place) else {"tried": end}

    def _raised(self, error: BaseException) -> Message:
        return raised_by(error, self.path)


def raised_by(error: BaseException, path: Path) -> Message:
    """An exception as data, with the last line of the submission at `path` that it passed."""
    if isinstance(error, Complaint):
        return {
            "raised": {"kind": "", "mro": [], "text": str(error), "line": 0, "function": "", "source": ""}
        }
    line, function, source = 0, "", ""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, source = error.lineno or 0, (error.text or "").strip()
    for frame, at in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == str(path):
            line, function = at, frame.f_code.co_name
            source = linecache.getline(str(path), at).strip()
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:
        text = ""
    mro = [cls.__name__ for cls in type(error).__mro__ if cls is not object]
    raised = {"kind": type(error).__name__, "mro": mro, "text": " ".join(str(text).split())[:300]}
    return {"raised": raised | {"line": line, "function": function, "source": source[:120]}}


def load_file(path: Path) -> ModuleType:
    """The file at `path` as a new module. Raises whatever it raises."""
    name = f"submission_{path.stem}"
    linecache.checkcache(str(path))
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    exec(code, module.__dict__)
    return module


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """These environment variables, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# -- requests and responses ----------------------------------------------------------------------------------


def _native(value: Any, bodies: list[Pieces]) -> Any:
    """Requests and answers become what stages work with, records become objects, however deep they are.

    The answers' streams are added to `bodies`.
    """
    match value:
        case list():
            return [_native(item, bodies) for item in value]
        case dict():
            return {key: _native(item, bodies) for key, item in value.items()}
        case Request():
            return _exchange(value)
        case Answer():
            return _response(value, bodies)
        case Record():
            made: Any = type(value.kind, (), {})()
            vars(made).update(_native(value.fields, bodies))
            return made
    return value


def _fields(headers: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _exchange(request: Request) -> Exchange:
    async def chunks() -> Any:
        yield request.body

    _, _, rest = request.path.removeprefix("/").partition("/")
    exchange = Exchange(
        request.method,
        request.path.encode("latin-1"),
        rest=b"/" + rest.encode("latin-1"),
        query=request.query.encode("latin-1"),
        headers=_fields(request.headers),
        body=Body(chunks(), length=len(request.body)) if request.body else NO_BODY,
        service=request.service,
        client=request.client,
        kind="websocket" if request.kind == "websocket" else "http",
    )
    exchange.identity = request.identity
    exchange.request_id = request.request_id
    return exchange


def _request(exchange: Exchange) -> Request:
    return Request(
        method=exchange.method,
        path=exchange.raw_path.decode("latin-1"),
        query=exchange.query.decode("latin-1"),
        headers=[[name.decode("latin-1"), value.decode("latin-1")] for name, value in exchange.headers],
        client=exchange.client,
        identity=exchange.identity,
        kind=exchange.kind,
        request_id=exchange.request_id,
    )


def _response(answer: Answer, bodies: list[Pieces]) -> Response:
    headers = _fields(answer.headers)
    if not answer.streamed:
        return Response(answer.status, headers, answer.body, failure=answer.failure)
    stream = Pieces(answer.body, answer.breaks_off)
    bodies.append(stream)
    return Response(answer.status, headers, stream=stream, failure=answer.failure)


def _answer(response: Response) -> Answer:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in response.headers]
    return Answer(response.status, headers, bytes(response.content), response.failure)


async def _whole(result: Any) -> Any:
    """A response with its streamed body read to the end, as the edge does it; other values as they are."""
    if not isinstance(result, Response):
        return result
    answer = _answer(result)
    if result.stream is not None:
        answer.streamed = True
        answer.body = b"".join([bytes(chunk) async for chunk in result.stream])
    await result.aclose()
    return answer


def _error(raised: Message) -> BaseException:
    """What a check's callback raised: a built-in exception, or a library's by its dotted name."""
    module, _, name = str(raised["kind"]).rpartition(".")
    cls = getattr(importlib.import_module(module or "builtins"), name, RuntimeError)
    try:
        error = cls(raised["text"])
    except TypeError:
        error = RuntimeError(raised["text"])
    return error if isinstance(error, BaseException) else RuntimeError(raised["text"])
