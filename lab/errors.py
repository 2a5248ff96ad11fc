"""The one exception that every room may raise for a mistake of the person at the keyboard."""


class UserError(Exception):
    """What was asked for cannot be done as asked; the text is one line: what, where, what to do.

    The command line prints it and ends with status 2; it never shows a traceback for it.
    """
