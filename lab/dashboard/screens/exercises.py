"""The exercises: how far the student is, what the checks say, and the student's class in the gateway."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets.bars import Line
from lab.dashboard.widgets.panel import Long
from lab.dashboard.widgets.table import LiveTable
from lab.errors import UserError
from lab.exercises import api
from lab.exercises.catalog import Exercise
from lab.exercises.kit import Result
from lab.exercises.plugging import Gateway, Refused, place, plug, unplug

ROOM = 30
"""Cells from which on an exercise's sentence stands in the list too."""
STATES = {"done": ("☑", GOOD), "begun": ("◧", WARN), "open": ("☐", DIM)}


class Exercises(LabScreen):
    """The list with the points, and below it what the last check of the selected one said."""

    mode = "exercises"
    tip = "[b]i[/] the task, [b]enter[/] checks your file, [b]h[/] a hint, [b]p[/] puts it into the gateway"
    help = """
Each exercise is a file, `exercises/NN_name/exercise.py`: write a part of the gateway yourself. **i** shows
what there is to do. **enter**
runs the selected exercise's checks on your file as it is saved now; below stands what each said, the first
failure in full. **h** shows the next hint.

**p** puts your class into the running gateway, and takes it out again: `★` marks it here, and its stage on
the overview. `lab watch` in another terminal checks whenever you save.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "check", "Check", tooltip="Run the selected exercise's checks", priority=True),
        Binding("i", "task", "Task", tooltip="Show what there is to do in the selected exercise"),
        Binding("h", "hint", "Hint", tooltip="Show the next hint"),
        Binding("p", "plug", "Plug in/out", tooltip="Put your class into the gateway, or take it out"),
    ]
    changes: ClassVar[set[str]] = {"plug"}

    DEFAULT_CSS = """
    Exercises LiveTable { height: auto; max-height: 60%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._standings: list[api.Standing] = []
        self._said: dict[str, list[Content]] = {}
        self._checking = ""

    def body(self) -> ComposeResult:
        """Progress, list, verdicts."""
        yield Line(id="progress")
        yield LiveTable(
            ("", 1), (">no", 2), ("exercise", 34), (">points", 6), (">tries", 5), ("★", 1), (" ", 0)
        )
        yield Verdicts()

    def on_screen_resume(self) -> None:
        """What was checked meanwhile in another terminal counts too."""
        super().on_screen_resume()
        self.run_worker(self._read(), group="act")

    async def _read(self) -> None:
        try:
            self._standings = await asyncio.to_thread(api.listing)
        except UserError as error:
            self.dashboard.complain(str(error))
        self.show(self.dashboard.view)

    def plugged(self, standing: api.Standing) -> bool:
        """Whether the gateway uses this exercise's class now."""
        exercise = standing.exercise
        if exercise.plug is None:
            return False
        policy = self.dashboard.view.policies.get(exercise.plug.section, {})
        return bool(policy.get("plugged")) and policy.get("use") == place(exercise)[1]

    def show(self, view: View) -> None:
        """Fill the list."""
        super().show(view)
        done = sum(each.entry.passed for each in self._standings)
        points = sum(each.entry.points for each in self._standings)
        of = sum(each.exercise.points for each in self._standings)
        checking = (f"   checking {self._checking} …", WARN) if self._checking else ""
        self.query_one("#progress", Line).words = line(
            ("exercises  ", "bold"),
            f"{done} of {len(self._standings)} done, {points} of {of} points",
            checking,
        )
        table = self.query_one(LiveTable)
        table.fill({each.exercise.name: self._row(each) for each in self._standings})
        verdicts = self.query_one(Verdicts)
        selected = self._selected()
        if selected and verdicts.exercise is not selected.exercise:
            verdicts.exercise = selected.exercise
            verdicts.border_title = selected.exercise.title
            verdicts.rest()
        verdicts.said = self._said.get(selected.exercise.name, []) if selected else []
        verdicts.view = view

    def _row(self, standing: api.Standing) -> tuple[str | tuple[str, str], ...]:
        exercise, entry = standing.exercise, standing.entry
        return (
            STATES[standing.state],
            f"{exercise.number}",
            (exercise.title, "bold"),
            (f"{entry.points}/{exercise.points}", GOOD if entry.passed else ""),
            (f"{entry.tries or ''}", DIM),
            ("★" if self.plugged(standing) else "", ACCENT),
            (exercise.summary if self.query_one(LiveTable).rest >= ROOM else "", DIM),
        )

    def _selected(self) -> api.Standing | None:
        name = self.query_one(LiveTable).selected
        return next((each for each in self._standings if each.exercise.name == name), None)

    def on_data_table_row_highlighted(self) -> None:
        """Another one was selected."""
        self.dashboard.touch()

    def action_task(self) -> None:
        """The exercise's own page."""
        if selected := self._selected():
            from lab.dashboard.screens.help import Page

            try:
                text = (selected.exercise.folder / "README.md").read_text(encoding="utf-8")
            except OSError as error:
                self.dashboard.complain(f"{error.filename}: cannot be read: {error.strerror}")
            else:
                self.app.push_screen(Page(selected.exercise.title, text))

    def action_check(self) -> None:
        """Run the checks, in a process of their own; each is shown as it comes."""
        if (selected := self._selected()) and not self._checking:
            self._checking = selected.exercise.name
            self.dashboard.act(self._check(selected.exercise))
            self.show(self.dashboard.view)

    async def _check(self, exercise: Exercise) -> None:
        said = self._said[exercise.name] = []
        loop = asyncio.get_running_loop()

        def heard(result: Result) -> None:
            said.extend(told(result, first=not any("☒" in each.plain for each in said)))
            self.dashboard.touch()

        def each(result: Result) -> None:
            loop.call_soon_threadsafe(heard, result)

        try:
            report = await asyncio.to_thread(api.check, exercise, None, each)
        finally:
            self._checking = ""
        if report.problem:
            said[:] = [line((row, BAD)) for row in report.problem.splitlines()]
        said.append(line((f"{report.points} of {report.maximum} points", GOOD if report.passed else "bold")))
        await self._read()

    def action_hint(self) -> None:
        """The next hint, in the place of the verdicts."""
        if selected := self._selected():
            self.dashboard.act(self._hint(selected.exercise))

    async def _hint(self, exercise: Exercise) -> None:
        hint = await asyncio.to_thread(api.hint, exercise)
        rows = [line((f"hint {hint.shown} of {hint.of}", f"bold {ACCENT}"))]
        self._said[exercise.name] = rows + [line(row) for row in hint.text.strip().splitlines()]
        await self._read()

    def action_plug(self) -> None:
        """The student's class in, or out again."""
        if (selected := self._selected()) and self.dashboard.control:
            self.dashboard.act(self._plug(selected.exercise, self.plugged(selected)))

    async def _plug(self, exercise: Exercise, out: bool) -> None:
        control = self.dashboard.control
        assert control is not None

        def change() -> str:
            with Gateway(control.url, control.token) as gateway:
                return (unplug if out else plug)(exercise, gateway).use

        try:
            use = await asyncio.to_thread(change)
        except Refused as refused:
            raise UserError(f"the gateway does not take it: {refused}") from None
        self.dashboard.fetch_soon()
        name = use.rpartition(":")[2]
        self.notify(
            f"the gateway uses {name} again" if out else f"{name}, yours, is in the gateway", markup=False
        )


def told(result: Result, *, first: bool) -> list[Content]:
    """A check's line; for the first that failed its message and its reason too."""
    skipped = result.status == "skipped"
    title = result.name.removeprefix("test_").replace("_", " ")
    mark, style = ("☑", GOOD) if result.passed else ("–", DIM) if skipped else ("☒", BAD)
    rows = [line((f"{mark} ", style), (title, DIM if skipped else ""))]
    if not result.passed and not skipped and first:
        rows += [line((f"    {row}", "")) for row in result.text.splitlines()]
        rows += [line((f"    {result.why}", DIM))] if result.why else []
    return rows


class Verdicts(Long):
    """What the checks said, or what the exercise is about."""

    DEFAULT_CSS = "Verdicts { height: 1fr; }"

    exercise: Exercise | None = None
    said: list[Content] = []  # noqa: RUF012 - replaced, never changed

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """What was said, or what the exercise is about."""
        if self.said:
            return [row for said in self.said for row in said.wrap(width)]
        if self.exercise is None:
            return []
        about = [line(row) for row in textwrap.wrap(self.exercise.summary, width)]
        file = self.exercise.file
        where = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        return [*about, line(), line(("your file  ", DIM), str(where)), line(("i shows the task", DIM))]
