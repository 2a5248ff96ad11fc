"""Plays scenarios: step by step, each with its expectations, and the contrast without and with the cure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from lab.errors import UserError
from lab.scenarios.model import Expect, Figures, Scenario
from lab.scenarios.play import NotSeen, Play
from lab.scenarios.recording import Recording, summary

Kind = Literal["title", "say", "seen", "missed", "figure", "differs", "same"]


@dataclass(frozen=True)
class Line:
    """One line of a play, as it happens."""

    kind: Kind
    text: str
    cured: bool | None = None
    """Of which play; None: of the comparison."""


Tell = Callable[[Line], None]


@dataclass
class Result:
    """One play: what was seen of what was expected."""

    cured: bool
    ok: bool = False
    seconds: float = 0.0
    seen: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """The transitions that the feed showed, the same in every play."""
    figures: Figures = field(default_factory=dict)


@dataclass
class Verdict:
    """A scenario: its plays and the contrast between them."""

    name: str
    ok: bool
    plays: list[Result]
    differs: list[str]
    same: list[str]
    """What should differ between the plays, and did not."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Ground(Protocol):
    """Where it is played: makes a `Play` on some stack."""

    def play(self, *, cured: bool, seed: int, without: Collection[str]) -> Play: ...


def _silent(line: Line) -> None: ...


async def run(
    scenario: Scenario,
    ground: Ground,
    cures: Collection[bool] = (False, True),
    *,
    tell: Tell = _silent,
    without: Collection[str] = (),
) -> Verdict:
    """Play the scenario without the cure, with it, or both, and compare.

    Raises `UserError` where the gateway cannot be controlled.
    """
    results: list[Result] = []
    for cured in sorted(cures):
        play = ground.play(cured=cured, seed=scenario.seed, without=without)
        results.append(await perform(scenario, play, tell))
    differs: list[str] = []
    same: list[str] = []
    if len(results) == 2:
        off, on = (result.figures for result in results)
        for contrast in scenario.contrast:
            kept = holds(partial(contrast.check, off, on))
            (differs if kept else same).append(contrast.what)
            tell(Line("differs" if kept else "same", contrast.what))
    ok = all(result.ok for result in results) and not same
    return Verdict(scenario.name, ok, results, differs, same)


async def perform(scenario: Scenario, play: Play, tell: Tell = _silent) -> Result:
    """One play. What goes wrong in a step is something not seen; the play ends there."""
    began = time.monotonic()
    result = Result(play.cured)
    tell(Line("title", f"with the cure: {scenario.cure}" if play.cured else "without the cure", play.cured))
    async with play.on(scenario):
        for step in scenario.script(play.cured):
            tell(Line("say", step.say, play.cured))
            try:
                await play.say(step.say)
                async with asyncio.timeout(step.within):
                    await step.do(play)
                await play.look()
            except TimeoutError:
                problem: str | None = f"not done within {step.within:g} s"
            except (NotSeen, UserError, OSError) as error:
                problem = " ".join(str(error).split())
            else:
                problem = None
            if problem is not None:
                result.missed.append(f"{step.say}: {problem}")
                tell(Line("missed", problem, play.cured))
                break
            done = asyncio.get_running_loop().time()
            for expect in step.expect:
                if await seen(expect, play.recording, done + expect.by):
                    result.seen.append(expect.what)
                    tell(Line("seen", expect.what, play.cured))
                else:
                    result.missed.append(expect.what)
                    tell(Line("missed", f"{expect.what} ({_requests(play)})", play.cured))
        result.order = play.recording.order
        result.figures = dict(play.recording.figures)
        for name, value in result.figures.items():
            tell(Line("figure", f"{name}: {value:g}", play.cured))
        await play.linger()
    result.ok = not result.missed
    result.seconds = round(time.monotonic() - began, 3)
    return result


def _requests(play: Play) -> str:
    return f"requests so far: {summary(play.recording.outcomes)}"


async def seen(expect: Expect, recording: Recording, deadline: float) -> bool:
    """Whether it is true, or comes true before `deadline` (the loop's seconds)."""
    check = partial(expect.check, recording)
    if holds(check):
        return True
    try:
        async with asyncio.timeout_at(deadline):
            await recording.until(partial(holds, check))
    except TimeoutError:
        return False
    return True


def holds(check: Callable[[], bool]) -> bool:
    """Whether a check is true; one that finds nothing to look at is not."""
    try:
        return bool(check())
    except (KeyError, IndexError, ZeroDivisionError, ValueError):
        return False
