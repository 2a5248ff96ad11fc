"""Plain data: all that passes between a check and a submission.

None, booleans, numbers, strings, bytes, lists and dicts are themselves. A dataclass, a named tuple or an
enum's member arrives as a `Record`, an `Exchange` as a `Request`, a gateway's `Response` as an `Answer`,
anything else as a `Ref`: a ticket for an object that stays where it is. So a check never holds anything of
the submission's, and the two may live in different processes: `pack` gives JSON-ready values, `unpack` reads
them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 50
MAX_VALUES = 100_000


class NotPlain(Exception):
    """A value is nested too deeply, is too large, or has no plain form; the text says which."""


class Record:
    """Named values, such as a verdict's: `record.admitted`, `record.kind == "Verdict"`."""

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        self.kind = kind
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('kind')} has no {name}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and (self.kind, self.fields) == (other.kind, other.fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value!r}' for name, value in self.fields.items())})"


@dataclass(frozen=True)
class Ref:
    """An object of the submission's, by number; it can be called and handed back, not looked into."""

    number: int
    kind: str
    """The name of its class."""

    def __repr__(self) -> str:
        return f"<{self.kind}>"


@dataclass
class Request:
    """A request as data; the submission gets it as a `lab.model.Exchange`."""

    method: str = "GET"
    path: str = "/service-a/items/1"
    """The path that the client asked for, with the service's name in front."""
    query: str = ""
    headers: list[list[str]] = field(default_factory=list)
    body: bytes = b""
    client: str = "127.0.0.1"
    identity: str | None = None
    kind: str = "http"
    request_id: str = ""

    @property
    def service(self) -> str:
        return self.path.split("/")[1] if "/" in self.path else ""

    def header(self, name: str) -> str | None:
        """The first value of the field `name`, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Answer:
    """A response as data; the submission gives and gets it as a `lab.model.Response`."""

    status: int = 200
    headers: list[list[str]] = field(default_factory=list)
    body: bytes = b""
    failure: str | None = None
    """Why the gateway answers on the service's behalf, such as `connection_refused`."""
    streamed: bool = False
    """Whether the body came (or is to come) in pieces."""
    breaks_off: bool = False
    """Whether an error, a `ConnectionResetError`, is to come behind the last piece."""

    def header(self, name: str) -> str | None:
        """The first value of the field `name`, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Handle:
    """A thing of the check's that the submission gets in the place of an argument.

    `kind` is `callback` (an async function of the check's), `clock` (called, it says the time) or `sleep`
    (the same clock's `async sleep(seconds)`).
    """

    number: int
    kind: str


_RECORDS: dict[str, type[Any]] = {"request": Request, "answer": Answer}


def pack(value: Any, foreign: Callable[[Any], Any] | None = None) -> Any:
    """`value` as JSON-ready data. `foreign` turns what has no plain form into something that has.

    Raises `NotPlain`.
    """
    return _Packer(foreign)(value, 0)


class _Packer:
    def __init__(self, foreign: Callable[[Any], Any] | None) -> None:
        self._foreign = foreign
        self._values = 0

    def __call__(self, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise NotPlain("it holds more than a hundred thousand values")
        if depth > MAX_DEPTH:
            raise NotPlain(f"it is nested more than {MAX_DEPTH} deep")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) < 2**63 else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is bytes or kind is bytearray:
            return {"bytes": base64.b64encode(value).decode()}
        if kind is list or kind is tuple:
            return [self(item, depth + 1) for item in list(value)]
        if kind is dict:
            return {"dict": [[self(k, depth + 1), self(v, depth + 1)] for k, v in list(value.items())]}
        if kind is Record:
            return {"record": [value.kind, self(value.fields, depth + 1)]}
        if kind is Ref:
            return {"ref": [value.number, value.kind]}
        if kind is Handle:
            return {"handle": [value.number, value.kind]}
        for name, record in _RECORDS.items():
            if kind is record:
                return {name: self(dict(vars(value)), depth + 1)}
        if self._foreign is None:
            raise NotPlain(f"a {kind.__name__} cannot be passed")
        return self(self._foreign(value), depth + 1)


def unpack(data: Any, handle: Callable[[Ref | Handle], Any] | None = None) -> Any:
    """The value that `pack` made `data` of; `handle` gives what tickets and handles stand for.

    Raises `NotPlain` where `data` was made by something else.
    """
    try:
        return _unpack(data, handle or (lambda it: it))
    except NotPlain:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise NotPlain("it is not in the form that values are passed in") from error


def _unpack(data: Any, handle: Callable[[Ref | Handle], Any]) -> Any:
    if isinstance(data, list):
        return [_unpack(item, handle) for item in data]
    if not isinstance(data, dict):
        return data
    ((tag, inner),) = data.items()
    match tag:
        case "int":
            return int(inner, 16)
        case "float":
            return float(inner)
        case "bytes":
            return base64.b64decode(inner, validate=True)
        case "dict":
            return {_unpack(k, handle): _unpack(v, handle) for k, v in inner}
        case "record":
            return Record(str(inner[0]), _unpack(inner[1], handle))
        case "ref":
            return handle(Ref(int(inner[0]), str(inner[1])))
        case "handle":
            return handle(Handle(int(inner[0]), str(inner[1])))
        case "request" | "answer":
            return _RECORDS[tag](**_unpack(inner, handle))
    raise NotPlain(f"there is no kind of value called {tag!r:.40}")
