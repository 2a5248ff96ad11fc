"""What a killed runner left is put back by the next one, and nothing else is."""

import json
import os
import stat
import sys

import psutil
import pytest
import respx

from lab.errors import UserError
from lab.launcher import doctor, runfile, undo

URL = "http://127.0.0.1:65000"
BEFORE = undo.Before(
    URL,
    {"cache": {"enabled": True, "use": "http", "options": {"ttl": 30.0}, "state": {}}},
    {"service-a": {"url": "http://127.0.0.1:65001", "retries": 1}},
)

DEAD = 2**22 + 1
"""The number of a process that there cannot be."""


@pytest.fixture
def folder(tmp_path):
    """A stack that "runs": this process, and what a dead runner wrote down."""
    runfile.write(URL, {}, {}, "secret", tmp_path)
    undo.write(BEFORE, tmp_path)
    change(tmp_path, pid=DEAD)
    return tmp_path


def change(folder, **values):
    file = undo.path(folder)
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.fixture
def gateway():
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        now = {"cache": {"enabled": False, "use": "ttl", "options": {"ttl": 5.0}, "state": {"hits": 3}}}
        router.get("/admin/policies", name="policies").respond(json=now)
        router.get("/admin/services", name="services").respond(json={"service-a": {}, "shop": {}})
        states = {"service-a": "half_open", "service-b": "open", "shop": "open"}
        services = {name: {"breaker": {"state": state}} for name, state in states.items()}
        router.get("/admin/snapshot", name="snapshot").respond(json={"services": services})
        router.put("/admin/policies/cache", name="cache").respond(json={})
        router.route().respond(json={})
        yield router


async def test_it_is_put_back_once(folder, gateway):
    assert await undo.leftover(folder)
    assert changes(gateway) == [
        ("PUT", "/admin/policies/cache", {"enabled": True, "use": "http", "options": {"ttl": 30.0}}),
        ("DELETE", "/admin/services/shop", None),
        ("PUT", "/admin/services/service-a", BEFORE.services["service-a"]),
        ("PUT", "/admin/breakers/service-a", {"state": "closed"}),
        ("PUT", "/admin/breakers/service-a", {"state": "auto"}),
    ]
    assert gateway.calls[0].request.headers["Authorization"] == "Bearer secret"
    assert not undo.path(folder).exists()
    assert not await undo.leftover(folder)


def changes(gateway):
    """What was asked of the gateway beside questions."""
    requests = [call.request for call in gateway.calls if call.request.method != "GET"]
    return [(r.method, r.url.path, json.loads(r.content) if r.content else None) for r in requests]


async def test_what_is_as_it_was_is_left_alone(folder, gateway):
    gateway["policies"].respond(json=BEFORE.policies)
    gateway["services"].respond(json=BEFORE.services)
    gateway["snapshot"].respond(json={"services": {"service-a": {"breaker": {"state": "closed"}}}})
    assert await undo.leftover(folder)
    assert changes(gateway) == []


async def test_a_breaker_that_was_open_before_stays(folder, gateway):
    change(folder, held=["service-a"])
    assert await undo.leftover(folder)
    assert not any("breakers" in path for _, path, _ in changes(gateway))


async def test_a_stack_that_was_started_anew_is_left_alone(folder, gateway):
    change(folder, stack=1.0)
    assert not await undo.leftover(folder)
    assert not gateway.calls
    assert not undo.path(folder).exists()


async def test_a_file_that_makes_no_sense_counts_as_none(folder, gateway):
    undo.path(folder).write_text("{")
    assert not await undo.leftover(folder)
    assert not gateway.calls


async def test_somebody_who_is_still_playing_is_not_disturbed(folder, gateway):
    parent = os.getppid()
    change(folder, pid=parent, born=psutil.Process(parent).create_time())
    with pytest.raises(UserError, match="another scenario"):
        await undo.leftover(folder)
    assert not gateway.calls
    assert undo.path(folder).exists()


async def test_what_can_be_put_back_is_even_where_something_cannot(folder, gateway):
    gateway["cache"].respond(422, text="no")
    with pytest.raises(UserError, match="422"):
        await undo.leftover(folder)
    assert ("PUT", "/admin/services/service-a", BEFORE.services["service-a"]) in changes(gateway)
    assert undo.path(folder).exists()


async def test_it_is_our_work_while_we_do_it(folder, gateway):
    seen = []

    def look(request):
        seen.append(undo.read(folder).pid)
        return respx.MockResponse(json={})

    gateway["cache"].mock(side_effect=look)
    await undo.leftover(folder)
    assert seen == [os.getpid()]


@pytest.mark.parametrize(("runner", "put_back"), [(DEAD, True), (DEAD + 1, False)])
def test_the_guard_puts_back_what_its_own_runner_left(folder, gateway, monkeypatch, runner, put_back):
    monkeypatch.setattr(sys, "argv", ["-c", str(folder), str(runner)])
    undo.take_over()
    assert undo.path(folder).exists() is not put_back
    assert bool(gateway.calls) is put_back


async def test_a_guard_that_is_not_needed_ends_at_once(folder):
    undo.forget(folder)
    before = set(psutil.Process().children())
    async with undo.guard(folder):
        [child] = set(psutil.Process().children()) - before
    assert not child.is_running()


def test_the_doctor_finds_it_and_puts_it_back(folder, gateway, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(folder))
    assert [finding.level for finding in doctor.scenario()] == ["bad"]
    assert doctor.fix() == ["set the gateway as it was before the scenario"]
    assert gateway["cache"].called
    assert [finding.level for finding in doctor.scenario()] == ["ok"]


def test_the_doctor_says_whose_it_is(folder, gateway, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(folder))
    parent = os.getppid()
    change(folder, pid=parent, born=psutil.Process(parent).create_time())
    assert [finding.seen for finding in doctor.scenario()] == ["one is being played"]
    assert doctor.fix() == []
    change(folder, stack=1.0)
    assert [finding.level for finding in doctor.scenario()] == ["note"]
    assert doctor.fix() == [f"removed {undo.path(folder)}"]
    assert not gateway.calls


async def test_a_later_process_of_the_same_number_is_not_the_runner(folder, gateway):
    parent = os.getppid()
    change(folder, pid=parent, born=psutil.Process(parent).create_time() - 100)
    assert await undo.leftover(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes on Windows")
def test_only_its_owner_can_read_it(folder):
    assert stat.S_IMODE(undo.path(folder).stat().st_mode) == 0o600
