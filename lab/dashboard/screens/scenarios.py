"""The failure scenarios: the list, and the one that is played: narration, expectations, what differs."""

from __future__ import annotations

import textwrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical
from textual.content import Content
from textual.worker import Worker

from lab.dashboard.screens.base import LabScreen
from lab.dashboard.state import View
from lab.dashboard.text import ACCENT, BAD, DIM, GOOD, WARN, line
from lab.dashboard.widgets import charts
from lab.dashboard.widgets.panel import Long
from lab.dashboard.widgets.table import LiveTable
from lab.errors import UserError
from lab.launcher import undo
from lab.scenarios import engine, ground, table
from lab.scenarios.engine import Line, Verdict
from lab.scenarios.model import Scenario

MARK = {None: ("☐", DIM), True: ("☑", GOOD), False: ("☒", BAD)}


class Scenarios(LabScreen):
    """Plays scenarios on the dashboard's own stack."""

    mode = "scenarios"
    tip = "Guess first; [b]p[/] plays it without and with its cure; [b]a[/] shows the answers"
    help = """
Failures that every engineer meets once, on demand. Read the story, guess, then **o** plays it without the
cure and **n** with it; **p** plays both and compares. Each expectation is ticked off when it was seen. **a**
shows the answers to the questions. **s** breaks off; what was changed is put back.

Meanwhile the other screens show what happens; steady traffic is switched off, since it would be counted too.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "play('both')", "Play", tooltip="Play the selected scenario without and with its cure"),
        Binding("o", "play('off')", "Without", tooltip="Play it without its cure"),
        Binding("n", "play('on')", "With cure", tooltip="Play it with its cure"),
        Binding("a", "answers", "Answers", tooltip="Show the answers to the scenario's questions"),
        Binding("s", "stop", "Stop", tooltip="Break the scenario off and put everything back"),
    ]
    needs_stack: ClassVar[set[str]] = {"play", "stop"}

    DEFAULT_CSS = """
    Scenarios LiveTable { width: 24; }
    Scenarios #charts { grid-size: 2 1; height: 10; }
    Scenarios.-tall #charts { height: 16; }
    Scenarios.-short #charts { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._scenarios = {scenario.name: scenario for scenario in table.all_of_them()}
        self._lines: dict[str, list[Line]] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._answered: set[str] = set()
        self._playing: str | None = None
        self._worker: Worker[None] | None = None

    def body(self) -> ComposeResult:
        """The list, and beside it the story."""
        with Horizontal():
            yield LiveTable(("", 1), ("scenario", 18))
            with Vertical():
                yield Story()
                with Grid(id="charts"):
                    yield charts.answers()
                    yield charts.calls()

    def show(self, view: View) -> None:
        """Fill the list; the story is that of the selected one."""
        listed = self.query_one(LiveTable)
        listed.fill({name: (self._state(name), (name, "")) for name in self._scenarios})
        story = self.query_one(Story)
        selected = listed.selected
        if story.scenario is not (scenario := self._scenarios.get(selected or "")):
            story.rest()
        story.scenario = scenario
        story.border_title = story.scenario.title if story.scenario else ""
        story.told = self._lines.get(selected or "", [])
        story.answered = selected in self._answered
        story.playing = selected is not None and selected == self._playing
        story.tail = bool(story.told)
        super().show(view)

    def _state(self, name: str) -> tuple[str, str]:
        if name == self._playing:
            return "▶", WARN
        verdict = self._verdicts.get(name)
        return ("", DIM) if verdict is None else MARK[verdict.ok]

    def on_data_table_row_highlighted(self) -> None:
        """Another one was selected."""
        self.dashboard.touch()

    def action_answers(self) -> None:
        """Show them, or hide them again."""
        if name := self.query_one(LiveTable).selected:
            self._answered ^= {name}
            self.dashboard.touch()

    def action_play(self, cure: str) -> None:
        """Play the selected one."""
        name, stack = self.query_one(LiveTable).selected, self.dashboard.stack
        if name is None or stack is None:
            return
        if self._playing is not None:
            self.dashboard.complain(f"{self._playing} is being played; s breaks it off")
            return
        for process in stack.processes.values():
            if process.state != "healthy":
                self.dashboard.complain(f"{process.name} is {process.state}; a scenario needs it healthy")
                return
        if (traffic := self.dashboard.traffic) is not None and traffic.steady:
            traffic.toggle()
        self._playing = name
        self._lines[name] = []
        self._verdicts.pop(name, None)
        cures = {"off": (False,), "on": (True,), "both": (False, True)}[cure]
        self._worker = self.dashboard.run_worker(self._play(name, cures), group="scenario")

    def action_stop(self) -> None:
        """Break off; the play puts everything back."""
        if self._worker is not None:
            self._worker.cancel()

    async def _play(self, name: str, cures: tuple[bool, ...]) -> None:
        stack = self.dashboard.stack
        assert stack is not None

        def tell(said: Line) -> None:
            self._lines[name].append(said)
            self.dashboard.touch()

        try:
            await undo.leftover(stack.home)  # also refuses while somebody else plays
            place = ground.of(stack, stack.home)
            self._verdicts[name] = await engine.run(self._scenarios[name], place, cures, tell=tell)
        except UserError as error:
            self.dashboard.complain(str(error))
        finally:
            self._playing = None
            self.dashboard.touch()


class Story(Long):
    """The selected scenario: what it is about, or how far its play is."""

    DEFAULT_CSS = "Story { height: 1fr; }"

    scenario: Scenario | None = None
    told: list[Line] = []  # noqa: RUF012 - replaced, never changed
    answered = False
    playing = False

    def lines(self, view: View, width: int, height: int) -> list[Content]:
        """The story and its questions until it is played, then the play, then the questions again."""
        if self.scenario is None:
            return []
        if not self.told:
            return self._about(self.scenario, width)
        played = self._play(self.scenario, width)
        return played if self.playing else played + self._questions(self.scenario, width)

    def _about(self, scenario: Scenario, width: int) -> list[Content]:
        about = [*wrapped(scenario.story, width), line("")]
        about += wrapped(scenario.cure, width, "Cure: ", ACCENT)
        about += wrapped(scenario.look_at, width, "Look at: ", DIM)
        about += self._questions(scenario, width)
        return [*about, line(""), *wrapped(scenario.source, width, "", DIM)]

    def _questions(self, scenario: Scenario, width: int) -> list[Content]:
        asked: list[Content] = []
        for question in scenario.questions:
            asked += [line(""), *wrapped(question.ask, width, "? ", "bold")]
            if self.answered:
                asked += wrapped(question.answer, width, "  ", GOOD)
        return asked

    def _play(self, scenario: Scenario, width: int) -> list[Content]:
        drawn: list[Content] = []
        for cured in (False, True):
            told = [each for each in self.told if each.cured is cured]
            if told:
                drawn += wrapped(told[0].text, width, "", f"bold {ACCENT}")
                drawn += self._steps(scenario, told, width)
        for each in self.told:
            if each.kind in ("differs", "same"):
                mark, style = MARK[each.kind == "differs"]
                drawn += wrapped(f"{each.text}", width, f"{mark} ", style)
        return drawn

    def _steps(self, scenario: Scenario, told: list[Line], width: int) -> list[Content]:
        """Steps that were said, each with all of its expectations: open, seen or missed."""
        drawn: list[Content] = []
        said = [each.text for each in told if each.kind == "say"]
        cured = told[0].cured is True
        for step in scenario.script(cured)[: len(said)]:
            now = self.playing and step.say == said[-1] and told[-1] is self.told[-1]
            drawn += wrapped(step.say, width, "▸ " if now else "· ", "bold" if now else "")
            for expect in step.expect:
                mark, style = MARK[outcome(expect.what, told)]
                drawn += wrapped(expect.what, width, f"  {mark} ", style)
        whats = {expect.what for step in scenario.script(cured) for expect in step.expect}
        for each in told:
            if each.kind == "missed" and not each.text.startswith(tuple(whats)):
                drawn += wrapped(each.text, width, "  ☒ ", BAD)
            elif each.kind == "figure":
                drawn += wrapped(each.text, width, "  ", DIM)
        return drawn


def outcome(what: str, told: list[Line]) -> bool | None:
    """Whether an expectation was seen, was missed, or is still open."""
    for each in told:
        if each.kind == "seen" and each.text == what:
            return True
        if each.kind == "missed" and each.text.startswith(what):
            return False
    return None


def wrapped(text: str, width: int, before: str = "", style: str = "") -> list[Content]:
    """Lines of at most `width` cells, the first with `before`, the others under it."""
    rows = textwrap.wrap(text, width, initial_indent=before, subsequent_indent=" " * len(before))
    return [line((row, style)) for row in rows]
