"""Which faults there are, and how data becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lab.faults.error import Error
from lab.faults.garbage import Garbage
from lab.faults.hang import Hang
from lab.faults.kill import Kill
from lab.faults.latency import Latency
from lab.faults.model import Fault, FaultError
from lab.faults.refuse import Refuse
from lab.faults.reset import Reset
from lab.faults.slow_body import SlowBody
from lab.faults.stop import Stop
from lab.faults.truncate import Truncate
from lab.faults.ws_close import WsClose
from lab.faults.ws_cut import WsCut
from lab.faults.ws_freeze import WsFreeze

_ALL: tuple[type[Fault], ...] = (
    # Of requests; where several strike one request, the upper stands before the lower.
    Latency, Hang, Reset, Garbage, Error, Truncate, SlowBody,
    # Of WebSockets that are open.
    WsClose, WsCut, WsFreeze,
    # Of the process.
    Refuse, Stop, Kill,
)  # fmt: skip

FAULTS: dict[str, type[Fault]] = {cls.model_fields["kind"].default: cls for cls in _ALL}
"""Kind → class."""

ORDER = {kind: place for place, kind in enumerate(FAULTS)}


def parse(data: Mapping[str, Any]) -> Fault:
    """A fault from data such as `{"kind": "latency", "ms": 300}`; raises `FaultError`, one line."""
    from lab.settings import describe, nearest

    if not isinstance(data, Mapping):
        raise FaultError('a fault is a mapping such as {"kind": "latency", "ms": 300}')
    kind = data.get("kind")
    if kind is None:
        raise FaultError(f"kind: missing; a fault is one of {', '.join(FAULTS)}")
    cls = FAULTS.get(str(kind))
    if cls is None:
        raise FaultError(f"kind: no fault is called {str(kind)[:40]!r}; {nearest(str(kind), FAULTS)}")
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise FaultError(f"{kind}: {describe(error, cls)}") from None
