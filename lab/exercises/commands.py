"""`lab exercises`, `check`, `watch`, `hint`, `reset`, `solution`, `plug`, `unplug`."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lab.errors import UserError
from lab.exercises import api, kit, plugging
from lab.exercises.catalog import Exercise, find
from lab.exercises.runner import Report, Runner
from lab.exercises.watch import Event, Kind, Watched, events

# -- how a report looks --------------------------------------------------------------------------------------

SIGNS = {"passed": ("✓", "green"), "skipped": ("·", "bright_black")}


def line(result: kit.Result) -> str:
    """One result, one line: `✓ a window ends after its length`."""
    sign, colour = SIGNS.get(result.status, ("✗", "red"))
    title = result.name.removeprefix("test_").replace("_", " ")
    points = f"{result.points}/{result.maximum}"
    return f"  {click.style(sign, fg=colour)} {title:<62} {points:>6}"


def body(result: kit.Result) -> str:
    """What a failed check says below its line."""
    why = f"{'why':<10}{result.why}\n" if result.status != "skipped" else ""
    return "\n".join(f"      {text}".rstrip() for text in (why + result.text).splitlines())


def show(report: Report, *, everything: bool = False) -> None:
    """Print a report: what passed in one line each, the first failure in full, the others in one line."""
    exercise = report.exercise
    click.echo(click.style(f"\nExercise {exercise.number:02}: {exercise.title}", bold=True))
    if report.problem:
        click.echo(f"  {click.style('✗', fg='red')} {report.problem}")
    explained = False
    for result in report.results if not report.problem else []:
        click.echo(line(result))
        if not result.passed and result.status != "skipped" and (everything or not explained):
            click.echo(body(result))
            explained = True
    if report.printed.strip() and not (report.passed and exercise.program):  # then it is a server's log
        click.echo("  your code printed:")
        lines = report.printed.rstrip().splitlines()
        shown = lines[:12] + [f"… pytest -s exercises/{exercise.name} shows all of it"] * (len(lines) > 12)
        click.echo("\n".join(f"      {text[:160]}" for text in shown))
    click.echo(verdict(report))


def verdict(report: Report) -> str:
    """The last lines: how many passed, what to do next."""
    exercise, results = report.exercise, report.results
    passed = sum(result.passed for result in results)
    visible = sum(result.maximum for result in results)
    text = f"\n  {passed} of {len(results)} checks passed, {report.points} of {visible} points"
    hidden = [check for check in exercise.checks() if check.hidden]
    if hidden and not any(result.hidden for result in results):
        text += f" ({len(hidden)} more, worth {sum(c.points for c in hidden)}, when it is graded)"
    text += f", {report.seconds:.1f} s"
    if not report.passed:
        return f"{text}\n  stuck? lab hint {exercise.number}"
    if report.file != exercise.file.resolve():  # with --file: it counts for nothing
        return click.style(f"{text}: done", fg="green")
    following = api.next_step(api.listing())
    ideas = [f"lab solution {exercise.number} shows another way"]
    if exercise.plug is not None:
        ideas.insert(0, f"lab plug {exercise.number} puts it into the running gateway")
    if following is not None:
        ideas.append(f"next: lab watch {following.number}, {following.title.lower()}")
    return "\n".join([click.style(f"{text}: done", fg="green"), *(f"  {idea}" for idea in ideas)])


def as_json(report: Report) -> dict[str, Any]:
    return {
        "exercise": report.exercise.name,
        "passed": report.passed,
        "points": report.points,
        "maximum": sum(result.maximum for result in report.results),
        "problem": report.problem,
        "mistake": report.mistake,
        "seconds": round(report.seconds, 3),
        "checks": [asdict(result) for result in report.results],
    }


# -- commands ------------------------------------------------------------------------------------------------


class ExerciseName(click.ParamType):  # type: ignore[type-arg]
    """An exercise by number, name or folder."""

    name = "exercise"

    def convert(self, value: Any, param: Any, ctx: Any) -> Exercise:
        return value if isinstance(value, Exercise) else find(str(value))


EXERCISE = ExerciseName()
JSON = click.option("--json", "json_", is_flag=True, help="One JSON document instead of text.")


@click.command()
@click.argument("exercise", type=EXERCISE)
@click.option(
    "--file", type=click.Path(path_type=Path), help="Check this file instead of the exercise's own."
)
@click.option("--all", "everything", is_flag=True, help="Every failure in full, not only the first.")
@JSON
def check(exercise: Exercise, file: Path | None, everything: bool, json_: bool) -> int:
    """Check your solution of EXERCISE, a number or a name; exit status 0 if all checks pass."""
    report = api.check(exercise, file)
    if json_:
        click.echo(json.dumps(as_json(report), indent=2))
    else:
        show(report, everything=everything)
    return 0 if report.passed else 1


@click.command()
@JSON
def exercises(json_: bool) -> None:
    """List the exercises, how far you are, and what comes next."""
    standings = api.listing()
    following = api.next_step(standings)
    if json_:
        listed = [
            {
                "number": s.exercise.number,
                "name": s.exercise.name,
                "title": s.exercise.title,
                "state": s.state,
                "points": s.entry.points,
                "maximum": s.exercise.points,
                "plug": s.exercise.plug is not None,
            }
            for s in standings
        ]
        click.echo(json.dumps({"exercises": listed, "next": following.name if following else None}, indent=2))
        return
    width = max(len(s.exercise.title) for s in standings)
    for s in standings:
        sign = {"done": click.style("✓", fg="green"), "begun": click.style("▸", fg="yellow")}.get(
            s.state, " "
        )
        click.echo(f" {sign} {s.exercise.number:02}  {s.exercise.title:<{width}}  {s.exercise.summary}")
    click.echo(f"\n   {bar(standings)}")
    if following is not None:
        task = f"exercises/{following.folder.name}/README.md"
        click.echo(f"   next: lab watch {following.number}, {task} tells what to do")


def bar(standings: list[api.Standing], width: int = 32) -> str:
    """`█████░░░░░ 5 of 16 done`."""
    done = sum(s.state == "done" for s in standings)
    full = round(width * done / len(standings))
    return f"{'█' * full}{'░' * (width - full)} {done} of {len(standings)} done"


@click.command()
@click.argument("exercise", type=EXERCISE, required=False)
@click.option("--live", is_flag=True, help="Plug each save that passes into the running gateway.")
@click.option(
    "--once", is_flag=True, help="Stop when this exercise is done, instead of going on to the next."
)
def watch(exercise: Exercise | None, live: bool, once: bool) -> int:
    """Check EXERCISE again whenever you save; without one, the first that is not done. Ctrl-C ends it."""
    exercise = exercise or api.next_step(api.listing())
    if exercise is None:
        click.echo("all exercises are done; 'lab watch N' watches one of them")
        return 0
    return Watch(exercise, live, once).run()


class Watch:
    """`lab watch`: one exercise at a time, a runner that is warm, and what to do about each event."""

    def __init__(self, exercise: Exercise, live: bool, once: bool) -> None:
        self.live = live
        self.once = once
        self.done = False
        self.watched = Watched(exercise.file)
        self.begin(exercise)

    def begin(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self.serving = False
        self.looked = 0.0
        self.watched.path = exercise.file
        self.runner = Runner(exercise, keep_spare=True)

    def go_to(self, exercise: Exercise) -> None:
        self.runner.close()
        self.begin(exercise)

    def run(self) -> int:
        root = self.exercise.folder.parent
        try:
            stream = events(root, self.watched)
            self.check()
            while not (self.done and self.once):
                event = next(stream, None)
                match event:
                    case None:
                        break
                    case Event(Kind.SAVED | Kind.CHECKS):
                        self.check()
                    case Event(Kind.OTHER, path):
                        self.go_to(find(path.parent.name))
                        self.check()
                    case Event(Kind.GONE):
                        click.echo(
                            f"{self.exercise.file} is gone; lab reset {self.exercise.number} brings it back"
                        )
                    case Event(Kind.NOTHING) if self.serving and time.monotonic() > self.looked + LISTEN:
                        self.listen()
            return 0 if self.done else 1
        finally:
            self.runner.close()

    def check(self) -> None:
        """Check, show, plug in; go to the next exercise once this one is done."""
        if sys.stdout.isatty():
            click.clear()
        self.watched.look()
        report = api.check(self.exercise, runner=self.runner)
        show(report)
        self.done = report.passed
        if report.passed and self.live:
            self.serve()
        elif self.serving:
            click.echo("  the gateway goes on with the last one that passed")
        if self.done and self.once:
            return
        following = api.next_step(api.listing()) if self.done and not self.live else None
        if following is None:
            click.echo(f"  watching {short(self.exercise.file)}; Ctrl-C ends it")
        else:
            self.go_to(following)
            self.watched.look()
            click.echo(f"\n  now watching {short(following.file)}; begin with its README.md. Ctrl-C ends it")

    def serve(self) -> None:
        """Put what has passed into the running gateway. Where there is none, watching goes on."""
        try:
            self.serving = plug_in(self.exercise) == 0
        except UserError as error:
            click.echo(click.style(f"  not plugged in: {error}; the next save tries again", fg="yellow"))

    def listen(self) -> None:
        """Say it when the gateway has taken the class out."""
        with contextlib.suppress(UserError), plugging.running() as gateway:  # it may be over by now
            if reason := plugging.taken_out(self.exercise, gateway):
                self.serving = False
                click.echo(click.style(f"  taken out by the gateway: {reason}", fg="red"))
        self.looked = time.monotonic()


def short(path: Path) -> str:
    """A path the way it would be typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@click.command()
@click.argument("exercise", type=EXERCISE)
@JSON
def hint(exercise: Exercise, json_: bool) -> None:
    """Show the next hint for EXERCISE; the first is about what your last check stumbled over."""
    given = api.hint(exercise)
    if json_:
        click.echo(json.dumps(asdict(given), indent=2))
        return
    about = (
        "about what your last check found"
        if given.key.startswith("mistake")
        else f"hint {given.shown} of {given.of}"
    )
    click.echo(f"\n{click.style(f'Exercise {exercise.number:02}, {about}', bold=True)}\n")
    click.echo(reflow(given.text) + "\n")


def reflow(markdown: str) -> str:
    """Paragraphs filled to the terminal's width, code as it is, all a little indented."""
    width = min(100, shutil.get_terminal_size().columns - 4)
    pieces = re.split(r"```\w*\n(.*?)```", markdown, flags=re.DOTALL)
    blocks = []
    for number, piece in enumerate(pieces):
        if number % 2:
            blocks.append(textwrap.indent(piece.rstrip(), "      "))
        else:
            paragraphs = re.split(r"\n\s*\n", piece.strip())
            blocks += [
                textwrap.indent(textwrap.fill(" ".join(p.split()), width), "  ") for p in paragraphs if p
            ]
    return "\n\n".join(blocks)


@click.command()
@click.argument("exercise", type=EXERCISE)
def reset(exercise: Exercise) -> None:
    """Start EXERCISE over: the starter comes back, what you wrote is kept beside it."""
    backup = api.reset(exercise)
    click.echo(f"{short(exercise.file)} is the starter again")
    if backup is not None:
        click.echo(f"what you had is in {short(backup)}")


@click.command()
@click.argument("exercise", type=EXERCISE)
@click.option("--give-up", is_flag=True, help="Show it although you have not passed yet.")
def solution(exercise: Exercise, give_up: bool) -> int:
    """Show the worked solution of EXERCISE, once you have passed or with --give-up."""
    if not give_up and not api.standing(exercise).entry.passed:
        n = exercise.number
        click.echo(
            f"exercise {n} is not done yet: lab hint {n} helps, --give-up shows it all the same", err=True
        )
        return 1
    click.echo(exercise.solution.read_text(encoding="utf-8"), nl=False)
    return 0


@click.command()
@click.argument("exercise", type=EXERCISE)
@click.option("--force", is_flag=True, help="Plug it in although its checks do not pass.")
@click.option(
    "--shadow",
    is_flag=True,
    help="The lab's own serves, and yours is asked the same; say where they differ first.",
)
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="With --shadow: no longer than that.")
@JSON
def plug(exercise: Exercise, force: bool, shadow: bool, seconds: float | None, json_: bool) -> int:
    """Put your class of EXERCISE into the running gateway; it is checked first."""
    plugging.place(exercise)
    if shadow:
        return compare(exercise, seconds, json_)
    if seconds is not None:
        raise click.UsageError("--for goes with --shadow")
    if not force:
        report = api.check(exercise)
        if not report.passed:
            if json_:
                click.echo(json.dumps({"plugged": False, "reason": "its checks do not pass"}))
            else:
                show(report)
                click.echo(f"  not plugged in; lab plug {exercise.number} --force does it all the same")
            return 1
    return plug_in(exercise, json_)


def plug_in(exercise: Exercise, json_: bool = False) -> int:
    """Plug in and say what the gateway answered."""
    with plugging.running() as gateway:
        try:
            policy = plugging.plug(exercise, gateway)
        except plugging.Refused as refusal:
            if json_:
                click.echo(json.dumps({"plugged": False, "reason": str(refusal)}))
            else:
                click.echo(click.style(f"  refused by the gateway: {refusal}", fg="red"))
            return 1
    if json_:
        click.echo(json.dumps({"plugged": True, "section": policy.section, "options": policy.options}))
    else:
        options = ", ".join(f"{k}={v}" for k, v in policy.options.items() if isinstance(v, int | float))
        click.echo(click.style(f"  plugged in: {policy.section} is yours now", fg="green") + f" ({options})")
        click.echo(f"  lab unplug {exercise.number} takes it out")
    return 0


LISTEN = 1.0
"""Seconds between two looks at what became of a class that serves."""
LOOK = 0.2
"""Seconds between two looks at a comparison."""


def compare(exercise: Exercise, seconds: float | None, json_: bool) -> int:
    """Let the class be a shadow until it differs, or somebody ends it; then put back what was there."""
    section, use = plugging.place(exercise)
    until = time.monotonic() + seconds if seconds is not None else math.inf
    with plugging.running() as gateway:
        try:
            policy = plugging.compare(exercise, gateway)
        except plugging.Refused as refusal:
            if json_:
                click.echo(json.dumps({"shadow": None, "reason": str(refusal)}))
            else:
                click.echo(click.style(f"  refused by the gateway: {refusal}", fg="red"))
            return 1
        serving, seen = policy.use, policy.shadow
        if not json_:
            click.echo(
                click.style(f"  {section} is the lab's '{serving}', and yours is asked the same", fg="green")
            )
            click.echo("  No client gets its answers. Send requests from another terminal; Ctrl-C ends it.")
        try:
            with contextlib.suppress(KeyboardInterrupt):
                while seen is not None and seen["difference"] is None and time.monotonic() < until:
                    time.sleep(LOOK)
                    latest = gateway.policy(section).shadow
                    if latest is None or latest["use"] != use:
                        click.echo(f"  ended from elsewhere: {section} was changed", err=True)
                        return 1
                    seen = latest
        finally:
            with contextlib.suppress(UserError, plugging.Refused):  # it has been put back from elsewhere
                seen = gateway.policy(section).shadow or seen
                plugging.unplug(exercise, gateway)
    assert seen is not None
    if json_:
        click.echo(json.dumps({"shadow": seen}, indent=2))
    else:
        click.echo(told(seen, serving))
    return 0 if seen["difference"] is None else 1


def told(shadow: dict[str, Any], serving: str) -> str:
    """What came of a comparison."""
    found = shadow["difference"]
    if found is None:
        return click.style(f"  {shadow['requests']} requests, and never another answer", fg="green")
    which = (
        f"request {found['number']}, {found['method']} {found['path']}, is the first"
        if found["number"]
        else "before any request, there is one"
    )
    parts = {"asked": found["call"], serving: found["serving"], "yours": found["shadow"]}
    width = max(map(len, parts))
    lines = [f"      {label:<{width}}  {text}" for label, text in parts.items()]
    head = click.style(f"  {which} with different answers", fg="red")
    request = f"\n      (X-Request-ID: {found['request_id']})" if found["request_id"] else ""
    return "\n".join([head, *lines]) + request


@click.command()
@click.argument("exercise", type=EXERCISE)
@JSON
def unplug(exercise: Exercise, json_: bool) -> int:
    """Take your class of EXERCISE out of the running gateway; what was there before comes back."""
    with plugging.running() as gateway:
        try:
            policy = plugging.unplug(exercise, gateway)
        except plugging.Refused as refusal:
            click.echo(f"the gateway refused: {refusal}", err=True)
            return 1
    if json_:
        click.echo(json.dumps({"plugged": False, "section": policy.section, "use": policy.use}))
    else:
        click.echo(f"  {policy.section} uses '{policy.use}' again")
    return 0
