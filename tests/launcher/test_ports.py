import os
import socket
import subprocess
import sys

import psutil
import pytest

from lab.errors import UserError
from lab.launcher import ports
from lab.launcher.ports import Holder, PortInUse


@pytest.fixture
def listener():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_is_free_or_not(listener):
    assert not ports.is_free(listener)
    assert all(ports.is_free(port) for port in ports.free().values())


def test_a_listener_on_all_addresses_counts():
    with socket.socket() as everywhere:
        everywhere.bind(("", 0))
        everywhere.listen()
        assert not ports.is_free(everywhere.getsockname()[1])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no port back")
def test_a_free_port_is_kept_for_who_asks_for_it_by_number():
    port = ports.free_port()
    with socket.socket() as anybody, pytest.raises(OSError, match="in use"):
        anybody.bind(("127.0.0.1", port))  # as the system would, in search of any port
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no TIME_WAIT trouble")
def test_connections_that_linger_do_not_count():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps TIME_WAIT
    assert ports.is_free(port)


def test_the_holder_is_found(listener):
    holder = ports.holder(listener)
    assert holder is not None
    assert (holder.pid, holder.leftover, holder.ours) == (os.getpid(), False, False)


def test_a_free_port_has_no_holder():
    assert ports.holder(ports.free()["gateway"]) is None


def test_without_permission_each_process_is_asked(listener, monkeypatch):
    def refuse(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    holder = ports.holder(listener)
    assert holder is not None
    assert holder.pid == os.getpid()


@pytest.mark.parametrize(
    ("holder", "parts"),
    [
        (None, ["another user", ports.ask_system(8000), "--port-base"]),
        (Holder(7, "nginx -g", False, False), ["process 7 (nginx -g)", ports.end_command(7), "--port-base"]),
        (Holder(7, "python", True, False), ["left over", "lab doctor --fix"]),
        (Holder(7, "python", False, True), ["of a lab that runs", "lab attach", "--port-base"]),
    ],
)
def test_the_error_says_which_who_and_what_to_do(holder, parts):
    text = str(PortInUse("gateway", 8000, holder))
    assert text.startswith("port 8000, which gateway needs, is held by ")
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_base_gives_three_ports_in_the_usual_order():
    assert ports.from_base(9000) == {"gateway": 9000, "service-a": 9001, "service-b": 9002}
    assert len(set(ports.from_base(0).values())) == 3
    for wrong in (-1, 65_534, 100_000):
        with pytest.raises(UserError, match="--port-base"):
            ports.from_base(wrong)


def test_the_lab_s_children_are_known_by_their_command_line():
    command = ["python", "-m", "lab.launcher.child", "--name", "gateway", "--parent", "4711"]
    assert ports.launcher_of(command) == 4711
    assert ports.launcher_of([*command[:-1], "x"]) is None
    assert ports.launcher_of(command[:-1]) is None
    assert ports.launcher_of(["python", "-m", "http.server", "--parent", "4711"]) is None


@pytest.fixture
def fake_child():
    """Starts a process that looks like a child of the lab with that launcher, and listens on a port."""
    script = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    started = []

    def start(launcher):
        arguments = ["lab.launcher.child", "--name", "gateway", "--parent", str(launcher)]
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(child)
        return child.pid, int(child.stdout.readline())

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_a_leftover_is_told_from_a_child_of_a_lab_that_runs(fake_child):
    orphan, orphaned_port = fake_child(2**22 + 1)
    child, port = fake_child(os.getpid())
    found = [process.pid for process in ports.leftovers()]
    assert orphan in found
    assert child not in found
    assert ports.holder(orphaned_port).leftover
    assert ports.holder(port).ours


def test_a_later_process_with_the_launcher_s_number_is_not_the_launcher(fake_child):
    older, _ = fake_child(os.getpid())
    younger, _ = fake_child(older)
    assert ports.is_launcher(older, psutil.Process(younger))
    assert not ports.is_launcher(younger, psutil.Process(older))
