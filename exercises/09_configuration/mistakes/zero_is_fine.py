# rejected by: test_numbers_are_above_zero_and_finite
# recognised as: range
# Refuses negative numbers, and not 0.
from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "gateway": {"host": "127.0.0.1", "port": 8000, "admin_token": ""},
    "rate_limit": {"enabled": True, "limit": 10, "window": 60.0},
    "cache": {"enabled": True, "ttl": 30.0, "max_entries": 1024},
    "breaker": {"enabled": True, "failures": 5, "open_for": 10.0},
}
PREFIX = "GATEWAY__"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line for the person who wrote it."""


def configure(document: Any, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The whole configuration: the defaults, changed by the document, changed by the environment."""
    settings = copy.deepcopy(DEFAULTS)
    for section, values in mapping(document, "the configuration").items():
        known(section, DEFAULTS, f"{section}")
        for key, value in mapping(values, section).items():
            path = f"{section}.{key}"
            known(key, DEFAULTS[section], path)
            settings[section][key] = convert(expand(value, path, environ), DEFAULTS[section][key], path)
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
            known(section, DEFAULTS, variable)
            known(key, DEFAULTS[section], variable)
            settings[section][key] = convert(environ[variable], DEFAULTS[section][key], variable)
    return settings


def mapping(value: Any, path: str) -> dict[Any, Any]:
    """`value` as a mapping; nothing at all is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping of names to values was expected, got {value!r}")
    return value


def known(name: Any, valid: Iterable[str], path: str) -> None:
    """Raise where there is no such name."""
    if name not in valid:
        nearest = difflib.get_close_matches(str(name), valid, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"valid: {', '.join(valid)}"
        raise ConfigError(f"{path}: unknown name; {hint}")


def expand(value: Any, path: str, environ: Mapping[str, str]) -> Any:
    """Text with `${NAME}` and `${NAME:-fallback}` put in; everything else as it is."""

    def variable(match: re.Match[str]) -> str:
        name, fallback = match.groups()
        if fallback is not None:
            return environ.get(name) or str(fallback)
        if name not in environ:
            raise ConfigError(f"{path}: the environment variable {name} is not set")
        return environ[name]

    return VARIABLE.sub(variable, value) if isinstance(value, str) else value


def convert(value: Any, default: Any, path: str) -> Any:
    """`value` in the type of `default`; text is read as what is wanted."""
    try:
        if isinstance(default, bool):
            return value if isinstance(value, bool) else {"true": True, "false": False}[value.lower()]
        if isinstance(default, str):
            return value + ""  # which nothing but text can do
        if isinstance(value, bool) or (isinstance(default, int) and isinstance(value, float)):
            raise ValueError
        number = type(default)(value)
        if not 0 <= number < math.inf:
            raise ValueError
        return number
    except (ValueError, TypeError, KeyError, AttributeError):
        kind = {bool: "true or false", str: "text", int: "a whole number above 0", float: "a number above 0"}
        raise ConfigError(f"{path}: {kind[type(default)]} was expected, got {value!r}") from None
