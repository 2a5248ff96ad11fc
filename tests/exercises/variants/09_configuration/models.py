"""A pydantic model for each section, whose complaints are translated."""

import difflib
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


class ConfigError(Exception):
    pass


def no_bool(value):
    if isinstance(value, bool):
        raise ValueError("a number was expected")
    return value


def only_words(value):
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
        return value
    raise ValueError("true or false was expected")


Whole = Annotated[int, BeforeValidator(no_bool), Field(gt=0)]
Number = Annotated[float, BeforeValidator(no_bool), Field(gt=0, allow_inf_nan=False)]
Switch = Annotated[bool, BeforeValidator(only_words)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Gateway(Part):
    host: str = "127.0.0.1"
    port: Whole = 8000
    admin_token: str = ""


class RateLimit(Part):
    enabled: Switch = True
    limit: Whole = 10
    window: Number = 60.0


class Cache(Part):
    enabled: Switch = True
    ttl: Number = 30.0
    max_entries: Whole = 1024


class Breaker(Part):
    enabled: Switch = True
    failures: Whole = 5
    open_for: Number = 10.0


PARTS = {"gateway": Gateway, "rate_limit": RateLimit, "cache": Cache, "breaker": Breaker}


def part(name, values, where=""):
    """`where`, where it is given, names the place for a person."""
    try:
        return PARTS[name](**values).model_dump()
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise ConfigError(f"{name}: a name must be text: {error}") from None
        first = error.errors()[0]
        key = str(first["loc"][0])
        hint = "".join(f"; did you mean '{near}'?" for near in suggestions(key, PARTS[name].model_fields))
        raise ConfigError(
            f"{where or f'{name}.{key}'}: {first['msg']}, got {first['input']!r}{hint}"
        ) from None


def suggestions(name, valid):
    return [] if name in valid else difflib.get_close_matches(str(name), list(valid), 1)


def section(name, where):
    if name not in PARTS:
        raise ConfigError(
            f"{where}: no such section{''.join(f', did you mean {n!r}?' for n in suggestions(name, PARTS))}"
        )


def configure(document, environ):
    def put(match):
        found = environ.get(match["name"])
        if match["default"] is not None:
            return found or match["default"]
        if found is None:
            raise ConfigError(f"{here}: {match['name']} is not set")
        return found

    document = {} if document is None else document
    if not isinstance(document, dict):
        raise ConfigError("this is no mapping")
    given = {name: {} for name in PARTS}
    for name, values in document.items():
        section(name, name)
        if not isinstance(values, dict | None):
            raise ConfigError(f"{name}: this is no mapping")
        for key, value in (values or {}).items():
            here = f"{name}.{key}"
            if isinstance(value, str):
                value = re.sub(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}", put, value)
            given[name][key] = value
        part(name, given[name])
    for variable, value in environ.items():
        if variable.startswith("GATEWAY__"):
            name, _, key = variable[len("GATEWAY__") :].lower().partition("__")
            section(name, variable)
            part(name, {key: value}, variable)
            given[name][key] = value
    return {name: part(name, given[name]) for name in PARTS}
