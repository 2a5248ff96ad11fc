"""The report that a person reads in a terminal."""

from __future__ import annotations

from lab.grading.verdict import MEANING, CheckVerdict, Class, Verdict, median

PRINTED = 400
"""Characters of a submission's output that are shown with a check."""


def document(result: Class) -> str:
    if len(result.verdicts) == 1:
        parts = [one(result.verdicts[0])]
    else:
        parts = [table(result), *(one(v) for v in result.verdicts if v.points < v.maximum or v.notes)]
    if result.notes:
        parts.append("\n".join(f"note: {note}" for note in result.notes))
    return "\n\n".join(parts) + "\n"


def table(result: Class) -> str:
    """Everybody on a line, then the figures of the class."""
    width = max((len(one_line(v.name)) for v in result.verdicts), default=0)
    lines = [f"{one_line(v.name):<{width}}  {score(v):>9}  {state(v)}" for v in result.verdicts]
    all_points = [v.points for v in result.verdicts]
    count = len(all_points)
    mean = sum(all_points) / count if count else 0.0
    lines.append("")
    lines.append(
        f"{count} submissions, {sum(v.points == v.maximum for v in result.verdicts)} with all points; "
        f"mean {mean:.1f}, median {median(all_points):g} of {result.maximum}"
    )
    return "\n".join(lines)


def state(verdict: Verdict) -> str:
    return one_line(verdict.problem) or verdict.summary()


def score(verdict: Verdict) -> str:
    return f"{verdict.points}/{verdict.maximum}"


def one(verdict: Verdict) -> str:
    lines = [f"{one_line(verdict.name)}: {verdict.points} of {verdict.maximum} points ({verdict.summary()})"]
    if verdict.problem:
        lines.append(f"  {one_line(verdict.problem)}")
        return "\n".join(lines + [f"  note: {one_line(note)}" for note in verdict.notes])
    exercise = ""
    for check in verdict.checks:
        if check.exercise != exercise:
            exercise = check.exercise
            lines.append(f"  {exercise}")
        mark = "✓" if check.passed else "–" if check.status == "skipped" else "✗"
        hidden = " (hidden)" if check.hidden else ""
        lines.append(f"  {mark} {check.points}/{check.maximum}  {check.title}{hidden}")
        if not check.passed:
            lines += [f"         {line}" for line in told(check).splitlines()]
    lines += [f"  note: {one_line(note)}" for note in verdict.notes]
    return "\n".join(lines)


def told(check: CheckVerdict) -> str:
    """What to tell about a check, without control characters, whoever wrote them."""
    if check.passed:
        return ""
    parts = [MEANING[check.status]] if check.status in ("hung", "crashed", "unloadable") else []
    parts.append(printable(check.text))
    if check.mistake:
        parts.append(f"known mistake: {check.mistake}")
    if check.printed.strip() and check.status != "skipped":
        more = " …" if len(check.printed) > PRINTED else ""
        parts.append(f"printed: {printable(check.printed[:PRINTED].strip())}{more}")
    return "\n".join(part for part in parts if part)


def printable(text: str) -> str:
    """`text` for a terminal: escape sequences lose their effect."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str) -> str:
    """The same for what stands in a line of its own: nobody's name begins another one."""
    return printable(text).replace("\n", "\\n").replace("\t", " ")
