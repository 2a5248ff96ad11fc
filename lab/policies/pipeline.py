"""The pipeline: policies in a row, each with the rest of the row as its `call_next`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from lab.model import Exchange, Handler, Response
from lab.policies import Stage


class Slot:
    """One place in the pipeline. What stands in it can be exchanged while requests are passing.

    Exchanges that are already inside the old stage finish there; the next one enters the new stage.
    """

    __slots__ = ("_call", "_stage", "call_next", "enabled")

    def __init__(self, stage: Stage, call_next: Handler, *, enabled: bool = True) -> None:
        self.stage = stage
        self.call_next = call_next
        self.enabled = enabled

    @property
    def stage(self) -> Stage:
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._stage = stage
        self._call = stage.__call__  # to call a bound method is a good deal cheaper than to call an object

    def handler(self) -> Handler:
        """What the stage before this place gets as its `call_next`."""

        # A plain function, for the same reason; and not `async`: handing the stage's own coroutine on saves a
        # frame at each of the row's places.
        def enter(exchange: Exchange) -> Awaitable[Response]:
            if self.enabled:
                return self._call(exchange, self.call_next)
            return self.call_next(exchange)

        return enter


def compose(stages: Sequence[Stage], last: Handler) -> tuple[Handler, list[Slot]]:
    """The handler that runs `stages` in order and then `last`, and the slots they stand in."""
    handler = last
    slots: list[Slot] = []
    for stage in reversed(stages):
        slot = Slot(stage, handler)
        slots.insert(0, slot)
        handler = slot.handler()
    return handler, slots
