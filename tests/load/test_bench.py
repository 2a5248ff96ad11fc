"""The benchmark measures what it says: parsers, clients against a real service, medians, tables, the plot.

How fast anything is decides nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from lab.cli import lab
from lab.launcher.ports import free_port
from lab.load import bench as command
from loadtests.bench import clients, peers, plot, report, scenarios, service
from loadtests.bench.clients import Outcome
from loadtests.bench.frames import BINARY, TEXT, Frames, frame
from loadtests.bench.processes import MIB, NotStarted, Servers, watching
from loadtests.bench.report import Report
from loadtests.bench.run import machine
from loadtests.bench.scenarios import Bench, Plan, Row, Sample

WRK = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.57ms    2.11ms  41.30ms   91.10%
    Req/Sec    14.01k     1.02k   15.88k    70.00%
  Latency Distribution
     50%  812.00us
     75%    5.02ms
     90%    6.31ms
     99%    1.21s
  27893 requests in 2.00s, 12.40MB read
"""


# -- wrk's report --------------------------------------------------------------------------------------------


def test_wrks_report_is_read() -> None:
    outcome = clients.parse_wrk(WRK)
    assert (outcome.requests, outcome.seconds, outcome.errors) == (27893, 2.0, 0)
    assert (outcome.p50, outcome.p99) == (pytest.approx(0.000812), pytest.approx(1.21))
    assert outcome.rate == pytest.approx(13946.5)


def test_all_kinds_of_wrks_errors_are_counted() -> None:
    more = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 500\n"
    assert clients.parse_wrk(WRK + more).errors == 510


def test_what_is_no_report_of_wrks_is_said() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        clients.parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert clients.quantile(range(100, 0, -1), share) == expected


def test_nothing_has_no_quantile() -> None:
    assert clients.quantile([], 0.5) is None


# -- frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_survive_any_cutting(size: int, masked: bool) -> None:
    payload = bytes(i % 251 for i in range(size))
    data = frame(BINARY, payload, masked=masked) + frame(TEXT, b"next", masked=masked)
    for step in (1 if size < 200 else 4096, len(data)):
        frames = Frames()
        found = [f for at in range(0, len(data), step) for f in frames.feed(data[at : at + step])]
        assert found == [(BINARY, payload), (TEXT, b"next")]


# -- the clients, against the service ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(service.Connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def get(path: str) -> bytes:
    return clients.request("GET", path, "key")


async def test_the_closed_loop_counts_what_was_answered() -> None:
    async with serving() as port:
        outcome = await clients.closed_loop(port, get("/plain"), 3, 0.05)
    assert outcome.requests >= 3
    assert outcome.errors == 0
    assert outcome.p50 is not None
    assert outcome.p99 is not None
    assert 0 < outcome.p50 <= outcome.p99 <= outcome.seconds


async def test_an_answer_other_than_200_is_an_error() -> None:
    async with serving() as port:
        outcome = await clients.closed_loop(port, get("/nothing"), 2, 0.02)
    assert outcome.requests == 0
    assert outcome.errors >= 2


class Slow(asyncio.Protocol):
    """Answers one request at a time, over all connections, `pause` seconds after the one before."""

    pause = 0.02
    queue: list[Slow]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.queue.append(self)
        if len(self.queue) == 1:
            asyncio.get_running_loop().call_later(self.pause, self.answer)

    def answer(self) -> None:
        self.queue.pop(0).transport.write(service.PLAIN)
        if self.queue:
            asyncio.get_running_loop().call_later(self.pause, self.answer)


async def test_the_open_loop_counts_latency_from_when_a_request_was_due() -> None:
    """Twenty requests in 50 ms, for a server that takes 20 ms each: the last waits for all before it."""
    Slow.queue = []
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        outcome = await clients.open_loop(port, get("/plain"), 2, 400, 0.05)
    finally:
        server.close()
    assert (outcome.requests, outcome.errors) == (20, 0)
    assert outcome.p99 is not None
    # From the moment of sending it would be 40 ms: one in front on the other connection, and its own turn.
    assert outcome.p99 >= 20 * Slow.pause - 0.05 - 0.01


async def test_what_never_comes_back_is_an_error_and_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.1)
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        outcome = await clients.open_loop(port, get("/plain"), 1, 100, 0.02)
    finally:
        server.close()
    assert (outcome.requests, outcome.errors, outcome.p50) == (0, 2, 0.1)


async def test_the_websocket_loop_counts_echoes() -> None:
    async with serving() as port:
        outcome = await clients.echo_loop(port, "/echo", "key", 2, 0.03)
    assert outcome.requests >= 2
    assert outcome.errors == 0


async def test_a_refused_websocket_is_said() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        with pytest.raises(ConnectionError, match=r"/echo: HTTP/1\.1 403 Forbidden"):
            await clients.open_websocket(server.sockets[0].getsockname()[1], "/echo")
    finally:
        server.close()


async def test_large_bodies_arrive_whole() -> None:
    async with serving() as port:
        assert await clients.download(port, "/big", "key") == service.BIG
        assert await clients.upload(port, "/sink", "key", 3 * 65_536) == 3 * 65_536


def test_the_small_answer_has_the_size_that_the_tables_name() -> None:
    assert len(service.BODY) == 256


# -- processes -----------------------------------------------------------------------------------------------


async def test_a_servers_cpu_time_and_memory_are_its_own(tmp_path: Path) -> None:
    code = (
        "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
        "more = bytearray(50 * 2**20)\n"
        "while time.process_time() < 0.2: pass\n"
        "print('done', flush=True)\n"
        "while True: s.accept()"
    )
    port = free_port()
    with Servers(tmp_path) as servers:
        server = await servers.start("burner", [sys.executable, "-c", code, str(port)], port)
        async with watching(server, 0.01) as peak:
            while "done" not in server.log.read_text():  # noqa: ASYNC110  a file rings no bell
                await asyncio.sleep(0.01)
        assert server.cpu() >= 0.19
        assert 50 * MIB <= server.rss() <= peak.bytes
    assert not server.alive


async def test_a_server_that_does_not_start_is_said_in_its_own_words(tmp_path: Path) -> None:
    with Servers(tmp_path) as servers, pytest.raises(NotStarted, match="broken did not start: no luck today"):
        await servers.start(
            "broken", [sys.executable, "-c", "raise SystemExit('no luck today')"], free_port()
        )


# -- medians, ratios, tables ---------------------------------------------------------------------------------


def sample(requests: int, cpu: float, p99: float | None = 0.002) -> Sample:
    return Sample(Outcome(requests, 2.0, 1, 0.001, p99), cpu, 50 * MIB, 60 * MIB)


def test_a_row_holds_medians_and_their_spread() -> None:
    row = scenarios.summary("forward", "gateway", [sample(1000, 0.1), sample(1000, 0.2), sample(500, 0.2)])
    assert row.cpu_us == pytest.approx(200)
    assert row.per_core == pytest.approx(5000)
    assert row.rps == pytest.approx(500)
    assert row.spread == pytest.approx(1.5)
    assert (row.requests, row.errors, row.rss_mib, row.peak_mib) == (2500, 3, 50, 60)
    assert row.p99_ms == pytest.approx(2)


def test_a_peer_that_answered_nothing_has_no_cost() -> None:
    row = scenarios.summary("forward", "gateway", [sample(0, 0.5, None)])
    assert (row.cpu_us, row.per_core, row.spread, row.errors) == (None, None, None, 1)


def measured() -> Report:
    rows = [
        Row("forward", "gateway", 1000, rps=12_000, cpu_us=60, per_core=16_667, spread=0.02),
        Row("forward", "nginx", 1000, rps=40_000, cpu_us=15, per_core=66_667, spread=0.01),
        Row("forward", "fastapi-proxy-lib", 1000, rps=400, cpu_us=1200, per_core=833, spread=0.01),
        Row("hit", "gateway", 1000, cpu_us=50),
        Row("hit", "uvicorn", 1000, cpu_us=20),
        Row("idle", "gateway", 1000, rss_mib=80, more={"before_mib": 60, "kib_each": 20}),
        Row("feed", "1 viewer", 1000, cpu_us=61, more={"extra": 0.02}),
        Row("memory", "slow reader", 1, peak_mib=70, more={"added_mib": 0.5}),
        Row("open loop", "gateway", 1000, p99_ms=3.0, more={"rate": 6000, "added_p99_ms": 2.0}),
    ]
    return Report({**machine(), "service": "nginx"}, "lab bench", rows, {"gateway": 60.0})


def test_the_targets_are_ratios_of_the_same_run() -> None:
    targets = measured().targets()
    library = next(t for t in targets if "fastapi-proxy-lib" in t.name)
    assert (library.measured, library.reached) == (pytest.approx(20, rel=0.01), True)
    against_nginx = next(t for t in targets if "nginx" in t.name)
    assert (against_nginx.measured, against_nginx.reached) == (4, True)
    hit = next(t for t in targets if t.name.startswith("cache hit"))
    assert (hit.measured, hit.reached) == (2.5, False)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    down = next(t for t in measured().targets() if "200 MiB down" in t.name)
    assert (down.measured, down.reached) == (None, None)
    assert "200 MiB down" not in report.text(measured())


def test_the_table_has_a_line_for_each_peer_under_its_head() -> None:
    lines = report.text(measured()).splitlines()
    at = lines.index("Forward: 256 bytes, uncacheable")
    assert lines[at + 1].split()[:2] == ["peer", "CPU"]
    assert [line.split()[0] for line in lines[at + 2 : at + 5]] == ["gateway", "nginx", "fastapi-proxy-lib"]
    assert len({len(line) for line in lines[at + 1 : at + 5]}) == 1
    missed = next(line for line in lines if "cache hit: CPU" in line)
    assert missed.split()[-2:] == ["2.5×", "missed"]


def test_every_scenario_has_a_title_and_every_row_shows() -> None:
    assert set(report.TITLES) >= {row.scenario for row in measured().rows}
    shown = report.tables(measured())
    assert sum(len(cells) - 1 for title, cells in shown if title != "What it must reach") == 9


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(measured().document()))
    assert document["rows"][0]["cpu_us"] == 60
    assert {t["reached"] for t in document["targets"]} == {True, False, None}


def test_only_the_marked_section_of_a_document_is_replaced() -> None:
    begin, end = report.MARKS
    before = f"# Speed\n\nWhy.\n\n{begin}\nold\n{end}\n\n## After\n"
    after = report.replace_section(before, report.markdown(measured(), "performance.svg"))
    assert after.startswith(f"# Speed\n\nWhy.\n\n{begin}\n")
    assert after.endswith(f"{end}\n\n## After\n")
    assert "old" not in after
    assert "| gateway | 60.0 | 16,667 | 12,000 |" in after
    assert "](performance.svg)" in after
    assert report.replace_section(after, "x").count(begin) == 1


@pytest.mark.parametrize(
    "document", ["no marks", f"{report.MARKS[1]} {report.MARKS[0]}", report.MARKS[0] * 2]
)
def test_a_document_without_the_marks_is_not_touched(document: str) -> None:
    with pytest.raises(ValueError, match="must stand there once"):
        report.replace_section(document, "x")


def test_the_plot_is_well_formed_with_a_bar_for_each_cost() -> None:
    root = ElementTree.fromstring(plot.svg(measured()))
    bars = root.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 5
    widths = {(bar[0].text or "").split(":")[0]: float(bar.get("width", 0)) for bar in bars[:3]}
    assert widths["nginx"] < widths["gateway"] < widths["fastapi-proxy-lib"]


def test_the_plot_of_nothing_is_a_picture_too() -> None:
    ElementTree.fromstring(plot.svg(Report(machine(), "lab bench")))


# -- rounds --------------------------------------------------------------------------------------------------


async def test_each_round_asks_all_peers_and_a_broken_one_spoils_only_its_own_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenarios, "SETTLE", 0)
    asked: list[int] = []

    class Server:
        def __init__(self, port: int) -> None:
            self.port = port
            self.used = 0.0

        def cpu(self) -> float:
            self.used += 1.0
            return self.used

        def rss(self) -> int:
            return MIB

    async def load(port: int, seconds: float) -> Outcome:
        asked.append(port)
        if port == 2:
            raise OSError("gone")
        return Outcome(1000, seconds)

    servers: Any = {"gateway": Server(1), "nginx": Server(2), "uvicorn": Server(3)}
    behind: Any = None
    bench = Bench(servers, behind, Plan(), lambda line: None)
    await scenarios.compare(bench, "forward", list(servers), load, 1.0, 2)
    assert asked == [1, 2, 3] * 3  # once to warm up
    assert [(row.peer, row.requests, row.cpu_us) for row in bench.rows] == [
        ("gateway", 2000, 1000.0),
        ("uvicorn", 2000, 1000.0),
    ]
    assert bench.failures == ["forward: nginx: OSError: gone"] * 3


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_knows_the_peers_and_scenarios_that_there_are() -> None:
    assert tuple(peers.PEERS) == command.PEERS
    assert tuple(scenarios.SCENARIOS) == command.SCENARIOS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peers", "apache"], "'apache' is not one of gateway, nginx"),
        (["--only", "forward,speed"], "'speed' is not one of forward, hit"),
    ],
)
def test_a_wrong_choice_is_said(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(lab, ["bench", *arguments])
    assert result.exit_code == 2
    assert said in result.output


def test_a_document_without_marks_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("nothing here")
    run = subprocess.run(
        [sys.executable, "-m", "lab", "bench", "--doc", str(document)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "must stand there once" in run.stderr


def test_a_tiny_run_measures_the_gateway_and_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command once, with real processes; without wrk and nginx, as on most machines."""
    plan = Plan(rounds=1, seconds=0.2, short=0.2, feed_rounds=1, idle=20)
    monkeypatch.setattr(Plan, "quick", lambda: plan)
    monkeypatch.setattr("shutil.which", lambda name: None)
    document = tmp_path / "page.md"
    document.write_text("\n".join(report.MARKS))
    figures = tmp_path / "figures.json"
    children = len(psutil_children())
    options = ["--quick", "--peers", "gateway,uvicorn", "--only", "forward,hit,websocket,idle"]
    result = CliRunner().invoke(lab, ["bench", *options, "--json", str(figures), "--doc", str(document)])
    assert result.exit_code == 0, result.output
    rows = {(r["scenario"], r["peer"]): r for r in json.loads(figures.read_text())["rows"]}
    assert set(rows) == {
        (scenario, peer)
        for scenario in ("forward", "hit", "websocket", "idle")
        for peer in ("gateway", "uvicorn")
    }
    for row in rows.values():
        assert row["errors"] == 0
        assert row["requests"] > 0
    assert rows["idle", "gateway"]["requests"] == 20
    assert "### Cache hit: 256 bytes" in document.read_text()
    assert (tmp_path / "page.svg").read_text().startswith("<svg")
    assert len(psutil_children()) == children


def psutil_children() -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(os.getpid()).children(recursive=True)]
