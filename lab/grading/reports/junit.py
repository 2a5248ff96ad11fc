"""JUnit XML as its schema wants it (JUnit.xsd of the Apache Ant task, which Jenkins, GitLab and others read).

A submission is a suite, a check a test case. Points stand in the suite's properties: the format has no place
for them.
"""

from __future__ import annotations

import re
from datetime import datetime
from xml.etree import ElementTree as xml

from lab.grading.reports.text import told
from lab.grading.verdict import MEANING, CheckVerdict, Class, Verdict

ERRORS = ("hung", "crashed", "unloadable", "missing")
"""Statuses that JUnit calls an error: the check itself could not do its work."""
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (§2.2)."""


def document(result: Class) -> str:
    root = xml.Element("testsuites")
    for number, verdict in enumerate(result.verdicts):
        suite(root, verdict, number)
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def suite(root: xml.Element, verdict: Verdict, number: int) -> None:
    checks = verdict.checks
    element = xml.SubElement(
        root,
        "testsuite",
        name=clean(verdict.name),
        package=clean(verdict.name),
        id=str(number),
        timestamp=datetime.now().strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
        tests=str(len(checks)),
        failures=str(sum(check.status == "failed" for check in checks)),
        errors=str(sum(check.status in ERRORS for check in checks)),
        skipped=str(sum(check.status == "skipped" for check in checks)),
        time=f"{verdict.seconds:.3f}",
    )
    properties = xml.SubElement(element, "properties")
    for name, value in (("points", verdict.points), ("max_points", verdict.maximum)):
        xml.SubElement(properties, "property", name=name, value=str(value))
    for check in checks:
        case(element, check)
    xml.SubElement(element, "system-out").text = clean("".join(check.printed for check in checks))
    xml.SubElement(element, "system-err").text = clean(
        "\n".join((verdict.problem, *verdict.all_notes)).strip()
    )


def case(element: xml.Element, check: CheckVerdict) -> None:
    one = xml.SubElement(
        element, "testcase", name=check.name, classname=check.exercise, time=f"{check.seconds:.3f}"
    )
    if check.passed:
        return
    if check.status == "skipped":
        xml.SubElement(one, "skipped")
        return
    kind = "error" if check.status in ERRORS else "failure"
    first = clean(check.text.partition("\n")[0])
    xml.SubElement(one, kind, type=MEANING[check.status], message=first).text = clean(told(check))


def clean(text: str) -> str:
    return NOT_XML.sub("�", text)
