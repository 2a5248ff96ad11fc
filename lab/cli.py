"""The command line: which commands there are, where they live, and how mistakes are told.

Commands are imported when they are called, never before: `lab --help` and every start stay fast, and a
command whose room is not built yet is simply not there.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

from lab import __version__, bootstrap
from lab.errors import UserError

DONE, NOT_PASSED, USED_WRONGLY, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "dashboard": ("lab.dashboard.commands:dashboard", "start everything and watch it live (the default)"),
    "up": ("lab.launcher.commands:up", "start the services and the gateway without the dashboard"),
    "attach": ("lab.dashboard.commands:attach", "open a dashboard on a gateway that already runs"),
    "demo": ("lab.scenarios.commands:demo", "a tour without a terminal: hit, 429, breaker, WebSocket"),
    "scenarios": ("lab.scenarios.commands:scenarios_", "list the failure scenarios"),
    "run": ("lab.scenarios.commands:run", "play one failure scenario and check what is seen"),
    "load": ("lab.load.commands:load", "send traffic to the running gateway"),
    "fault": ("lab.faults.commands:fault", "break a running service on purpose, and mend it"),
    "exercises": ("lab.exercises.commands:exercises", "list the exercises and how far you are"),
    "check": ("lab.exercises.commands:check", "check your solution of an exercise"),
    "watch": ("lab.exercises.commands:watch", "check again whenever you save"),
    "hint": ("lab.exercises.commands:hint", "show the next hint for an exercise"),
    "reset": ("lab.exercises.commands:reset", "start an exercise over"),
    "solution": ("lab.exercises.commands:solution", "show the worked solution of an exercise"),
    "plug": ("lab.exercises.commands:plug", "put your class into the running gateway"),
    "unplug": ("lab.exercises.commands:unplug", "take your class out of the running gateway"),
    "grade": ("lab.grading.commands:grade", "grade one submission or a folder of them"),
    "bench": ("lab.load.bench:bench", "measure the gateway against its peers"),
    "doctor": ("lab.launcher.commands:doctor", "look for what keeps the lab from running"),
    "test": ("lab.cli:test", "run the lab's own tests; arguments go to pytest"),
}
"""Name → where its click command is, and its line in the help."""


def is_built(name: str) -> bool:
    """True where the command exists; found out without importing it."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # a package above it is missing
        return False
    if spec is None or spec.origin is None:
        return False
    return re.search(rf"^def {attribute}\b", Path(spec.origin).read_text("utf-8"), re.MULTILINE) is not None


class LazyGroup(click.Group):
    """A click group whose commands are a table of names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if is_built(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or not is_built(cmd_name):
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{match[0]}'?" if match else f"there are {', '.join(known)}"
            raise click.UsageError(f"no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, invoke_without_command=True, no_args_is_help=False)
@click.version_option(__version__, prog_name="gateway-lab")
@click.pass_context
def lab(ctx: click.Context) -> int | None:
    """Gateway Lab: read an API gateway, break one, write parts of one.

    Without a command: the dashboard, or the demo where standard output is no terminal.
    """
    if ctx.invoked_subcommand is not None:
        return None
    name = "dashboard" if sys.stdout.isatty() else "demo"
    command = lab.get_command(ctx, name)
    if command is None:
        click.echo(ctx.get_help())
        return None
    # As if it had been typed, and not `ctx.invoke`, which heeds no environment variables (LAB_PORT_BASE).
    with command.make_context(name, [], parent=ctx) as typed:
        status: int | None = command.invoke(typed)
    return status


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> int:
    """Run the lab's own tests; ARGUMENTS go to pytest.

    The whole suite runs in several processes; as soon as tests are named or pytest is to talk to the
    terminal, it runs in one.
    """
    os.chdir(bootstrap.ROOT)
    # Hundreds of processes would compile the same files again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Half of the time is waiting. Tests that share a server are neighbours, and stay so but for the last few.
    parallel = ["-n", "4" if os.cpu_count() != 1 else "2", "--dist", "worksteal"]
    if not runs_whole_suite(arguments):
        parallel = []
    return bootstrap.replace_process([sys.executable, "-m", "pytest", *parallel, *arguments])


def runs_whole_suite(arguments: tuple[str, ...]) -> bool:
    """True where pytest's arguments neither choose tests nor ask for a process or a terminal of their own."""
    serial = (
        "-n",
        "--numprocesses",
        "--dist",
        "-p",
        "--pdb",
        "--trace",
        "-s",
        "--capture",
        "-k",
        "-m",
        "--lf",
    )
    return not any(a.startswith(serial) or not a.startswith("-") for a in arguments)


def main(arguments: list[str]) -> int:
    """Run one command line; the value is the exit status (0 done, 1 not passed, 2 used wrongly)."""
    try:
        result = lab.main(args=arguments, prog_name="lab", standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "lab"
        message = error.format_message()
        group = error.ctx.command if error.ctx else None
        if isinstance(error, click.exceptions.NoArgsIsHelpError) and isinstance(group, click.Group):
            # Its own message is the whole help.
            message = f"what to do is missing: {', '.join(sorted(group.commands))}"
        complain(f"{path}: {message} (see '{path} --help')")
        return USED_WRONGLY
    except click.ClickException as error:
        complain(f"lab: {error.format_message()}")
        return error.exit_code
    except UserError as error:
        complain(f"lab: {error}")
        return USED_WRONGLY
    except OSError as error:
        if (text := refusal(error)) is None:
            raise
        complain(f"lab: {text}")
        return USED_WRONGLY
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
"""Errors by which a system says that this user may not write there, or not any more."""


def refusal(error: OSError) -> str | None:
    """What the system refused and what helps; None where that is rather a mistake of ours."""
    from lab.launcher import runfile

    if error.filename is not None:
        path, home = Path(os.fsdecode(error.filename)), runfile.home()
        if home in (path, *path.parents) or path in home.parents:
            return f"{path}: {error.strerror}; set LAB_HOME to a folder that you may write"
    if error.errno not in REFUSED:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def complain(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    print(" ".join(message.split()), file=sys.stderr)
