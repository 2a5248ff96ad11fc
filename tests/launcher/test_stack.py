import asyncio
import os
import signal
import socket
import sys

import httpx
import pytest

from lab.errors import UserError
from lab.launcher import ports, runfile
from lab.launcher.ports import PortInUse
from lab.launcher.stack import GIVE_UP, describe_exit
from lab.settings import ConfigError

from .conftest import APPS, gone, until

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


async def test_all_three_start_and_stop(running):
    async with running() as stack:
        pids = [process.pid for process in stack.processes.values()]
        assert all(process.state == "healthy" for process in stack.processes.values())
        assert len(set(pids)) == 3
        assert not any(ports.is_free(port) for port in stack.ports.values())
    assert [process.state for process in stack.processes.values()] == ["stopped"] * 3
    assert all(gone(pid) for pid in pids)
    assert all(ports.is_free(port) for port in stack.ports.values())


async def test_changes_are_told_in_order(running):
    seen = []
    async with running(on_change=lambda process: seen.append((process.name, process.state))):
        pass
    for name in APPS:
        states = [state for process, state in seen if process == name]
        assert states == ["starting", "healthy", "stopping", "stopped"]


async def test_output_arrives_line_by_line_and_in_the_log_file(running, tmp_path):
    lines = []
    async with running(on_line=lambda process, line: lines.append((process.name, line))) as stack:
        await until(lambda: any(name == "gateway" and "Uvicorn running" in line for name, line in lines))
        assert any("Uvicorn running" in line for line in stack.processes["gateway"].log)
    files = {file.name: file.read_text() for file in (tmp_path / "logs").iterdir()}
    assert "Uvicorn running" in files[f"gateway-{stack.ports['gateway']}.log"]
    assert ("gateway", "") not in lines


async def test_the_gateway_alone_learns_the_admin_token(running, ask):
    async with running() as stack:
        assert len(stack.admin_token) >= 24
        assert await ask(stack.processes["gateway"], "/token") == (200, stack.admin_token)
        assert await ask(stack.processes["service-a"], "/token") == (200, "none")


async def test_a_configured_admin_token_stays(make_stack, tmp_path):
    config = tmp_path / "lab.yaml"
    config.write_text("admin: {token: from-the-file}\n")
    assert make_stack(config=config).admin_token == "from-the-file"
    stack = make_stack(config=config, env={"GATEWAY_ADMIN_TOKEN": "from-the-environment"})
    assert stack.admin_token == "from-the-environment"
    assert make_stack().admin_token != make_stack().admin_token


async def test_the_gateway_learns_where_the_services_are(running, ask):
    async with running() as stack:
        assert await ask(stack.processes["gateway"], "/url") == (200, stack.processes["service-a"].url)


async def test_an_address_that_the_user_chose_stays(running, ask, tmp_path):
    config = tmp_path / "lab.yaml"
    config.write_text("services: {service-a: {url: 'http://127.0.0.1:9'}}\n")
    async with running(config=config) as stack:
        assert await ask(stack.processes["gateway"], "/url") == (200, "none")


async def test_a_bad_configuration_is_told_before_anything_starts(make_stack, tmp_path):
    config = tmp_path / "lab.yaml"
    config.write_text("rate_limit: {limt: 3}\n")
    with pytest.raises(ConfigError, match="did you mean 'limit'"):
        make_stack(config=config)


async def test_a_crash_is_noticed_and_mended(running, ask):
    crashes = []

    def note(process):
        if process.state == "crashed":
            crashes.append((process.name, process.exit_status, process.detail))

    async with running(on_change=note) as stack:
        process = stack.processes["service-a"]
        before = process.pid
        with pytest.raises(httpx.HTTPError):
            await ask(process, "/exit")
        await until(lambda: process.state == "healthy" and process.pid != before)
        assert process.restarts == 1
        assert crashes == [("service-a", 7, "exit status 7: leaving by request; starting again in 0.25 s")]


async def test_a_crash_loop_is_given_up(make_stack):
    stack = make_stack(apps={**APPS, "gateway": "broken_app:app"})
    await stack.start()
    try:
        assert not await stack.wait_healthy(60)
        gateway = stack.processes["gateway"]
        assert gateway.state == "crashed"
        assert gateway.given_up
        assert gateway.restarts == GIVE_UP - 1
        assert f"{GIVE_UP} times in a row" in gateway.detail
        assert "this app cannot be imported" in gateway.detail
    finally:
        await stack.stop()
    assert gateway.state == "stopped"


@posix
async def test_a_killed_process_comes_back_however_often(running):
    async with running() as stack:
        process = stack.processes["service-a"]
        for n in range(1, GIVE_UP + 2):
            await stack.kill_process("service-a")
            await until(lambda n=n: process.restarts == n)
            assert await stack.wait_healthy(60)
        assert process.exit_status is None


@posix
async def test_a_paused_process_is_unhealthy_until_it_is_resumed(running, ask):
    async with running() as stack:
        process = stack.processes["service-b"]
        await stack.pause_process("service-b")
        assert (process.state, process.detail) == ("unhealthy", "paused (SIGSTOP)")
        await stack.resume_process("service-b")
        assert await stack.wait_healthy(60)
        assert await ask(process, "/") == (200, "ok")


@posix
async def test_a_paused_process_can_be_stopped(running):
    async with running() as stack:
        process = stack.processes["service-b"]
        pid = process.pid
        await stack.pause_process("service-b")
        await stack.stop_process("service-b")
        assert gone(pid)
        assert process.exit_status == -signal.SIGTERM  # it was woken, and finished by itself


@posix
async def test_a_process_that_hangs_unknown_to_us_becomes_unhealthy(running):
    async with running() as stack:
        process = stack.processes["service-b"]
        os.kill(process.pid, signal.SIGSTOP)
        await until(lambda: process.state == "unhealthy")
        assert process.detail == "/health does not answer within 1 s"
        os.kill(process.pid, signal.SIGCONT)
        await until(lambda: process.state == "healthy")


async def test_a_bad_health_answer_is_no_health(make_stack, monkeypatch):
    monkeypatch.setattr("lab.launcher.stack.SLOW_START", 0.1)
    stack = make_stack(apps={**APPS, "service-b": "standin:ill"})
    await stack.start()
    try:
        process = stack.processes["service-b"]
        await until(lambda: process.state == "unhealthy" and "500" in process.detail)
        assert process.detail == "/health answers 500"
        assert not await stack.wait_healthy(0.05)
    finally:
        await stack.stop()


async def test_one_process_stops_starts_and_restarts(running):
    async with running() as stack:
        process = stack.processes["service-a"]
        await stack.stop_process("service-a")
        assert (process.state, process.pid) == ("stopped", None)
        assert ports.is_free(process.port)
        await stack.start_process("service-a")
        assert await stack.wait_healthy(60)
        before = process.pid
        await stack.start_process("service-a")  # runs already
        assert process.pid == before
        await stack.restart_process("service-a")
        assert await stack.wait_healthy(60)
        assert process.pid != before
        assert process.restarts == 0


@posix
async def test_a_request_that_does_not_end_delays_the_stop_by_no_more_than_the_grace(running, ask):
    async with running() as stack:
        process = stack.processes["gateway"]
        pid = process.pid
        waiting = asyncio.create_task(ask(process, "/hang"))
        await until(lambda: established(process.port))
        async with asyncio.timeout(2):
            await stack.stop()
        assert gone(pid)
        with pytest.raises(httpx.HTTPError):
            await waiting


def established(port):
    import psutil

    return any(
        c.laddr and c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED
        for c in psutil.net_connections("tcp")
    )


async def test_a_port_in_use_stops_the_start_and_names_the_holder(make_stack):
    stack = make_stack()
    with socket.create_server(("127.0.0.1", stack.ports["gateway"])), pytest.raises(PortInUse) as caught:
        await stack.start()
    text = str(caught.value)
    assert f"port {stack.ports['gateway']}, which gateway needs" in text
    assert f"process {os.getpid()}" in text
    assert ports.end_command(os.getpid()) in text
    assert isinstance(caught.value, UserError)
    assert all(process.pid is None for process in stack.processes.values())


async def test_the_run_file_leads_to_the_stack_while_it_runs(running, tmp_path):
    async with running() as stack:
        run = runfile.read(tmp_path)
        assert run is not None
        assert (run.gateway_url, run.admin_token) == (stack.gateway_url, stack.admin_token)
        assert run.ports == stack.ports
    assert runfile.read(tmp_path) is None
    assert not runfile.path(tmp_path).exists()


async def test_old_logs_are_removed(running, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for n in range(40):
        (logs / f"gateway-{n}.log").touch()
        os.utime(logs / f"gateway-{n}.log", (n, n))
    async with running():
        assert not (logs / "gateway-0.log").exists()
        assert (logs / "gateway-39.log").exists()
        assert len(list(logs.iterdir())) <= 23


def test_an_exit_is_told_in_the_field_s_words():
    assert describe_exit(3, ["first", "the reason", ""]) == "exit status 3: the reason"
    assert describe_exit(3, []) == "exit status 3"


@posix
def test_a_signal_is_told_by_its_name():
    assert describe_exit(-9, ["something"]) == "ended by SIGKILL"


async def test_a_process_that_cannot_work_as_it_is_configured_is_not_started_again(make_stack):
    stack = make_stack(apps={**APPS, "gateway": "standin:misconfigured"})
    await stack.start()
    try:
        process = stack.processes["gateway"]
        await until(lambda: process.given_up)
        assert process.state == "crashed"
        assert process.restarts == 0
        assert "not started again" in process.detail
    finally:
        await stack.stop()
