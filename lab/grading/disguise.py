"""The same questions in other words, so that a table of what the public checks ask holds no answer.

What a limiter has to say depends neither on what its clients are called, nor on when its clock began to run,
nor on its unit. A module of checks may say so, by the place of the arguments:

    DISGUISE = {
        "FixedWindow": {"window": "span"},                          what an object is made with
        "take": ("name", "moment"),                                 a method's arguments, in order
        "answers": {"reset": "span", "retry_after": "span"},        what comes back, of whatever class
    }

Then the grader's seed chooses other names, another beginning and another unit. The checks do not notice, and
neither does a submission that does what the task says. The unit is a power of two and the beginning a number
with many divisors, so that nothing is rounded and windows that begin at round moments still do. It is a
disguise and no secret: who takes names, beginning and unit away is left with the hidden checks.
"""

from __future__ import annotations

import random
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from lab.exercises.kit import Channel

Message = dict[str, Any]
UNITS = (0.25, 0.5, 2.0, 4.0, 8.0)
BEGINNINGS = range(2520, 10 * 2520, 2520)
LETTERS = 8
"""Of an invented name."""


class Disguised:
    """A channel that disguises what is asked, and what is answered back again."""

    def __init__(self, channel: Channel, roles: Mapping[str, Any], seed: int) -> None:
        numbers = random.Random(seed)
        self.seed = seed
        self._channel = channel
        self._roles = roles
        self._seed = seed
        self._unit = numbers.choice(UNITS)
        self._beginning = numbers.choice(BEGINNINGS) * self._unit

    def callback(self, function: Callable[[list[Any]], Awaitable[Message]]) -> int:
        return self._channel.callback(function)

    def ask(self, op: str, fields: Message) -> Message:
        return self._back(self._channel.ask(op, self._other(op, fields)))

    async def ask_async(self, op: str, fields: Message) -> Message:
        return self._back(await self._channel.ask_async(op, self._other(op, fields)))

    def _other(self, op: str, fields: Message) -> Message:
        roles: Mapping[str, str] | Sequence[str] = self._roles.get(
            str(fields.get("name" if op == "new" else "method")), ()
        )
        if isinstance(roles, Mapping):
            pairs = [
                [key, self._put_on(roles.get(key, ""), value)] for key, value in fields["kwargs"]["dict"]
            ]
            return fields | {"kwargs": {"dict": pairs}}
        if roles:
            rest = [""] * len(fields["args"])
            args = [
                self._put_on(role, value)
                for role, value in zip([*roles, *rest], fields["args"], strict=False)
            ]
            return fields | {"args": args}
        return fields

    def _put_on(self, role: str, value: Any) -> Any:
        match role, value:
            case "name", str():
                letters = random.Random(f"{self._seed} {value}").choices(string.ascii_lowercase, k=LETTERS)
                return "".join(letters)
            case "moment", int() | float():
                return value * self._unit + self._beginning
            case "span", int() | float():
                return value * self._unit
        return value

    def _back(self, answer: Message) -> Message:
        match answer:
            case {"value": {"record": [kind, {"dict": list(pairs)}]}}:
                taken_off = [self._taken_off(pair) for pair in pairs]
                return {"value": {"record": [kind, {"dict": taken_off}]}}
        return answer

    def _taken_off(self, pair: Any) -> Any:
        """One field of an answer; whatever is no field or no number stays what it is."""
        roles = self._roles.get("answers", {})
        match pair:
            case [str(key), int() | float() as value] if roles.get(key) == "span" and type(value) is not bool:
                return [key, value / self._unit if abs(value) < 1e300 else value]
        return pair
