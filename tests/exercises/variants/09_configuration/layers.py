"""Three layers of the same form, laid over each other; each value remembers where it comes from."""

import copy
import difflib
import math
import re

DEFAULTS = {
    "gateway": {"host": "127.0.0.1", "port": 8000, "admin_token": ""},
    "rate_limit": {"enabled": True, "limit": 10, "window": 60.0},
    "cache": {"enabled": True, "ttl": 30.0, "max_entries": 1024},
    "breaker": {"enabled": True, "failures": 5, "open_for": 10.0},
}


class ConfigError(Exception):
    pass


def layers(document, environ):
    if document is not None and type(document) is not dict:
        raise ConfigError(f"a mapping was expected and not {document}")
    for section in document or {}:
        check(section, DEFAULTS, section)
        inner = document[section]
        if inner is None:
            continue
        if type(inner) is not dict:
            raise ConfigError(f"{section}: a mapping was expected and not {inner}")
        for key, value in inner.items():
            where = f"{section}.{key}"
            check(key, DEFAULTS[section], where)
            yield section, key, where, substitute(value, where, environ) if type(value) is str else value
    overrides = {
        f"GATEWAY__{section}__{key}".upper(): (section, key)
        for section in DEFAULTS
        for key in DEFAULTS[section]
    }
    for name, value in environ.items():
        if name.startswith("GATEWAY__"):
            check(name, overrides, name)
            yield *overrides[name], name, value


def check(name, valid, where):
    if name not in valid:
        raise ConfigError(
            f"{where}: is there '{(difflib.get_close_matches(str(name), valid) or list(valid))[0]}'?"
        )


def substitute(text, where, environ):
    result = ""
    while found := re.search(r"\$\{([A-Za-z0-9_]+)(:-)?([^}]*)\}", text):
        name, fallback, instead = found.groups()
        put = environ.get(name, None)
        if fallback and not put:
            put = instead
        if put is None:
            raise ConfigError(f"{where}: {name} is not set")
        result, text = result + text[: found.start()] + put, text[found.end() :]
    return result + text


def boolean(value):
    if value in (True, False) and type(value) is bool:
        return value
    return ["false", "true"].index(value.lower()) == 1


def text(value):
    if type(value) is not str:
        raise ValueError
    return value


def whole(value):
    if type(value) not in (int, str) or int(value) < 1:
        raise ValueError
    return int(value)


def number(value):
    if type(value) is bool or not math.isfinite(float(value)) or float(value) <= 0:
        raise ValueError
    return float(value)


READ = {bool: boolean, str: text, int: whole, float: number}


def configure(document, environ):
    settings = copy.deepcopy(DEFAULTS)
    for section, key, where, value in layers(document, environ):
        kind = type(DEFAULTS[section][key])
        try:
            settings[section][key] = READ[kind](value)
        except Exception:
            raise ConfigError(f"{where}: {kind.__name__} was expected, and not {value}") from None
    return settings
