"""`python3 -m lab` and the console script `lab`: the environment first, then the command line."""

import os
import sys


def open_closed_streams() -> None:
    """Give this process and its children the standard streams that whoever started it has closed.

    Python sets them to None, and the next file that is opened would get their number: a child's messages
    would end up in it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115 - for as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def main() -> int:
    """Run the command in `sys.argv`; the value is the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python has to be told before anything is imported
        # This file, lab/__init__.py and lab/bootstrap.py must stay readable for old Pythons.
        found = ".".join(str(part) for part in sys.version_info[:2])
        sys.stderr.write("lab: Python 3.11 or newer is needed, this is " + found + "\n")
        return 2
    open_closed_streams()
    from lab import bootstrap

    status = bootstrap.ensure(sys.argv[1:])
    if status is not None:
        return status
    from lab import cli

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
