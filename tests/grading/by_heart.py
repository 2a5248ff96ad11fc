"""A submission that knows an exercise's public checks by heart: each question, and what the solution says.

`learn` has the public checks ask the solution and notes what it says; a `Parrot` looks it up, by class or
function, arguments, and all that the same object was asked before. What was never asked it does not know.
Callbacks it calls with what the solution called them with, but at once; so this measures little where the
answer is what happens meanwhile (07, 12, 14, the stage of 11) and nothing over the wire (02, 16).
"""

import asyncio
import itertools
import json
from dataclasses import dataclass

from lab.exercises import kit
from lab.exercises.agent import PASSES, Agent

UNKNOWN = {
    "raised": {"kind": "KeyError", "mro": ["KeyError", "LookupError", "Exception"], "text": "nobody asked"}
}


@dataclass
class Said:
    """An answer, and what the callback was told before."""

    told: list
    answer: dict


def learn(exercise):
    """Question → what the solution says, of all public checks."""
    known = {}
    for check in exercise.checks():
        if not check.hidden:
            assert kit.execute(check, Recorder(Agent(exercise.solution), known)).passed, check.name
    return known


class Histories:
    """What each object of a conversation was asked so far."""

    def __init__(self):
        self._of = {}
        self.names = {}
        """Of things that an object gave and only it can look into, by those and their numbers."""

    def asked(self, op, fields):
        """The question as part of its history; the same on both sides, whatever the numbers of things are."""
        ref = fields.get("ref")
        given = [self._plain(ref, fields[part]) for part in ("args", "kwargs")]
        return [*self._of.get(ref, []), [fields["name" if op == "new" else "method"], *given]]

    def note(self, op, fields, history, answer):
        if op == "new" and "value" in answer:
            self._of[answer["value"]["ref"][0]] = history
        elif op != "new" and fields["ref"]:  # 0 is the module, whose functions remember nothing
            self._of[fields["ref"]] = history

    def _plain(self, ref, packed):
        match packed:
            case list():
                return [self._plain(ref, item) for item in packed]
            case {"ref": [number, _]}:
                return self.names.get((ref, number))
            case {"handle": [_, kind]}:
                return kind
            case dict():
                return {key: self._plain(ref, value) for key, value in packed.items()}
        return packed


class Recorder(kit.LocalChannel):
    """The way to a submission, on which somebody listens."""

    def __init__(self, agent, known):
        super().__init__(agent)
        self._known = known
        self._histories = Histories()
        self._told = {}  # by the number of the callback

    def callback(self, function):
        told = []

        async def overheard(args):
            told.append(args)
            return await function(args)

        number = super().callback(overheard)
        self._told[number] = told
        return number

    def ask(self, op, fields):
        answer = super().ask(op, fields)
        if op in ("new", "call"):
            self._note(op, fields, answer)
        return answer

    async def ask_async(self, op, fields):
        answer = await super().ask_async(op, fields)
        if op == "start":
            self._note(op, fields, answer)
        return answer

    def _note(self, op, fields, answer):
        history = self._histories.asked(op, fields)
        told = [args for number in callbacks(fields["args"]) for args in self._told[number]]
        self._histories.note(op, fields, history, answer)
        match answer:
            case {"value": {"ref": [number, kind]}}:
                thing = (fields.get("ref"), number)
                name = self._histories.names.setdefault(thing, f"{kind} {len(history)}")
                answer = {"value": {"ref": [name, kind]}}
        self._known.setdefault(json.dumps(history), Said(told, answer))


class Parrot:
    """The way to a submission that knows `known`, and nothing else."""

    def __init__(self, known):
        self.seed = 0
        self._known = known
        self._histories = Histories()
        self._callbacks = []
        self._tasks = {}
        self._numbers = itertools.count(1)

    def callback(self, function):
        self._callbacks.append(function)
        return len(self._callbacks) - 1

    def ask(self, op, fields):
        match op:
            case "new" | "call":
                return self._said(op, fields).answer
            case "clock":
                return {"value": {"handle": [next(self._numbers), "clock"]}}
            case "open" | "asleep":
                return {"value": 0}
            case "cancel":
                self._tasks[fields["task"]].cancel()
        return {"value": None}

    async def ask_async(self, op, fields):
        if op != "start":
            for _ in range(PASSES):
                await asyncio.sleep(0)
            return {"value": None}
        self._tasks[fields["task"]] = asyncio.current_task()
        said = self._said(op, fields)
        for number in callbacks(fields["args"]):
            for args in said.told:
                await self._callbacks[number](args)
        return said.answer

    def _said(self, op, fields):
        history = self._histories.asked(op, fields)
        said = self._known.get(json.dumps(history), Said([], UNKNOWN))
        match said.answer:
            case {"value": {"ref": [name, kind]}}:
                number = next(self._numbers)
                self._histories.names[fields.get("ref"), number] = name
                said = Said(said.told, {"value": {"ref": [number, kind]}})
        self._histories.note(op, fields, history, said.answer)
        return said


def callbacks(packed):
    return [
        arg["handle"][0]
        for arg in packed
        if isinstance(arg, dict) and arg.get("handle", [0, 0])[1] == "callback"
    ]
