"""The command line: which commands there are, how fast it starts, and how mistakes end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from lab import __version__, bootstrap, cli
from lab.errors import UserError

BUILT = [name for name in cli.COMMANDS if cli.is_built(name)]
OWN_OPTIONS = [name for name in BUILT if name != "test"]  # whose options are pytest's


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """A function that puts a command into the table, with what it does."""

    def add(name: str, does: Callable[[], Any]) -> None:
        monkeypatch.setitem(cli.COMMANDS, name, (f"{__name__}:added_{name}", "added by a test"))
        monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
        monkeypatch.setattr(sys.modules[__name__], f"added_{name}", click.command(name)(does), raising=False)
        built = cli.is_built
        monkeypatch.setattr(cli, "is_built", lambda asked: asked == name or built(asked))

    return add


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run one command line: its exit status, its output, its complaints."""
    status = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


# -- the table -----------------------------------------------------------------------------------------------


def test_help_lists_what_is_built_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--help")
    listed = [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines() if line[2:3].strip()]
    assert (status, err, listed) == (0, "", BUILT)
    assert "test" in listed


def test_a_command_whose_module_is_missing_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fly", ("lab.no_such_room.commands:fly", "up and away"))
    assert "fly" not in run(capsys, "--help")[1]
    assert run(capsys, "fly")[0] == 2


def test_a_command_that_its_module_does_not_have_yet_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fly", ("lab.cli:fly", "up and away"))
    assert not cli.is_built("fly")
    monkeypatch.setitem(cli.COMMANDS, "fly", ("lab.cli:test", "up and away"))
    assert cli.is_built("fly")


@pytest.mark.parametrize("name", BUILT)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, err = run(capsys, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: lab {name}")


@pytest.mark.parametrize("name", OWN_OPTIONS)
def test_every_command_answers_an_unknown_option_in_one_line(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, out, err = run(capsys, name, "--no-such-option")
    assert (status, out) == (2, "")
    assert err.startswith(f"lab {name}: No such option")
    assert err.count("\n") == 1


def test_help_and_start_import_nothing_heavy() -> None:
    code = "import json, sys; from lab import cli; cli.main(['--help']); print(json.dumps(list(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=bootstrap.ROOT, capture_output=True, text=True, check=True
    )
    imported = {name.partition(".")[0] for name in json.loads(ran.stdout.splitlines()[-1])}
    assert "click" in imported
    assert imported.isdisjoint(
        {"asyncio", "httpx", "fastapi", "pydantic", "textual", "locust", "yaml", "pytest"}
    )


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"gateway-lab, version {__version__}\n", "")


# -- without a command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terminal", "name"), [(True, "dashboard"), (False, "demo")])
def test_without_a_command_the_dashboard_or_the_demo_runs(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: Any,
    terminal: bool,
    name: str,
) -> None:
    command(name, lambda: 1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert run(capsys)[0] == 1


@pytest.mark.parametrize(("terminal", "name"), [(True, "dashboard"), (False, "demo")])
def test_without_a_command_the_environment_counts_too(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: Any,
    terminal: bool,
    name: str,
) -> None:
    seen = []
    port_base = click.option("--port-base", type=int, envvar="LAB_PORT_BASE")
    command(name, port_base(lambda port_base: seen.append(port_base)))
    monkeypatch.setenv("LAB_PORT_BASE", "9000")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert run(capsys)[0] == 0
    assert seen == [9000]


def test_a_group_without_a_command_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    told = "lab fault: what to do is missing: clear, kinds, list, set"
    assert run(capsys, "fault") == (2, "", f"{told} (see 'lab fault --help')\n")


# -- how it ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "status"), [(None, 0), (0, 0), (1, 1), (2, 2)])
def test_the_value_of_a_command_is_the_exit_status(
    capsys: pytest.CaptureFixture[str], command: Any, value: int | None, status: int
) -> None:
    command("added", lambda: value)
    assert run(capsys, "added")[0] == status


def raising(error: BaseException) -> Callable[[], None]:
    def does() -> None:
        raise error

    return does


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no exercise 99;\nthere are 12"), 2, "lab: no exercise 99; there are 12\n"),
        (click.UsageError("give a name"), 2, "lab added: give a name (see 'lab added --help')\n"),
        (click.ClickException("it broke"), 1, "lab: it broke\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Exit(1), 1, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_mistakes_end_in_one_line(
    capsys: pytest.CaptureFixture[str], command: Any, error: BaseException, status: int, line: str
) -> None:
    command("added", raising(error))
    found, _, err = run(capsys, "added")
    assert (found, err.strip()) == (status, line.strip())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/file"), "lab: a/file: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "lab: No space left on device\n"),
    ],
)
def test_what_the_system_refuses_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], command: Any, error: OSError, line: str
) -> None:
    command("added", raising(error))
    assert run(capsys, "added") == (2, "", line)


@pytest.mark.parametrize(
    "arguments", [["up", "--port-base", "0"], ["demo"], ["hint", "3"], ["run", "breaker-trip"]]
)
def test_a_home_that_cannot_be_one_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "file" / "home"))
    status, _, err = run(capsys, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith("; set LAB_HOME to a folder that you may write\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "No such file", "a/file")]
)
def test_a_mistake_of_ours_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], command: Any, error: Exception
) -> None:
    command("added", raising(error))
    with pytest.raises(type(error)):
        run(capsys, "added")


def test_an_unknown_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "tets") == (2, "", "lab: no command 'tets'; did you mean 'test'? (see 'lab --help')\n")
    assert run(capsys, "xyzzy")[2].startswith("lab: no command 'xyzzy'; there are ")


def test_a_reader_that_has_had_enough_is_no_reason_for_a_traceback() -> None:
    code = "import sys; from lab import cli; sys.exit(cli.main(['--help']))"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=bootstrap.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (1, "")


# -- lab test ------------------------------------------------------------------------------------------------


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the process would have become."""
    commands: list[list[str]] = []
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(bootstrap, "replace_process", lambda command: commands.append(command) or 1)
    return commands


SEVERAL = ["-n", "4" if os.cpu_count() != 1 else "2", "--dist", "worksteal"]


@pytest.mark.parametrize(
    ("arguments", "parallel"),
    [
        ([], SEVERAL),
        (["-q"], SEVERAL),
        (["-x", "--durations=5"], SEVERAL),
        (["tests/test_cli.py"], []),
        (["-k", "cli"], []),
        (["-n0"], []),
        (["--pdb"], []),
        (["-s"], []),
    ],
)
def test_arguments_go_to_pytest(
    capsys: pytest.CaptureFixture[str], replaced: list[list[str]], arguments: list[str], parallel: list[str]
) -> None:
    assert run(capsys, "test", *arguments)[0] == 1
    assert replaced == [[sys.executable, "-m", "pytest", *parallel, *arguments]]
    assert Path.cwd() == bootstrap.ROOT
