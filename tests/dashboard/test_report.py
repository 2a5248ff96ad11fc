"""The report of a recording: one page that stands alone, with what the recording holds and nothing broken."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.cli import main
from lab.dashboard.recording import Recorder
from lab.dashboard.report import LONGEST, page, write
from lab.dashboard.state import History, View
from lab.errors import UserError

from .fakes import FakeGateway


def recorded(path: Path, gateway: FakeGateway, seconds: int) -> Path:
    """A recording in which service A fails for a while, and somebody tries to write HTML into it."""
    recorder = Recorder(path)
    recorder.take(gateway.snapshot())
    for second in range(seconds):
        if second == 5:
            recorder.take(gateway.event("note", source="fault", text="<script>slow", action="started"))
            recorder.take(gateway.breaker("service-a", "open", "5 failures in a row"))
        if second == 9:
            recorder.take(gateway.event("note", source="fault", text="<script>slow", action="stopped"))
        gateway.count(requests=8, s2xx=6, s5xx=2, admitted=8, hits=3, misses=3, upstream_calls=5)
        recorder.take(gateway.tick(1.0))
    recorder.close()
    return path


def drawings(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_the_report_holds_charts_breakers_bands_and_events(tmp_path: Path, gateway: FakeGateway) -> None:
    write(recorded(tmp_path / "r.jsonl", gateway, 20), tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text("utf-8")
    *charts, breakers = drawings(html)
    assert len(charts) == 4
    assert [len(chart.findall("path")) for chart in charts] == [4, 3, 1, 2]
    assert all(len(chart.findall("rect[@class='band']")) == 1 for chart in [*charts, breakers])
    assert [r.findtext("title") for r in breakers.findall("rect")][1:] == ["closed", "open", "closed"]
    assert "160 requests" in html
    assert "breaker closed → open" in html
    assert "&lt;script&gt;slow" in html


def test_the_report_counts_what_happened_during_the_recording(tmp_path: Path, gateway: FakeGateway) -> None:
    """Neither what was before it, nor less because the gateway was started anew in between."""
    gateway.count(requests=1000, s2xx=1000)
    before = gateway.event("cache", action="purged", path="/before")
    recorder = Recorder(tmp_path / "r.jsonl")
    recorder.take(gateway.snapshot() | {"events": [before | {"time": gateway.time - 600}]})
    for second in range(10):
        if second == 5:
            gateway.totals = dict.fromkeys(gateway.totals, 0)
        gateway.count(requests=8, s2xx=8)
        recorder.take(gateway.tick(1.0))
    recorder.close()
    write(tmp_path / "r.jsonl", tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text("utf-8")
    assert " 80 requests" in html
    assert "/before" not in html


def test_areas_stand_on_each_other_and_a_gap_in_one_is_a_gap_in_all() -> None:
    view = View(history=History(LONGEST))
    for second in range(10):
        values = dict.fromkeys(("ok", "client_error", "limited", "server_error"), 1.0)
        view.history.add(second, {} if second == 4 else values)
    answers = drawings(page(view, "r", {}))[0]
    areas = [path.get("d", "") for path in answers.findall("path")]
    assert len(areas) == 4 * 2
    heights = [min(float(point.split()[1]) for point in area.strip("M").split(" L")) for area in areas]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 4


def test_the_report_stands_alone(tmp_path: Path, gateway: FakeGateway) -> None:
    write(recorded(tmp_path / "r.jsonl", gateway, 20), tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text("utf-8")
    assert "<script" not in html
    assert not re.findall(r"(?:src|href|url)\s*[=(]", html)


def test_a_gap_is_a_gap_in_the_line_and_a_long_line_has_a_bound() -> None:
    view = View(history=History(LONGEST))
    for second in range(4000):
        view.history.add(second, {"requests": 2.0 if second < 2000 or second > 2100 else None})
    asked = drawings(page(view, "r", {}))[3]
    lines = [path.get("d", "") for path in asked.findall("path")]
    assert len(lines) == 2
    assert sum(line.count("L") for line in lines) < 900


def test_the_command_writes_it(
    tmp_path: Path, gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = recorded(tmp_path / "r.jsonl", gateway, 5), tmp_path / "out.html"
    assert main(["attach", "--replay", str(source), "--report", str(out)]) == 0
    assert out.read_text("utf-8").startswith("<!doctype html>")
    assert main(["attach", "--report", str(out)]) == 2
    assert "--replay FILE" in capsys.readouterr().err


def test_what_cannot_be_reported_is_told(tmp_path: Path, gateway: FakeGateway) -> None:
    with pytest.raises(UserError, match="nothing to report"):
        write(recorded(tmp_path / "r.jsonl", gateway, 0), tmp_path / "out.html")
    with pytest.raises(UserError, match="cannot be written"):
        write(recorded(tmp_path / "s.jsonl", gateway, 3), tmp_path / "no" / "out.html")
