"""One page for a class, with nothing to be loaded: how the points are spread, what failed, who needs what."""

from __future__ import annotations

from collections import Counter
from html import escape

from lab.grading.reports.text import printable, told
from lab.grading.verdict import CheckVerdict, Class, Verdict, median

BARS = 10
NOTHING_LOADED = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --paper: #f5f6f8; --card: #fff; --line: #dfe3e8;
  --dim: #66717d; --bar: #2f6f9f; --good: #256b2f; --bad: #a3261b; --note: #7a5200 }
@media (prefers-color-scheme: dark) { :root { --ink: #dde3ea; --paper: #12171d; --card: #1b222a;
  --line: #313b46; --dim: #95a1ad; --bar: #5aa2d6; --good: #78c68a; --bad: #f08a80; --note: #e0b45c } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  color: var(--ink); background: var(--paper) }
h1 { font-size: 1.6rem; margin: .5rem 0 1rem } h2 { font-size: 1.1rem; margin: 0 0 .7rem }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.2rem;
  margin: 1rem 0; overflow-x: auto }
.figures { display: flex; flex-wrap: wrap; gap: 2.5rem } .figures strong { display: block; font-size: 1.7rem }
.figures, small, .skipped, th { color: var(--dim) } .figures strong { color: var(--ink); font-weight: 600 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .8rem .3rem 0 }
th { border-bottom: 2px solid var(--line); font-weight: 600; font-size: .85rem }
td { border-bottom: 1px solid var(--line); vertical-align: top } tr:last-child > td { border-bottom: 0 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 1% }
.track { background: var(--line); border-radius: 3px; min-width: 8rem; margin-top: .3rem }
.bar { background: var(--bar); border-radius: 3px; height: .8rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--paper); border-radius: 4px;
  padding: .6rem; margin: .3rem 0; font-size: 13px }
.passed { color: var(--good) } .failed, .hung, .crashed, .unloadable, .missing { color: var(--bad) }
.note { color: var(--note) } a { color: inherit }
details { border-top: 1px solid var(--line); padding: .4rem 0 } summary { cursor: pointer }
details:target > summary { font-weight: 600 }
"""


def document(result: Class) -> str:
    """The page. All that comes from submissions is escaped, and no script runs."""
    title = f"Grades: {', '.join(result.exercises)}"
    sections = [
        f"<h1>{text(title)}</h1>",
        "".join(f'<p class="note">{text(note)}</p>' for note in result.notes),
        section("", figures(result)),
        section("How the points are spread", spread(result)),
        section("Checks, by how often they fail", failing(result)),
        section("Known mistakes", mistakes(result)),
        section("Submissions", overview(result)),
        section("Details", "".join(details(v, at) for at, v in enumerate(result.verdicts))),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_LOADED}">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def section(title: str, content: str) -> str:
    return f"<section>{f'<h2>{title}</h2>' if title else ''}{content}</section>"


def text(value: object) -> str:
    return escape(printable(str(value)))


def figures(result: Class) -> str:
    points = [verdict.points for verdict in result.verdicts]
    mean = sum(points) / len(points) if points else 0.0
    full = sum(verdict.points == verdict.maximum for verdict in result.verdicts)
    shown = (
        (str(len(points)), "submissions"),
        (f"{mean:.1f}", f"points on average, of {result.maximum}"),
        (f"{median(points):g}", "median"),
        (str(full), "with all points"),
    )
    return (
        f'<div class="figures">{"".join(f"<div><strong>{n}</strong>{what}</div>" for n, what in shown)}</div>'
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
        f'<tr><td><a href="#s{at}">{text(v.name)}</a></td><td class="n">{v.points}/{v.maximum}</td>'
        f'<td class="n">{v.percent:g} %</td>'
        f"<td>{text(v.problem or v.summary())}</td><td>{text(', '.join(v.mistakes))}</td>"
        f'<td class="note">{text("; ".join(v.notes))}</td></tr>'
        for at, v in enumerate(result.verdicts)
    ]
    head = '<th>submission</th><th class="n">points</th><th class="n">share</th>'
    head += "<th>what happened</th><th>known mistakes</th><th>notes</th>"
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def name(check: CheckVerdict) -> str:
    return f"{text(check.title)}{' (hidden)' if check.hidden else ''}"


def details(verdict: Verdict, number: int) -> str:
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
        f'<details id="s{number}">'
        f"<summary>{text(verdict.name)}: {verdict.points} of {verdict.maximum}</summary>"
        f"<table>{''.join(rows)}</table></details>"
    )
