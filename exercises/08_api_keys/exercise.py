"""Exercise 08, API keys and permissions: who is asking, and may they? README.md has the task."""

from __future__ import annotations

from typing import Any

from lab.model import Exchange, Handler, Response, problem


def matches(glob: str, path: str) -> bool:
    """Whether the path is one of those that the glob means.

    `*` stands for any characters within a segment, none too. A last segment `**` stands for any rest, none
    too: `/a/**` means `/a` and everything below it. All other characters mean themselves.
    """
    # TODO
    raise NotImplementedError


class Authentication:
    """Who is asking (401), and may they (403)?"""

    def __init__(self, keys: list[dict[str, Any]], public: list[str]) -> None:
        """`keys`, such as {"name": "ada", "key": "my-secret-key", "allow": ["GET /a/**", "* /b/*"]}.

        `allow` holds entries "METHOD glob", where the method may be `*`. A key with "active": False counts as
        unknown; where nothing is said it is active. `public`: globs of paths for which nobody needs a key.
        """
        # TODO

    async def __call__(self, exchange: Exchange, call_next: Handler) -> Response:
        """Answer one request; `await call_next(exchange)` sends it on.

        Of an exchange you need `method`, `path` (text), `headers`, a list of (name in lower case, value), both
        bytes, and `identity`, which you set. `problem(status, name, detail, headers=[…])` makes an error.
        """
        # TODO
        raise NotImplementedError
