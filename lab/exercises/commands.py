"""`lab exercises`, `check`, `watch`, `hint`, `reset`, `solution`, `plug`, `unplug`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lab.exercises import api, kit
from lab.exercises.catalog import Exercise, find
from lab.exercises.runner import Report

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
    if report.printed.strip():
        click.echo("  your code printed:")
        shown = report.printed.rstrip().splitlines()[:12]
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


class ExerciseName(click.ParamType):
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
