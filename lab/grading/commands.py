"""`lab grade`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from lab.errors import UserError
from lab.exercises.catalog import exercises as all_exercises
from lab.exercises.catalog import find
from lab.grading import reports, run
from lab.grading.sandbox import GraderProblem
from lab.grading.verdict import Class


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option(
    "--exercise",
    "-e",
    metavar="N",
    help="Which exercise the submissions are for. [default: their names say it]",
)
@click.option(
    "--format",
    "formats",
    metavar="LIST",
    help=f"Of {', '.join(reports.FORMATS)}, with commas. [default: text, and all of them with --out]",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The folder for the reports.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1), help="Submissions graded at once. [default: the processors]"
)
@click.option("--resume", is_flag=True, help="Keep the verdicts that are in --out already.")
@click.option(
    "--seed", type=click.IntRange(0), help="What the checks' random input is made from. [default: by chance]"
)
@click.option("--no-similarity", is_flag=True, help="Do not look for submissions that are alike.")
@click.option(
    "--isolation",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="What submissions are shut in by: all that the system has, or nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="All verdicts as one JSON document on standard output.")
def grade(
    paths: tuple[Path, ...],
    exercise: str | None,
    formats: str | None,
    out: Path | None,
    jobs: int | None,
    resume: bool,
    seed: int | None,
    no_similarity: bool,
    isolation: str,
    as_json: bool,
) -> int:
    """Grade submissions: files, folders, archives (zip, tar), or a folder of many of these.

    Exit status 0 where every submission has all points, 1 where one has not.
    """
    chosen = chosen_formats(formats, out)
    if resume and out is None:
        raise UserError("--resume takes up what is in a folder: name it with --out")
    if out is None and as_json and formats is not None:
        raise UserError(
            "--json and --format both go to standard output: name a folder for the reports with --out"
        )
    wanted = find(exercise) if exercise else None
    with tempfile.TemporaryDirectory(prefix="lab-intake-") as folder:
        job = run.Run(
            paths,
            all_exercises(),
            wanted,
            Path(folder),
            out=out,
            jobs=jobs,
            seed=seed,
            resume=resume,
            similarity=not no_similarity,
            isolation=isolation,
        )
        try:
            result = with_progress(job)
        except GraderProblem as problem:
            raise UserError(f"the grader could not do its work, no verdicts: {problem}") from None
        except KeyboardInterrupt:
            if out is not None:
                print(f"lab: stopped; with --resume it goes on from the verdicts in {out}", file=sys.stderr)
            raise
    try:
        written = reports.write(result, chosen, out) if out is not None else []
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; name another folder with --out") from None
    if as_json:
        print(json.dumps([verdict.data() for verdict in result.verdicts], indent=2))
    elif out is None:
        sys.stdout.write(shown(result, chosen))
    else:
        print(
            reports.text.table(result) if len(result.verdicts) > 1 else reports.text.one(result.verdicts[0])
        )
        print(f"\n{len(written)} report{'s' if len(written) > 1 else ''} in {out}")
        for note in result.notes:
            print(f"note: {note}")
    if job.not_graded:
        names = ", ".join(job.not_graded)
        raise UserError(f"not graded, the others are: {names}; their reports say why, --resume tries again")
    return 0 if all(verdict.points == verdict.maximum for verdict in result.verdicts) else 1


def chosen_formats(given: str | None, out: Path | None) -> list[str]:
    """The formats asked for. Raises `UserError` for an unknown one."""
    if given is None:
        return ["text"] if out is None else list(reports.FORMATS)
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in reports.FORMATS:
            raise UserError(f"--format: there is no format '{name}'; there are {', '.join(reports.FORMATS)}")
    if not names:
        raise UserError(f"--format: name at least one of {', '.join(reports.FORMATS)}")
    return list(dict.fromkeys(names))


def shown(result: Class, formats: list[str]) -> str:
    """Reports for standard output; several have their files' names above them."""
    if len(formats) == 1:
        return only(result, formats[0])
    return "\n".join(f"==> {reports.file_of(name)} <==\n{only(result, name)}" for name in formats)


def only(result: Class, format_: str) -> str:
    """One report."""
    if format_ in reports.WHOLE:
        return reports.WHOLE[format_][1](result)
    document = reports.EACH[format_][1]
    if len(result.verdicts) == 1:
        return json.dumps(document(result.verdicts[0]), indent=2) + "\n"
    return json.dumps({verdict.name: document(verdict) for verdict in result.verdicts}, indent=2) + "\n"


def with_progress(job: run.Run) -> Class:
    """Run it, with a progress bar on standard error where that is a terminal."""
    with click.progressbar(
        length=job.count,
        label="grading",
        file=sys.stderr,
        show_pos=True,
        hidden=not sys.stderr.isatty() or job.count < 2,
    ) as bar:
        return job.go(lambda: bar.update(1))
