"""Its errors and prints are meant for those who read the reports: escapes, markup, formulas, workflow commands."""

import sys

NASTY = ("\x1b[2J\x1b]0;owned\x07", "<script>alert(1)</script>", "=HYPERLINK(\"http://x\")", "::set-env name=A::b",
         "##[error]x", "]]>", "\u202e", "\r\n20 of 20 points", "\ud800", "\x00", "%s%n{0}")
print(*NASTY, sep="\n")
sys.stderr.write("\n".join(NASTY).encode("utf-8", "replace").decode())


class FixedWindow:
    def __init__(self, limit, window):
        pass

    def take(self, key, now):
        kind = type("Exc\x1b[31m<b>\n20/20", (Exception,), {})
        raise kind("\n".join(NASTY))
