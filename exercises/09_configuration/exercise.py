"""Exercise 09, configuration and its errors: tell people what is wrong before it goes wrong. README.md has the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "gateway": {"host": "127.0.0.1", "port": 8000, "admin_token": ""},
    "rate_limit": {"enabled": True, "limit": 10, "window": 60.0},
    "cache": {"enabled": True, "ttl": 30.0, "max_entries": 1024},
    "breaker": {"enabled": True, "failures": 5, "open_for": 10.0},
}
"""Section → key → value: all that there is, and of which type it is."""

PREFIX = "GATEWAY__"
"""How an environment variable begins that overrides a key: GATEWAY__RATE_LIMIT__LIMIT."""


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line for the person who wrote it."""


def configure(document: Any, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The whole configuration: the defaults, changed by the document, changed by the environment.

    `document` is what was read from the file: a dict of sections if all is well, None for an empty file, and
    anything else that YAML can hold if not. Raises `ConfigError`, and nothing else.
    """
    # TODO
    raise NotImplementedError
