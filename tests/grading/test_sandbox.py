"""What a submission can see and reach from inside: asked of a submission that looks."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from lab.grading.channel import RemoteChannel
from lab.grading.grade import Grader
from lab.grading.inside import calls, jail, zygote
from lab.grading.sandbox import LACKING, Limits, Sandboxes, in_user_namespace
from tests.processes import survivors

from .conftest import COUNTER, PATIENT

ROOT = Path(__file__).resolve().parents[2]

LOOKER = """
import json, os, pathlib, socket, sys

def seen():
    return {
        "uid": os.getuid(), "home": os.environ["HOME"], "cwd": os.getcwd(), "files": sorted(os.listdir(".")),
        "pid": os.getpid(), "processes": [n for n in os.listdir("/proc") if n.isdigit()],
        "environment": sorted(os.environ), "argv": sys.argv,
        "descriptors": [n for n in range(3, 1024) if is_open(n)],
    }

def is_open(number):
    try:
        os.fstat(number)
        return True
    except OSError:
        return False

def exists(path):
    return os.path.lexists(path)

def listing(path):
    return sorted(os.listdir(path)) if os.path.exists(path) else []

def write(path, size):
    try:
        pathlib.Path(path).write_bytes(b"x" * size)
        return "written"
    except OSError as error:
        return type(error).__name__

def readable(path):
    try:
        open(path).close()
        return "read"
    except OSError as error:
        return type(error).__name__

def kill(pid):
    try:
        os.kill(pid, 0)
        return "reached"
    except OSError as error:
        return type(error).__name__

def address(name):
    try:
        return socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return type(error).__name__

def connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return "connected"
    except OSError as error:
        return type(error).__name__

def threads(count):
    import threading
    stop = threading.Event()
    try:
        for at in range(count):
            threading.Thread(target=stop.wait, daemon=True).start()
        return count
    except RuntimeError:
        return at
    finally:
        stop.set()
"""


@pytest.fixture
def ask(sandboxes, work):
    """`ask(function, argument…)`: what a submission's function returns in a sandbox."""
    open_ones = []

    def call(function, *arguments, of=sandboxes, text=LOOKER, **limits):
        sandbox = of.start(work(text), "exercise.py", Limits(**limits))
        open_ones.append(sandbox)
        channel = RemoteChannel(sandbox.channel, 20)
        fields = {"ref": 0, "method": function, "args": list(arguments), "kwargs": {"dict": []}}
        answer = channel.ask("call", fields)
        assert "value" in answer, answer
        return json.loads(json.dumps(answer["value"]))

    yield call
    for sandbox in open_ones:
        sandbox.end()


def as_dict(packed):
    return {key: value if not isinstance(value, dict) else as_dict(value) for key, value in packed["dict"]}


def test_there_is_nothing_in_a_sandbox_but_what_it_needs(ask, sandboxes):
    if "files" not in sandboxes.isolation:
        pytest.skip("no mount namespaces here")
    seen = as_dict(ask("seen"))
    assert seen["home"] == seen["cwd"] == "/home/student"
    assert seen["files"] == ["exercise.py"]
    # A clone may stand anywhere, and so may Python and its libraries: the folders above lead nowhere else.
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix", "/opt/python"]
    python = {path for prefix in (sys.prefix, sys.base_prefix) for path in (prefix, os.path.realpath(prefix))}
    shown = [Path(path) for path in (*system, *python, "/etc", "/dev", "/proc", "/tmp", jail.HOME)]
    for folder in {above for path in shown for above in path.parents}:
        if not any(folder.is_relative_to(path) for path in shown):
            ways = {path.relative_to(folder).parts[0] for path in shown if folder in path.parents}
            assert set(ask("listing", str(folder))) <= ways, folder
    assert set(seen["environment"]) <= {
        "HOME",
        "PATH",
        "LANG",
        "LC_CTYPE",
        "TMPDIR",
        "PYTHONDONTWRITEBYTECODE",
    }


def test_the_grader_is_not_there(ask, sandboxes, fixed_window):
    if "files" not in sandboxes.isolation:
        pytest.skip("no mount namespaces here")
    for path in (
        fixed_window.solution,
        fixed_window.checks_file,
        Path(__file__),
        "/etc/passwd",
        "/etc/shadow",
    ):
        assert ask("exists", str(path)) is False, path
    assert ask("exists", "/home/student/exercise.py") is True


def test_a_sandbox_sees_no_process_but_its_own(ask, sandboxes):
    if "processes" not in sandboxes.isolation:
        pytest.skip("no process namespaces here")
    seen = as_dict(ask("seen"))
    assert (seen["pid"], seen["processes"]) == (1, ["1"])


def test_a_sandbox_has_no_descriptor_but_the_channel(ask):
    # The channel and its duplicate, the event loop's selector and the two ends that wake it.
    assert len(as_dict(ask("seen"))["descriptors"]) <= 5


def test_a_sandbox_is_nobody(ask, sandboxes):
    if "user" not in sandboxes.isolation or not hasattr(sandboxes, "owner") or sandboxes.owner is None:
        pytest.skip("the grader is not root here")
    assert as_dict(ask("seen"))["uid"] == sandboxes.owner[0] != 0


@pytest.mark.parametrize("path", ["/home/student/x", "/tmp/x", "/dev/shm/x"])
def test_what_it_writes_is_bounded_and_gone_with_it(ask, sandboxes, path):
    if "files" not in sandboxes.isolation:
        pytest.skip("no mount namespaces here")
    assert ask("write", path, 1000) == "written"
    assert ask("exists", path) is False  # another sandbox
    assert ask("write", path, 9 << 20, disk=8 << 20) == "OSError"
    assert ask("write", path, 3 << 20, file=2 << 20) == "OSError"


def test_it_can_write_nowhere_else(ask, sandboxes):
    if "files" not in sandboxes.isolation:
        pytest.skip("no mount namespaces here")
    # Without root the sandbox's own empty root belongs to it, and goes when it goes.
    own = ("/x", "/home/x") if sandboxes.owner else ()
    for path in (*own, "/usr/x", str(Path(json.__file__).parent / "x.py")):
        assert ask("write", path, 10) in ("PermissionError", "OSError"), path


def test_processes_and_threads_are_bounded(ask, sandboxes):
    room = 64 << 30  # so that it is not the memory of their stacks that ends it
    assert ask("threads", 10, memory=room) == 10
    if os.geteuid() == 0 and "user" not in sandboxes.isolation:
        pytest.skip("root is not bounded")
    if os.geteuid() == 0 or "files" in sandboxes.isolation:
        assert ask("threads", 200, memory=room, processes=40) < 40
    else:  # what else the user runs is counted too, and changes
        assert ask("threads", 1000, memory=room, processes=40) < 1000
    assert ask("threads", 100, memory=room, processes=150) == 100


def test_only_what_it_may_print_is_kept(sandboxes, work):
    sandbox = sandboxes.start(work("print('y' * 50_000)"), "exercise.py", Limits())
    assert RemoteChannel(sandbox.channel, 20).ask("load", {}) == {"value": None}
    end = sandbox.end()
    assert (len(end.output), end.output_bytes) == (16_384, 50_001)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os; os._exit(5)", "exit"),
        ("import os, time\nwhile True: os.write(1, b'x' * 65536)", "output"),
    ],
)
def test_the_keeper_tells_how_it_ended(sandboxes, work, source, reason):
    sandbox = sandboxes.start(work(source), "exercise.py", Limits(output=1 << 20))
    with pytest.raises(OSError, match="gone"):
        RemoteChannel(sandbox.channel, 20).ask("load", {})
    assert sandbox.end(patience=20).reason == reason


@pytest.mark.parametrize(
    ("source", "reason", "limits"),
    [
        ("while True: pass", "cpu", {"cpu": 1}),
        ("import threading\nthreading.Event().wait()", "wall", {"wall": 0.5}),
        (
            "import os, threading\nfor _ in range(3): os.fork()\n"
            "held = b'x' * (40 << 20)\nthreading.Event().wait()",
            "memory",
            {"memory": 200 << 20},
        ),
        (  # who prints all the time leaves no pause to look in
            "import os, time\nfor _ in range(3): os.fork()\n"
            "held = b'x' * (40 << 20)\nwhile True: os.write(1, b'.'); time.sleep(0.01)",
            "memory",
            {"memory": 200 << 20},
        ),
        (  # the children of a thread
            "import os, threading\ndef fork():\n    for _ in range(4):\n        if os.fork() == 0:\n"
            "            held = b'x' * (60 << 20)\n            threading.Event().wait()\n"
            "    threading.Event().wait()\n"
            "thread = threading.Thread(target=fork)\nthread.start()\nthread.join()",
            "memory",
            {"memory": 200 << 20},
        ),
        (
            "import os, threading\nheld = [os.pipe() for _ in range(100)]\nos.fork(); os.fork()\n"
            "threading.Event().wait()",
            "files",
            {"all_files": 500},
        ),
    ],
)
def test_the_keeper_enforces_the_limits_by_itself(sandboxes, work, source, reason, limits):
    sandbox = sandboxes.start(work(source), "exercise.py", Limits(**{"wall": 30.0, **limits}))
    sandbox.channel.sendall(b'\x00\x00\x00\x25{"n": 1, "op": "load", "fields": {}}  ')
    assert sandbox.end(patience=25).reason == reason


NOBODYS = """
import ctypes, mmap, os, socket

libc = ctypes.CDLL(None, use_errno=True)

def refused():
    return [
        libc.syscall(*call) == -1
        for call in (
            (libc_numbers["memfd_create"], b"x", 0),
            (libc_numbers["shmget"], 0, 4096, 0o1600),
            (libc_numbers["msgget"], 0, 0o1600),
            (libc_numbers["unshare"], 0x10000000),
            (libc_numbers["io_uring_setup"], 1, bytes(256)),
            (clone, 0x10000000 | 17, 0, 0, 0, 0),
            (clone3, bytes(88), 88),
        )
    ]

def shared():
    try:
        mmap.mmap(-1, 4096)
        return "mapped"
    except OSError as error:
        return os.strerror(error.errno)

def private():
    mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    with open("file", "w+b") as file:
        file.truncate(4096)
        mmap.mmap(file.fileno(), 4096).close()
    return "mapped"

def buffer():
    with socket.socket() as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * before)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before,
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0]
"""


def test_memory_that_no_process_has_is_refused(ask, sandboxes):
    if "calls" not in sandboxes.isolation:
        pytest.skip("no filter for system calls here")
    column = list(calls.MACHINES).index(os.uname().machine)
    numbers = {name: both[column] for name, both in calls.REFUSED.items()}
    text = (
        f"libc_numbers = {numbers}\nclone, clone3 = {calls.CLONE[column]}, {calls.CLONE3[column]}\n" + NOBODYS
    )
    assert all(ask("refused", text=text))
    assert ask("shared", text=text) == os.strerror(errno.ENOMEM)
    assert ask("private", text=text) == "mapped"
    assert all(ask("buffer", text=text))


def test_without_namespaces_everything_still_ends(work, solution):
    with Sandboxes(slot=1100, isolation=("user",)) as bare:
        assert bare.isolation <= {"user", "limits", "libraries"}
        text = (
            "import os, threading\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        threading.Event().wait()\n    os._exit(0)\nos.wait()\n" + solution
        )
        sandbox = bare.start(work(text), "exercise.py", Limits())
        assert RemoteChannel(sandbox.channel, 20).ask("load", {}) == {"value": None}
        keeper = children_of(bare)
        assert len(keeper) >= 3  # the keeper, the submission, its daemon
        sandbox.end()
        # The keeper reports before it ends itself, and is a zombie until the next sandbox is asked for.
        assert survivors(keeper) == []


@pytest.fixture(scope="module")
def without_mounts():
    with Sandboxes(slot=1102, isolation=("landlock", "user")) as made:
        if "files" not in made.isolation:
            pytest.skip("no Landlock here")
        yield made


def test_without_mounts_the_grader_is_not_there_either(ask, without_mounts, fixed_window):
    for path in (fixed_window.solution, fixed_window.checks_file, Path(__file__)):
        assert ask("readable", str(path), of=without_mounts) == "PermissionError", path
    assert ask("readable", "exercise.py", of=without_mounts) == "read"
    assert ask("readable", json.__file__, of=without_mounts) == "read"
    for folder in ("/tmp", "/dev/shm", str(Path(json.__file__).parent)):
        assert ask("write", f"{folder}/of-no-submission.py", 10, of=without_mounts) == "PermissionError"
    assert ask("write", "x", 10, of=without_mounts) == "written"


def test_without_mounts_what_it_writes_is_looked_at(without_mounts, work):
    text = "for n in range(9): open(str(n), 'wb').write(b'x' * (1 << 20))\nimport threading\n"
    sandbox = without_mounts.start(
        work(text + "threading.Event().wait()"), "exercise.py", Limits(wall=30.0, disk=4 << 20)
    )
    with pytest.raises(OSError, match="gone"):
        RemoteChannel(sandbox.channel, 40).ask("load", {})
    assert sandbox.end(patience=20).reason == "disk"


def test_without_mounts_signals_end_at_its_own_family(ask, without_mounts):
    """The same user's processes, such as the grader, are out of reach where the kernel can do that."""
    version = jail._syscall(jail.LANDLOCK_CREATE, None, 0, jail.LANDLOCK_VERSION)
    if without_mounts.owner is None and version < 6:
        pytest.skip("this kernel's Landlock knows no signals")
    assert ask("kill", os.getpid(), of=without_mounts) == "PermissionError"


def test_a_clone_beneath_what_is_shown_is_hidden(monkeypatch):
    """As in an image whose working directory is /usr/src/app, with the environment inside of it."""
    tree = {"/usr": ["bin", "src"], "/usr/src": ["app", "linux"], "/usr/src/app": [".venv", "lab"]}
    monkeypatch.setattr(jail.os, "listdir", tree.__getitem__)
    assert jail.without("/usr", ["/usr/src/app"]) == ["/usr/bin", "/usr/src/linux"]
    assert jail.without("/usr/src/app/.venv", ["/usr/src/app"]) == ["/usr/src/app/.venv"]
    assert jail.without("/opt", ["/usr/src/app"]) == ["/opt"]


@pytest.mark.parametrize(("system", "beside"), [("usr", ["bin", "src"]), ("elsewhere", ["src"])])
def test_a_clone_is_covered_but_for_its_libraries(tmp_path, system, beside):
    """Whether it stands beneath what is shown or not."""
    if os.geteuid() != 0 or not zygote.works(jail.unshare, jail.CLONE_NEWNS):
        pytest.skip("no mount namespaces here")
    clone = tmp_path / "usr" / "src" / "app"
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "solution.py").write_text("x")
    (tmp_path / "usr" / "bin").mkdir()
    (tmp_path / "elsewhere").mkdir()
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom lab.grading.inside import jail\n"
        "top, library, root = map(Path, sys.argv[1:])\nclone = top / 'usr/src/app'\n"
        f"jail.SYSTEM = (str(top / '{system}'),)\njail.ourselves = lambda: [str(clone)]\n"
        "jail.prefixes = lambda: [str(clone / '.venv')]\n"
        "jail.unshare(jail.CLONE_NEWNS)\njail.new_root(root, library, 1 << 20, (0, 0))\n"
        "inside = root / str(clone).lstrip('/')\n"
        "for path in (inside, inside / '.venv', inside.parents[1]): print(sorted(os.listdir(path)), end='')\n"
    )
    for name in ("library", "root"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in ("", "library", "root"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"['.venv']['bin']{beside}", done.stderr


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_an_environment_that_is_closed_to_others_matters_more_than_a_user_of_its_own(tmp_path, mode):
    """As one is that pip made under a umask of 077."""
    if os.geteuid() != 0 or in_user_namespace() or not zygote.works(jail.unshare, jail.CLONE_NEWNS):
        pytest.skip("for a grader that is root and may mount")
    for name in ("library", "root", "venv"):
        (tmp_path / name).mkdir()
    (tmp_path / "venv").chmod(mode)
    program = (
        "import sys\nfrom lab.grading.inside import jail, zygote\nlibrary, root, venv = sys.argv[1:]\n"
        "jail.prefixes = lambda: [venv]\nisolation = ['files', 'user', 'processes']\n"
        "given = {'library': library, 'empty': root, 'owner': [70000, 70000], 'isolation': isolation}\n"
        "options = zygote.Options(given)\nzygote.find_out(options)\n"
        "print(options.mounts, 'libraries' in options.isolation, 'user' in options.isolation)\n"
    )
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in ("library", "root", "venv"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"True True {mode == 0o755}\n", done.stderr


@pytest.mark.parametrize(
    "dropped", [[21], [6, 7, 21], range(64)], ids=["sys_admin", "setuid, setgid, sys_admin", "all"]
)
def test_a_root_that_may_do_little_grades_all_the_same(work, solution, dropped):
    """As in a container; 21 is CAP_SYS_ADMIN, 6 and 7 are CAP_SETGID and CAP_SETUID (capabilities(7))."""
    if os.geteuid() != 0 or in_user_namespace():
        pytest.skip("for a grader that is root")
    program = (
        "import os, sys\nfrom lab.grading.inside import jail\n"
        "for number in map(int, sys.argv[2].split()):\n"
        "    try: jail.prctl(jail.PR_CAPBSET_DROP, number)\n    except OSError: pass\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[3], sys.argv[1]])\n"
    )
    graded = (
        "import sys\nfrom pathlib import Path\nfrom lab.grading.sandbox import Sandboxes\n"
        "from lab.grading.grade import Grader\nfrom tests.grading.conftest import COUNTER\n"
        "with Sandboxes(slot=1103) as made:\n"
        "    verdicts, _ = Grader(made, seed=7).grade(COUNTER, Path(sys.argv[1]), 'exercise.py')\n"
        "print(sum(verdict.points for verdict in verdicts), 'processes' in made.isolation)\n"
    )
    numbers = " ".join(map(str, dropped))
    command = [sys.executable, "-c", program, str(work(solution)), numbers, graded]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{COUNTER.points} False\n", done.stderr


def test_a_grader_that_keeps_its_files_to_itself_grades_all_the_same(work, solution):
    """A umask of 077, which hardened systems give to root."""
    folder, before = work(solution), os.umask(0o077)
    try:
        with Sandboxes(slot=1104) as made:
            verdicts, _ = Grader(made, seed=7, slack=PATIENT).grade(COUNTER, folder, "exercise.py")
    finally:
        os.umask(before)
    assert sum(verdict.points for verdict in verdicts) == COUNTER.points


def test_localhost_is_found_and_no_other_name(ask):
    assert ask("address", "localhost") == "127.0.0.1"
    assert ask("address", "example.org") == "gaierror"


def children_of(sandboxes):
    return psutil.Process(sandboxes.pid).children(recursive=True)


def test_what_is_lacking_can_be_said_of_every_kind(sandboxes):
    assert sandboxes.isolation <= set(LACKING)


def test_a_grading_process_has_a_network_of_its_own():
    """Asked of the process: a listener of ours is not there for it, its own loopback works."""
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    with socket.create_server(("127.0.0.1", 0)) as ours:
        program = (
            "import socket, sys\n"
            "from lab.grading.worker import own_network\n"
            "if not own_network(): print('none'); sys.exit()\n"
            "with socket.create_server(('127.0.0.1', 0)) as own:\n"
            "    socket.create_connection(own.getsockname(), timeout=5).close()\n"
            "try:\n"
            f"    socket.create_connection(('127.0.0.1', {ours.getsockname()[1]}), timeout=5)\n"
            "    print('reached')\n"
            "except OSError: print('apart')\n"
        )
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120
        )
    if done.stdout.strip() == "none":
        pytest.skip("no network namespaces here")
    assert done.stdout.strip() == "apart", done.stderr


def test_a_grader_that_is_killed_leaves_no_process(work):
    root = Path(__file__).resolve().parents[2]
    program = (
        "import sys\nfrom pathlib import Path\nfrom lab.grading.sandbox import *\n"
        "from lab.grading.channel import RemoteChannel\n"
        "made = Sandboxes(slot=1101)\n"
        "box = made.start(Path(sys.argv[1]), 'exercise.py', Limits(wall=600.0, cpu=600))\n"
        "RemoteChannel(box.channel, 20).ask('load', {})\n"
        "hang = {'ref': 0, 'method': 'hang', 'args': [], 'kwargs': {'dict': []}}\n"
        "RemoteChannel(box.channel, 20)._question('call', hang, None)\n"
        "print('up', flush=True)\nsys.stdin.read()\n"
    )
    folder = work(
        "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass\n"
        "def hang():\n    while True: pass\n"
    )
    grader = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert grader.stdout.readline() == b"up\n"
    below = psutil.Process(grader.pid).children(recursive=True)
    assert len(below) >= 3
    grader.kill()
    grader.wait()
    grader.stdin.close()
    grader.stdout.close()
    assert survivors(below) == []


def test_threads_in_the_grader_do_no_harm(sandboxes, work):
    """Sandboxes come from a process with one thread, whatever the grader does."""
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
    try:
        sandbox = sandboxes.start(work(""), "exercise.py", Limits())
        assert RemoteChannel(sandbox.channel, 20).ask("load", {}) == {"value": None}
        sandbox.end()
    finally:
        stop.set()
