"""From a bare Python to a complete environment: when it is made, when it is kept, and what goes wrong."""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import bootstrap
from lab.bootstrap import DEV, USER, Environment, Setup, SetupFailed, lock, make_importable, reason

HERE = Path(bootstrap.__file__).parent
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows names the environment's files differently")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's root with pins, and a lab that only says how it was called."""
    root = tmp_path / "a clone"
    (root / "lab").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "bootstrap.py"):
        shutil.copy(HERE / name, root / "lab")
    (root / "lab" / "cli.py").write_text("def main(arguments):\n    print('ran', *arguments)\n    return 7\n")
    (root / "pyproject.toml").write_text('[project]\ndependencies = ["lab-test-part==1.0"]\n')
    (root / "constraints.txt").write_text("lab-test-part==1.0\n")
    (root / "constraints-dev.txt").write_text("lab-test-part==1.0\nlab-test-other==1.0\n")
    return root


class Runs:
    """In place of real processes: notes each command, answers with `output`, makes what `venv` would make."""

    def __init__(self, *output: str, fails: bool = False) -> None:
        self.commands: list[list[str]] = []
        self.output = output
        self.fails = fails

    def __call__(self, command: list[str]) -> Iterator[str]:
        self.commands.append(command)
        if "venv" in command:
            root = Path(command[-1])
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
            return
        yield from self.output
        if self.fails:
            raise subprocess.CalledProcessError(1, command)

    @property
    def kinds(self) -> list[str]:
        return [
            "venv" if "venv" in command else command[-5].rpartition(os.sep)[2] for command in self.commands
        ]


def set_up(root: Path, level: str = USER, run: Runs | None = None) -> Runs:
    """Set a clone up and return what was run for it."""
    run = run or Runs()
    Setup(Environment(root), run).run(level)
    return run


# -- when something has to be done ---------------------------------------------------------------------------


def test_a_first_start_makes_the_environment_installs_the_pins_and_then_stamps(clone: Path) -> None:
    assert not Environment(clone).fits(USER)
    assert set_up(clone).kinds == ["venv", "constraints.txt"]
    assert Environment(clone).fits(USER)


def test_packages_are_checked_against_their_hashes(clone: Path) -> None:
    assert "--require-hashes" in set_up(clone).commands[1]


def test_a_second_start_has_nothing_to_do(clone: Path) -> None:
    set_up(clone)
    assert set_up(clone).kinds == []


def test_tests_take_more_than_the_lab_does(clone: Path) -> None:
    set_up(clone)
    assert not Environment(clone).fits(DEV)
    assert set_up(clone, DEV).kinds == ["constraints-dev.txt"]
    assert Environment(clone).fits(USER)
    assert Environment(clone).fits(DEV)


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-dev.txt", "pyproject.toml"])
def test_new_pins_are_installed_over_a_sound_environment(clone: Path, name: str) -> None:
    set_up(clone)
    with (clone / name).open("a") as file:
        file.write("# changed\n")
    assert not Environment(clone).fits(USER)
    assert set_up(clone).kinds == ["constraints.txt"]


def test_an_update_for_the_lab_keeps_the_packages_of_the_tests(clone: Path) -> None:
    set_up(clone, DEV)
    (clone / "constraints.txt").write_text("lab-test-part==1.1\n")
    assert set_up(clone, USER).kinds == ["constraints-dev.txt"]
    assert Environment(clone).fits(DEV)


@posix_only
def test_an_environment_whose_interpreter_is_gone_is_made_anew(clone: Path) -> None:
    set_up(clone)
    python = Environment(clone).python
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert set_up(clone).kinds == ["venv", "constraints.txt"]


def test_an_environment_that_lost_a_part_is_made_anew_and_one_that_gained_one_is_kept(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = Environment(clone)

    def made() -> Path:
        """A part that the installation left behind."""
        part = environment.site / "part"
        part.mkdir(parents=True)
        return part

    class Installs(Runs):
        def __call__(self, command: list[str]) -> Iterator[str]:
            yield from super().__call__(command)
            if "venv" not in command:
                made()

    set_up(clone, run=Installs())
    assert "(first start)" in capsys.readouterr().err
    (environment.site / "mine.py").write_text("")
    assert set_up(clone).kinds == []
    made_anew = ["venv", "constraints.txt"]
    shutil.rmtree(environment.site / "part")
    assert set_up(clone, run=Installs()).kinds == made_anew
    assert "(what is there is not usable)" in capsys.readouterr().err
    (environment.path / "pyvenv.cfg").unlink()
    assert set_up(clone, run=Installs()).kinds == made_anew
    shutil.rmtree(environment.site)
    assert set_up(clone, run=Installs()).kinds == made_anew


def test_a_moved_clone_is_set_up_anew(clone: Path) -> None:
    set_up(clone)
    moved = clone.rename(clone.with_name("moved"))
    assert set_up(moved).kinds == ["venv", "constraints.txt"]


def test_another_python_needs_another_environment(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(clone)
    monkeypatch.setattr(Environment, "maker", lambda self: "cpython-399 linux")
    assert set_up(clone).kinds == ["venv", "constraints.txt"]


def test_an_unreadable_stamp_is_no_stamp(clone: Path) -> None:
    set_up(clone)
    Environment(clone).stamp.write_text("half")
    assert set_up(clone).kinds == ["venv", "constraints.txt"]


# -- when it fails -------------------------------------------------------------------------------------------


def test_a_failure_is_one_line_that_says_where_the_rest_is(clone: Path) -> None:
    with pytest.raises(SetupFailed) as caught:
        set_up(clone, run=Runs("Collecting x==1", "ERROR: No matching distribution", fails=True))
    assert str(caught.value) == (
        "set-up failed: the packages cannot be installed: No matching distribution (all of it: "
        f"{Path('.lab', 'setup.log')})"
    )
    assert "Collecting x==1" in (clone / ".lab" / "setup.log").read_text()
    assert not Environment(clone).fits(USER)


def test_what_worked_still_works_where_more_could_not_be_fetched(clone: Path) -> None:
    set_up(clone)
    with pytest.raises(SetupFailed):
        set_up(clone, DEV, Runs("Collecting x==1", fails=True))
    assert Environment(clone).fits(USER)


def test_an_installation_that_broke_off_is_never_taken_for_a_finished_one(clone: Path) -> None:
    set_up(clone)
    with pytest.raises(SetupFailed):
        set_up(clone, DEV, Runs("Collecting x==1", "Installing collected packages: x", fails=True))
    assert not Environment(clone).fits(USER)
    assert set_up(clone).kinds == ["venv", "constraints.txt"]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (["ERROR: a", "ERROR: b", "more"], "b"),
        (["said this", ""], "said this"),
        ([], "no reason given"),
        (
            ["WARNING: Retrying … NewConnectionError", "ERROR: No matching distribution found for aiohttp"],
            "the package index cannot be reached; check the network and start again",
        ),
    ],
)
def test_the_reason_is_found_in_the_output(output: list[str], line: str) -> None:
    assert reason(output) == line


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(bootstrap, "has_module", lambda name: name not in names)


def test_without_ensurepip_the_pip_beside_this_python_is_used(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "ensurepip")
    make, install = set_up(clone).commands
    assert "--without-pip" in make
    assert install[1:5] == ["-m", "pip", "--python", str(Environment(clone).python)]


def test_without_any_pip_it_is_said_what_to_install(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "ensurepip", "pip")
    with pytest.raises(SetupFailed, match=r"sudo apt install python3\.\d+-venv"):
        set_up(clone)


def test_the_files_that_an_old_python_reads_first_are_readable_for_it() -> None:
    for name in ("__init__.py", "__main__.py", "bootstrap.py"):
        ast.parse((HERE / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_an_old_python_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lab.__main__ import main

    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert main() == 2
    assert capsys.readouterr().err == "lab: Python 3.11 or newer is needed, this is 3.10\n"


@posix_only
def test_closed_standard_streams_are_opened_for_it_and_its_children() -> None:
    code = (
        "import os, subprocess, sys; from lab.__main__ import open_closed_streams; open_closed_streams()\n"
        "child = 'import sys; sys.exit(None in (sys.stdin, sys.stdout, sys.stderr))'\n"
        "numbers = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]\n"
        "numbers.append(subprocess.call([sys.executable, '-c', child]))\n"
        "os.write(int(sys.argv[1]), repr(numbers).encode())"
    )
    reading, writing = os.pipe()
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(writing)]
    subprocess.run(command, pass_fds=[writing], cwd=HERE.parent, check=True)
    os.close(writing)
    with open(reading, "rb") as said:
        assert said.read() == b"[0, 1, 2, 0]"


# -- whether this interpreter will do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirements", "answer"),
    [
        ('"pytest>=8", "click"', True),
        ('"pytest>=800"', False),
        ('"no-such-part"', False),
        ("\"no-such-part; sys_platform == 'amiga'\"", True),
    ],
)
def test_requirements_are_met_by_version_and_platform(
    tmp_path: Path, requirements: str, answer: bool
) -> None:
    text = f"[project]\ndependencies = [{requirements}]\noptional-dependencies = {{dev = ['no-such-part']}}\n"
    (tmp_path / "pyproject.toml").write_text(text)
    assert bootstrap.has_requirements(tmp_path, USER) is answer
    assert bootstrap.has_requirements(tmp_path, DEV) is False


def test_the_environment_of_these_tests_will_do_for_them() -> None:
    assert bootstrap.has_requirements(bootstrap.ROOT, DEV)
    assert bootstrap.ensure(["test"]) is None


# -- the pieces against the real thing -----------------------------------------------------------------------


def test_the_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    waiting, entered = threading.Event(), threading.Event()

    def second() -> None:
        with lock(tmp_path / "lock", waiting.set):
            entered.set()

    thread = threading.Thread(target=second)
    with lock(tmp_path / "lock", lambda: pytest.fail("nobody else holds it")):
        thread.start()
        assert waiting.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()


@posix_only
@posix_only
def test_a_pip_that_outlives_a_killed_set_up_still_holds_the_lock(clone: Path) -> None:
    path = clone / "setup.lock"
    pip = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    setting_up = f"""
import sys
from pathlib import Path
from lab.bootstrap import Environment, Setup, lock
setup = Setup(Environment(Path({str(clone)!r})))
with lock(Path({str(path)!r}), lambda: None) as setup._lock:
    for line in setup._subprocess([sys.executable, "-c", {pip!r}]):
        print(line, flush=True)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", setting_up], stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    )
    assert parent.stdout is not None
    with parent, parent.stdout as said:
        orphan = int(said.readline())
        parent.kill()
    with path.open("a") as file:
        with pytest.raises(BlockingIOError):
            bootstrap.take(file.fileno(), wait=False)
        os.kill(orphan, signal.SIGKILL)
        bootstrap.take(file.fileno(), wait=True)


def test_the_clone_is_importable_and_has_its_command(clone: Path, tmp_path: Path) -> None:
    environment = Environment(clone)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment.path], check=True)
    make_importable(environment)
    environment.write_stamp(USER)
    ran = subprocess.run([environment.scripts / "lab", "a b"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("ran a b\n", "", 7)


def make_wheel(folder: Path, name: str) -> str:
    """A package that pip can install without an index; the value is its hash."""
    info = f"{name}-1.0.dist-info"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_what_is_installed_can_be_read_by_others_whatever_the_umask(tmp_path: Path) -> None:
    """Sandboxes of the grader have users of their own."""
    setup = Setup(Environment(tmp_path))
    command = [sys.executable, "-c", "import os; print(os.umask(0))"]
    before = os.umask(0o077)
    try:
        with (tmp_path / "lock").open("w") as held:
            setup._lock = held.fileno()
            assert list(setup._subprocess(command)) == [str(0o022)]
    finally:
        os.umask(before)


@posix_only
def test_a_bare_python_sets_a_clone_up_by_itself(clone: Path, tmp_path: Path) -> None:
    """The whole of it, with a real venv and a real pip, and a folder in place of the package index."""
    pin = f"lab-test-part==1.0 --hash=sha256:{make_wheel(tmp_path, 'lab_test_part')}\n"
    (clone / "constraints.txt").write_text(pin)
    environ = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [sys._base_executable, "-m", "lab", "demo", "--json"]  # type: ignore[attr-defined]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=clone, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(process: subprocess.Popen[str]) -> tuple[str, int, str]:
        out, err = process.communicate(timeout=120)
        return out, process.returncode, err

    first, second = map(finish, [start(), start()])  # at the same time
    assert first[:2] == second[:2] == ("ran demo --json\n", 7)
    assert (first[2] + second[2]).count("first start") == 1

    assert finish(start()) == ("ran demo --json\n", 7, "")

    (clone / "constraints.txt").write_text(pin.replace("part==", "other=="))
    out, status, err = finish(start())
    assert (out, status) == ("", bootstrap.COULD_NOT_START)
    assert err.splitlines()[-1].startswith("lab: set-up failed: the packages cannot be installed: ")
    assert "Traceback" not in err

    (clone / "constraints.txt").write_text(pin)
    assert finish(start()) == ("ran demo --json\n", 7, "")


class Became(Exception):
    """In place of becoming another process."""


@posix_only
def test_a_process_is_replaced_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(path: str, command: list[str]) -> None:
        raise Became(path, command)

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(Became) as caught:
        bootstrap.continue_in(Path("/x/python"), ["load", "--time", "3"])
    assert caught.value.args == ("/x/python", ["/x/python", "-m", "lab", "load", "--time", "3"])


def test_on_windows_the_exit_status_is_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "WINDOWS", True)
    assert bootstrap.replace_process([sys.executable, "-c", "raise SystemExit(5)"]) == 5


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (SetupFailed("no luck"), 2, "lab: no luck\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "lab: set-up failed: Permission denied: /x\n"),
        (KeyboardInterrupt(), 130, "\nlab: set-up interrupted; the next start takes it up again\n"),
    ],
)
def test_what_goes_wrong_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clone: Path,
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def fail(self: Setup, level: str) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "ROOT", clone)
    monkeypatch.setattr(Setup, "run", fail)
    assert bootstrap.ensure(["demo"]) == status
    assert capsys.readouterr().err == line
