import importlib.util
import os
import socket
import subprocess
import sys
from importlib import metadata

import pytest

from lab.launcher import doctor, ports, runfile


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    return tmp_path


def levels(findings):
    return [(finding.level, finding.what) for finding in findings]


def test_a_sound_machine_has_nothing_to_put_right(monkeypatch):
    monkeypatch.setattr(ports, "leftovers", list)
    findings = doctor.examine(ports.free())
    assert not [finding for finding in findings if finding.level == "bad"]
    assert len(findings) >= 11
    assert all(finding.todo for finding in findings if finding.level != "ok" and finding.what != "packages")


def test_an_old_python_is_bad(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON", (9, 0))
    assert levels(doctor.python()) == [("bad", "python")]


def test_pins_are_read_without_hashes_and_with_markers():
    text = "a==1 \\\n    --hash=sha256:0==0\n# b==2\nc==3 ; sys_platform == 'nowhere' \\\n"
    assert [(pin.name, str(pin.specifier)) for pin in doctor.read_pins(text)] == [("a", "==1"), ("c", "==3")]


def test_missing_and_other_packages_are_told_apart(monkeypatch):
    def version(name):
        if name == "httpx":
            raise metadata.PackageNotFoundError
        return "0.0.1" if name == "click" else real(name)

    real = metadata.version
    monkeypatch.setattr(doctor.metadata, "version", version)
    bad, note = doctor.packages()
    assert (bad.level, "httpx" in bad.seen) == ("bad", True)
    assert (note.level, "click 0.0.1" in note.seen) == ("note", True)


def test_a_marker_for_another_system_is_no_missing_package(monkeypatch):
    monkeypatch.setattr(
        doctor, "read_pins", lambda text: doctor_pins("nothing==1; sys_platform == 'nowhere'")
    )
    assert levels(doctor.packages()) == [("ok", "packages")]


def doctor_pins(*lines):
    return [doctor.Requirement(line) for line in lines]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no uvloop")
def test_a_missing_uvloop_is_noted(monkeypatch):
    assert levels(doctor.event_loop()) == [("ok", "event loop")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert levels(doctor.event_loop()) == [("note", "event loop")]


def test_a_taken_port_is_bad_and_says_what_to_do():
    numbers = ports.free()
    with socket.create_server(("127.0.0.1", numbers["gateway"])):
        findings = {finding.what: finding for finding in doctor.port_findings(numbers)}
    taken = findings.pop(f"port {numbers['gateway']}")
    assert taken.level == "bad"
    assert f"process {os.getpid()}" in taken.seen
    assert ports.end_command(os.getpid()) in taken.todo
    assert {finding.level for finding in findings.values()} == {"ok"}


@pytest.fixture
def orphan():
    """A process that looks like a child of a lab that is gone."""
    arguments = ["lab.launcher.child", "--parent", str(2**22 + 1)]
    process = subprocess.Popen(
        [sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def test_leftovers_are_found_and_ended(orphan, home):
    finding = next(doctor.leftovers())
    assert finding.level == "bad"
    assert str(orphan.pid) in finding.seen
    runfile.path(home).write_text(
        '{"pid": 1, "started": 1, "gateway_url": "", "urls": {}, "ports": {}, "admin_token": ""}'
    )
    assert levels(doctor.run_file()) == [("note", "running lab")]
    done = doctor.fix()
    assert any(f"ended process {orphan.pid}," in line for line in done)
    assert orphan.poll() is not None
    assert levels(doctor.run_file()) == [("ok", "running lab")]


def test_a_configuration_that_does_not_load_is_bad(monkeypatch):
    assert levels(doctor.configuration()) == [("ok", "configuration")]
    monkeypatch.setenv("GATEWAY__RATE_LIMIT__LIMT", "3")
    (finding,) = doctor.configuration()
    assert finding.level == "bad"
    assert "did you mean 'limit'" in finding.seen


def test_variables_and_a_web_proxy_are_noted(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "secret")
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy:1")
    findings = list(doctor.environment())
    assert levels(findings)[1:] == [("note", "variables"), ("note", "web proxy")]
    assert not any("secret" in finding.seen + finding.todo for finding in findings)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert levels(doctor.environment())[1:] == [("note", "variables")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_few_descriptors_are_noted(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    assert levels(doctor.descriptors()) == [("note", "open files")]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert levels(doctor.descriptors()) == [("ok", "open files")]


@pytest.mark.parametrize(
    ("size", "environ", "level"),
    [
        ((80, 24), {"TERM": "xterm-256color"}, "ok"),
        ((79, 24), {"TERM": "xterm-256color"}, "note"),
        ((80, 23), {"TERM": "xterm-256color"}, "note"),
        ((80, 24), {"TERM": "xterm", "NO_COLOR": "1"}, "note"),
    ],
)
def test_a_small_or_colourless_terminal_is_noted(monkeypatch, size, environ, level):
    class Terminal:
        encoding = "utf-8"

        def isatty(self):
            return True

    monkeypatch.setattr(doctor.sys, "stdout", Terminal())
    monkeypatch.setattr(doctor.shutil, "get_terminal_size", lambda: os.terminal_size(size))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORTERM", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    findings = list(doctor.terminal())
    monkeypatch.undo()
    assert levels(findings) == [(level, "terminal")]


def test_little_room_is_noted_and_none_is_bad(home, monkeypatch):
    assert levels(doctor.disk()) == [("ok", "disk")]
    monkeypatch.setattr(doctor, "DISK", 10**18)
    assert levels(doctor.disk()) == [("note", "disk")]
    (home / "file").touch()
    monkeypatch.setenv("LAB_HOME", str(home / "file" / "under"))
    assert levels(doctor.disk()) == [("bad", "disk")]
