"""The same questions in other words, so that a table of what the public checks ask holds no answer.

What a limiter has to say depends neither on what its clients are called, nor on when its clock began to run,
nor on its unit; nor does a router care for what its services are called. A module of checks may say so:

    DISGUISE = {
        "FixedWindow": {"window": "span"},                      what an object is made with, by keyword
        "take": ("name", "moment"),                             a method's or function's arguments, in order
        "returns": {"pause": "span"},                           what it returns
        "answers": {"reset": "span", "retry_after": "span"},    fields of what it returns, of whatever class
        "words": ("service", "items"),                          wherever else these stand
    }

Then the grader's seed chooses other names, another beginning, another unit and other letters. The checks do
not notice, and neither does a submission that does what the task says.

    name        eight letters
    moment      another unit and another beginning: a power of two, and a number with many divisors, so that
                nothing is rounded and windows that begin at round moments still do
    span        the same unit; where an object has its defaults or the check has a clock, it stays the second
    text        each letter is another one, capitals are capitals, and %2F stays what it is
    words       the same letters; wherever they stand as whole words, in callbacks too

It is a disguise and no secret: who takes all this away again is left with the hidden checks.
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, TypeVar, cast

from lab.exercises.kit import Channel

Message = dict[str, Any]
Change = Callable[[str], str]
T = TypeVar("T")
UNITS = (0.25, 0.5, 2.0, 4.0, 8.0)
BEGINNINGS = range(2520, 10 * 2520, 2520)
LETTERS = 8
"""Of an invented name."""
ESCAPE = re.compile("(%[0-9A-Fa-f]{2})")


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
        self._there, self._back_again = alphabets(numbers)
        words: Sequence[str] = roles.get("words", ())
        self._put_on_words = replacing(words, self._there)
        self._take_off_words = replacing([word.translate(self._there) for word in words], self._back_again)

    # -- kit.Channel -----------------------------------------------------------------------------------------

    def callback(self, function: Callable[[list[Any]], Awaitable[Message]]) -> int:
        async def disguised(args: list[Any]) -> Message:
            return reworded(await function(reworded(args, self._take_off_words)), self._put_on_words)

        return self._channel.callback(disguised)

    def ask(self, op: str, fields: Message) -> Message:
        return self._back(self._channel.ask(op, self._other(op, fields)), fields)

    async def ask_async(self, op: str, fields: Message) -> Message:
        return self._back(await self._channel.ask_async(op, self._other(op, fields)), fields)

    # -- there -----------------------------------------------------------------------------------------------

    def _other(self, op: str, fields: Message) -> Message:
        if op == "clock":
            self._unit = 1.0
        if "args" not in fields:
            return fields
        roles = self._roles.get(str(fields["name" if op == "new" else "method"]), ())
        named: Mapping[str, str] = roles if isinstance(roles, Mapping) else {}
        given = fields["kwargs"]["dict"]
        if {key for key, role in named.items() if role == "span"} - {key for key, _ in given}:
            self._unit = 1.0
        in_order = zip(chain(() if named else roles, repeat("")), fields["args"], strict=False)
        return fields | {
            "args": [self._put_on(role, value) for role, value in in_order],
            "kwargs": {"dict": [[key, self._put_on(named.get(key, ""), value)] for key, value in given]},
        }

    def _put_on(self, role: str, value: Any) -> Any:
        match role, value:
            case "name", str():
                letters = random.Random(f"{self._seed} {value}").choices(string.ascii_lowercase, k=LETTERS)
                return "".join(letters)
            case "moment", int() | float():
                return value * self._unit + self._beginning
            case "span", int() | float():
                return value * self._unit
            case "text", _:
                return reworded(value, lettered(self._there))
            case "", _:
                return reworded(value, self._put_on_words)
        return value

    # -- back ------------------------------------------------------------------------------------------------

    def _back(self, answer: Message, fields: Message) -> Message:
        match answer:
            case {"value": {"record": [kind, {"dict": list(pairs)}]}}:
                return {"value": {"record": [kind, {"dict": [self._field(pair) for pair in pairs]}]}}
            case {"value": value} if role := self._roles.get("returns", {}).get(fields.get("method")):
                return {"value": self._taken_off(role, value)}
        return reworded(answer, self._take_off_words)

    def _field(self, pair: Any) -> Any:
        match pair:
            case [str(key), value] if role := self._roles.get("answers", {}).get(key):
                return [key, self._taken_off(role, value)]
        return reworded(pair, self._take_off_words)

    def _taken_off(self, role: str, value: Any) -> Any:
        """Whatever is not what it should be stays what it is."""
        match role, value:
            case "span", int() | float() if type(value) is not bool and abs(value) < 1e300:
                return value / self._unit
            case "text", _:
                return reworded(value, lettered(self._back_again))
        return value


def alphabets(numbers: random.Random) -> tuple[dict[int, str], dict[int, str]]:
    """For each letter another one, and the way back. No letter stays what it is."""
    letters = numbers.sample(string.ascii_lowercase, 26)
    others = letters[1:] + letters[:1]
    plain, other = ("".join(some) + "".join(some).upper() for some in (letters, others))
    return (
        {ord(a): b for a, b in zip(plain, other, strict=True)},
        {ord(b): a for a, b in zip(plain, other, strict=True)},
    )


def lettered(alphabet: dict[int, str]) -> Change:
    """Changes all letters, but not what is escaped in a URL."""
    return lambda text: "".join(
        part if ESCAPE.fullmatch(part) else part.translate(alphabet) for part in ESCAPE.split(text)
    )


def replacing(words: Sequence[str], alphabet: dict[int, str]) -> Change | None:
    """Changes the letters of these words, where they stand as a whole; None where there are none."""
    if not words:
        return None
    # Of bytes, those that are no ASCII are no letters.
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.ASCII)
    return lambda text: pattern.sub(lambda match: match[0].translate(alphabet), text)


def reworded(packed: T, change: Change | None) -> T:
    """The same data with all its texts and bytes changed."""
    try:
        return packed if change is None else cast(T, _reworded(packed, change))
    except (RecursionError, TypeError, ValueError):
        return packed  # it was no data, and whoever reads it will say so


def _reworded(packed: Any, change: Change) -> Any:
    match packed:
        case str():
            return change(packed)
        case list():
            return [_reworded(item, change) for item in packed]
        case {"bytes": text}:
            text = change(base64.b64decode(text, validate=True).decode("latin-1"))
            return {"bytes": base64.b64encode(text.encode("latin-1")).decode()}
        case dict():
            return {key: _reworded(value, change) for key, value in packed.items()}
    return packed
