"""One page for a class, with nothing to be loaded: how the points are spread, what failed, who needs what."""

from __future__ import annotations

from collections import Counter
from html import escape

from lab.grading.reports.text import printable, told
from lab.grading.verdict import CheckVerdict, Class, Verdict, median

BARS = 10
NOTHING_LOADED = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25rem .6rem .25rem 0 }
th { border-bottom: 1px solid #999; font-weight: 600 }
td { border-bottom: 1px solid #e4e4e4; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { background: #2f6f9f; height: .9rem } .track { background: #eee; width: 16rem }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem; margin: .3rem 0; font-size: 13px }
.passed { color: #256b2f } .skipped { color: #777 }
.failed, .hung, .crashed, .unloadable, .missing { color: #a3261b }
.note { color: #7a5200 } details { margin: .4rem 0 } summary { cursor: pointer }
"""


def document(result: Class) -> str:
    """The page. All that comes from submissions is escaped, and no script runs."""
    title = f"Grades: {', '.join(result.exercises)}"
    sections = [
        f"<h1>{text(title)}</h1>",
        figures(result),
        "<h2>How the points are spread</h2>" + spread(result),
        "<h2>Checks, by how often they fail</h2>" + failing(result),
        "<h2>Known mistakes</h2>" + mistakes(result),
        "<h2>Submissions</h2>" + overview(result),
        "<h2>Details</h2>" + "".join(details(verdict) for verdict in result.verdicts),
        "".join(f'<p class="note">{text(note)}</p>' for note in result.notes),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_LOADED}">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def text(value: object) -> str:
    return escape(printable(str(value)))


def figures(result: Class) -> str:
    points = [verdict.points for verdict in result.verdicts]
    mean = sum(points) / len(points) if points else 0.0
    full = sum(verdict.points == verdict.maximum for verdict in result.verdicts)
    return (
        f"<p>{len(points)} submissions, maximum {result.maximum} points; mean {mean:.1f}, "
        f"median {median(points):g}; {full} with all points.</p>"
    )


def spread(result: Class) -> str:
    """A bar for each tenth of the maximum; the last one has full marks in it."""
    counts = [0] * BARS
    for verdict in result.verdicts:
        share = verdict.points / verdict.maximum if verdict.maximum else 0.0
        counts[min(BARS - 1, int(share * BARS))] += 1
    rows = []
    for at, count in enumerate(counts):
        label = f"{at * 100 // BARS}–{(at + 1) * 100 // BARS} %"
        rows.append(
            f'<tr><td class="n">{label}</td><td class="n">{count}</td><td>{bar(count, max(counts))}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def bar(count: int, most: int) -> str:
    width = round(100 * count / most, 1) if most else 0
    return f'<div class="track"><div class="bar" style="width:{width}%"></div></div>'


def failing(result: Class) -> str:
    total = len(result.verdicts)
    failed = Counter[tuple[str, str]]()
    skipped = Counter[tuple[str, str]]()
    first: dict[tuple[str, str], CheckVerdict] = {}
    for verdict in result.verdicts:
        for check in verdict.checks:
            key = (check.exercise, check.name)
            first.setdefault(key, check)
            failed[key] += not check.passed and check.status != "skipped"
            skipped[key] += check.status == "skipped"
    rows = [
        f'<tr><td class="n">{failed[key]} of {total}</td><td class="n">{skipped[key]}</td>'
        f"<td>{bar(failed[key], total)}</td>"
        f"<td>{name(check)}<br><small>{text(check.why)}</small></td></tr>"
        for key, check in sorted(first.items(), key=lambda item: -failed[item[0]])
    ]
    head = '<tr><th class="n">failed</th><th class="n">skipped</th><th></th><th>check</th></tr>'
    return f"<table>{head}{''.join(rows)}</table>"


def mistakes(result: Class) -> str:
    made: dict[str, list[str]] = {}
    for verdict in result.verdicts:
        for mistake in verdict.mistakes:
            made.setdefault(mistake, []).append(verdict.name)
    if not made:
        return "<p>None was recognised.</p>"
    rows = [
        f'<tr><td>{text(mistake)}</td><td class="n">{len(names)}</td><td>{text(", ".join(names))}</td></tr>'
        for mistake, names in sorted(made.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    return f'<table><tr><th>mistake</th><th class="n">made by</th><th>whom</th></tr>{"".join(rows)}</table>'


def overview(result: Class) -> str:
    rows = [
        f'<tr><td>{text(v.name)}</td><td class="n">{v.points}/{v.maximum}</td>'
        f'<td class="n">{v.percent:g} %</td>'
        f"<td>{text(v.problem or v.summary())}</td><td>{text(', '.join(v.mistakes))}</td>"
        f'<td class="note">{text("; ".join(v.notes))}</td></tr>'
        for v in result.verdicts
    ]
    head = "".join(f"<th>{title}</th>" for title in ("submission", "points", "", "", "mistakes", ""))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def name(check: CheckVerdict) -> str:
    return f"{text(check.title)}{' (hidden)' if check.hidden else ''}"


def details(verdict: Verdict) -> str:
    rows = []
    for check in verdict.checks:
        shown = told(check)
        rows.append(
            f'<tr><td class="n">{check.points}/{check.maximum}</td>'
            f'<td class="{check.status}">{check.status}</td><td>{name(check)}'
            + (f"<pre>{text(shown)}</pre>" if shown else "")
            + "</td></tr>"
        )
    return (
        f"<details><summary>{text(verdict.name)}: {verdict.points} of {verdict.maximum}</summary>"
        f"<table>{''.join(rows)}</table></details>"
    )
