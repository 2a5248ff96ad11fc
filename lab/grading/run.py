"""One run of the grader from what was handed in to the verdicts; it can be taken up again after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.exercises.catalog import Exercise
from lab.grading import intake, similarity
from lab.grading.grade import missing
from lab.grading.intake import Submission
from lab.grading.pool import Pool
from lab.grading.verdict import Class, Verdict

REFERENCE = "the reference solution"
NAMED = 5
"""How many are named of those that a submission is equally like."""
JOURNAL = "verdicts.jsonl"
"""In the reports' folder: the run's settings on the first line, then each verdict as soon as it is there."""


class Run:
    """`paths` are what was handed in, `wanted` the exercise (None: found out), `folder` is for copies.

    With `out` every verdict is kept there at once, and `resume` goes on with those of an earlier run that are
    still valid. Raises `UserError`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        exercises: Sequence[Exercise],
        wanted: Exercise | None,
        folder: Path,
        *,
        out: Path | None = None,
        jobs: int | None = None,
        seed: int | None = None,
        resume: bool = False,
        similarity: bool = True,
        isolation: str = "auto",
    ) -> None:
        self._submissions = intake.collect(paths, exercises, wanted, folder, leaving_out=out)
        present = {name for submission in self._submissions for name in submission.files}
        self._exercises = [wanted] if wanted else [e for e in exercises if e.name in present]
        if not self._exercises:
            problems = {s.problem for s in self._submissions if s.problem}
            why = f" ({problems.pop()})" if len(problems) == 1 else ""
            raise UserError(f"which exercise this is for cannot be told{why}: name it with --exercise N")
        self.not_graded: list[str] = []
        """After `go`: those on which the grader itself failed. They have nothing, for now."""
        self._jobs = jobs
        self._similarity = similarity
        self._isolation = isolation
        self._journal = Journal(out, resume, seed)

    @property
    def count(self) -> int:
        return len(self._submissions)

    def go(self, each: Callable[[], None] = lambda: None) -> Class:
        """Grade what is not graded yet; `each` is called for every submission.

        Raises `GraderProblem` where no submission at all can be graded.
        """
        pool = Pool(self._exercises, jobs=self._jobs, seed=self._journal.seed, wanted=self._isolation)
        verdicts: dict[str, Verdict] = {}
        work: list[tuple[Submission, str]] = []
        for submission in self._submissions:
            key = self._key(submission)
            known = self._journal.known.get(submission.name)
            if known is not None and known.key == key and self._fits(known):
                verdicts[submission.name] = known
                each()
            else:
                work.append((submission, key))

        def done(verdict: Verdict) -> None:
            self._journal.add(verdict)
            verdicts[verdict.name] = verdict
            each()

        def not_graded(submission: Submission, reason: str) -> None:
            # Not in the journal: a later run tries again.
            problem = f"it is not graded yet, for a reason that is the grader's: {reason}"
            nothing = [check for exercise in self._exercises for check in missing(exercise, problem)]
            verdicts[submission.name] = Verdict(submission.name, tuple(nothing), problem)
            self.not_graded.append(submission.name)
            each()

        try:
            if work:
                pool.run(work, done, not_graded)
        finally:
            self._journal.close()
        notes = self._alike() if self._similarity else {}
        ordered = [with_notes(verdicts[s.name], notes.get(s.name, [])) for s in self._submissions]
        lacking = dict.fromkeys(text for verdict in ordered for text in verdict.lacking)
        return Class(tuple(ordered), tuple(e.name for e in self._exercises), tuple(lacking))

    def _fits(self, verdict: Verdict) -> bool:
        """Whether a verdict that was written down can be one of this grader's."""
        checks = [(e.name, check.name, check.points) for e in self._exercises for check in e.checks()]
        found = [(check.exercise, check.name, check.maximum) for check in verdict.checks]
        return found == checks and all(
            c.points in ((c.maximum,) if c.passed else (0,)) for c in verdict.checks
        )

    def _key(self, submission: Submission) -> str:
        found = hashlib.sha256(submission.digest().encode())
        for exercise in self._exercises:
            found.update(exercise.name.encode() + exercise.checks_file.read_bytes())
            if path := submission.files.get(exercise.name):
                found.update(path.name.encode())
        found.update(str(self._journal.seed).encode())
        return found.hexdigest()[:32]

    def _alike(self) -> dict[str, list[str]]:
        notes: dict[str, list[str]] = {}
        for exercise in self._exercises:
            sources = {
                s.name: read(s.files[exercise.name]) for s in self._submissions if exercise.name in s.files
            }
            pairs = similarity.similar(
                sources, {REFERENCE: read(exercise.solution)}, exercise.starter.decode("utf-8")
            )
            alike: dict[str, dict[int, list[str]]] = {}
            for pair in sorted(pairs, key=lambda pair: pair.second != REFERENCE):
                for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                    alike.setdefault(one, {}).setdefault(round(100 * pair.share), []).append(other)
            for one in sources:
                for percent, others in sorted(alike.get(one, {}).items(), reverse=True):
                    text = f"{exercise.name} is {percent} % like {several(others)}"
                    notes.setdefault(one, []).append(text)
        return notes


def several(names: list[str]) -> str:
    """The first of them, and how many there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def read(path: Path) -> str:
    return path.read_bytes()[: intake.LARGEST_SOURCE].decode("utf-8-sig", "replace")


def with_notes(verdict: Verdict, notes: list[str]) -> Verdict:
    return Verdict(**{**vars(verdict), "notes": (*verdict.notes, *notes)})


class Journal:
    """The verdicts so far, on disk where there is a folder for them."""

    def __init__(self, folder: Path | None, resume: bool, seed: int | None) -> None:
        self.known: dict[str, Verdict] = {}
        self._file = None
        path = folder / JOURNAL if folder else None
        if resume and path is not None and path.exists():
            head, self.known = load(path)
            if seed is None:
                seed = head.get("seed") if isinstance(head.get("seed"), int) else None
        self.seed = secrets.randbelow(1 << 32) if seed is None else seed
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            documents = [{"seed": self.seed}, *(verdict.data() for verdict in self.known.values())]
            partial = path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")
            os.replace(partial, path)  # a kill in between loses nothing
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; name another folder with --out") from None

    def add(self, verdict: Verdict) -> None:
        if self._file is not None:
            self._file.write(json.dumps(verdict.data()) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def load(path: Path) -> tuple[dict[str, Any], dict[str, Verdict]]:
    """The first line and the verdicts; a line that was cut off by a kill is left out."""
    head: dict[str, Any] = {}
    known: dict[str, Verdict] = {}
    for at, line in enumerate(path.read_text("utf-8", "replace").splitlines()):
        try:
            document = json.loads(line)
            if at == 0:
                head = document
            else:
                verdict = Verdict.of(document)
                known[verdict.name] = verdict
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return head, known
