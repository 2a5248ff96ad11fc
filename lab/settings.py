"""The configuration: one file, overrides from the environment, and errors that name the key.

`load()` reads the file that `GATEWAY_CONFIG` names (JSON or YAML), puts `${NAME}` and `${NAME:-fallback}` in
from the environment, applies overrides such as `GATEWAY__RATE_LIMIT__LIMIT=100`, and checks the result. Each
mistake raises `ConfigError`, one line that says which key, what was expected and the nearest valid key.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from lab.errors import UserError

RESERVED = frozenset({"health", "metrics", "docs", "openapi.json", "admin"})
"""First path segments that belong to the gateway itself."""

BUILT_IN_SERVICES = {
    "service-a": {"url": "http://127.0.0.1:8001", "health": "/health"},
    "service-b": {"url": "http://127.0.0.1:8002", "health": "/health"},
}
BUILT_IN_KEYS = [{"name": "demo", "key": "${LAB_DEMO_KEY:-my-secret-key}", "allow": ["* /**"]}]


class ConfigError(UserError):
    """The configuration cannot be used; the text is one line for the person who wrote it."""

    def __init__(self, text: str) -> None:
        # Names come from a file that may hold anything, line breaks and control characters included.
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


# -- what a value may be -------------------------------------------------------------------------------------


def _no_bool(value: Any) -> Any:
    # YAML's `yes` and JSON's `true` are integers to Python; nobody means `limit: 1` by them.
    if isinstance(value, bool):
        raise ValueError("a number was expected")
    return value


def _none_if_empty(value: Any) -> Any:
    # `token: ${ADMIN_TOKEN:-}` means that there is none, not that the empty token opens the door.
    return None if value == "" else value


def _like(pattern: str, expected: str) -> AfterValidator:
    """Text that matches `pattern`; anything else is told what was expected."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{expected} was expected")
        return value

    return AfterValidator(check)


def check_service_name(name: str) -> None:
    """Raise ValueError where `name` cannot be a service's first path segment."""
    if name in RESERVED:
        raise ValueError("this path is the gateway's own; choose another name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~-]*", name):
        raise ValueError("a service name is made of letters, digits, '-', '.', '_' and '~'")


def _service_name(name: str) -> str:
    check_service_name(name)
    return name


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # brackets that do not close, a port past 65535
        parts, port = urlsplit(""), None
    sane = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not sane or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("an address like http://127.0.0.1:8001 was expected")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("an address without user, query or fragment was expected")
    return value.rstrip("/")


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("an address or a network like 10.0.0.0/8 was expected") from None
    return value


LARGEST = 2**53 - 1
"""The largest whole number that JSON carries exactly everywhere (RFC 8259 §6)."""

Int = Annotated[int, BeforeValidator(_no_bool), Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[int, BeforeValidator(_no_bool), Field(gt=0, le=LARGEST)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=LARGEST)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=1e9, allow_inf_nan=False)]
OptionalSeconds = Annotated[Seconds | None, BeforeValidator(_none_if_empty)]
Percent = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100, allow_inf_nan=False)]
PathGlob = Annotated[str, _like(r"/\S*", "a path pattern like /service-a/**")]
OptionalPath = Annotated[
    Annotated[str, _like(r"/[\x21-\x7e]*", "a path like /health")] | None, BeforeValidator(_none_if_empty)
]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors; a section is never changed, only replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceSettings(Section):
    """A service behind the gateway."""

    url: Annotated[str, AfterValidator(_url)]
    health: OptionalPath = None
    """The path that answers 2xx while the service is well; without one the service is never marked down."""
    timeout: Seconds = 10.0
    """Seconds until the response head, for all attempts together."""
    retries: Count = 1
    """Further attempts after the first."""
    pool: Positive = 100
    """Connections at most."""


class KeySettings(Section):
    """An API key: who may do what."""

    name: Annotated[str, _like(r"[A-Za-z0-9._-]+", "a name of letters, digits, '.', '_' and '-'")]
    key: Annotated[str, Field(min_length=1, repr=False)]
    """The key itself, or `sha256:` and the hex digest of it."""
    allow: list[Annotated[str, _like(r"(\*|[A-Z]+) /\S*", "an entry like 'GET /service-a/**'")]] = ["* /**"]
    """`METHOD path-glob` entries; the key may do what one of them matches."""
    active: bool = True


class AuthSettings(Section):
    enabled: bool = False
    keys: list[KeySettings] = [KeySettings(name="demo", key="my-secret-key")]
    public: list[PathGlob] = ["/health/**"]


class RouteLimit(Section):
    match: PathGlob
    limit: Positive
    window: Seconds = 60.0


class RateLimitSettings(Section):
    enabled: bool = True
    use: str = "sliding_window"
    limit: Positive = 10
    window: Seconds = 60.0
    routes: list[RouteLimit] = []
    max_clients: Positive = 10_000


class CacheSettings(Section):
    enabled: bool = True
    use: str = "http"
    ttl: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1e9, allow_inf_nan=False)] = 30.0
    max_entries: Positive = 1024
    max_body: Count = 1_048_576
    stale_if_error: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1e9, allow_inf_nan=False)] = (
        0.0
    )
    """Seconds that a stored answer may stand in for a service that fails or whose breaker is open, where the
    service does not forbid it."""
    coalesce: bool = True
    """Whether equal misses share one call of the service; without it each asks for itself."""


class FallbackSettings(Section):
    """What is answered in place of a service whose breaker is open."""

    status: Annotated[int, BeforeValidator(_no_bool), Field(ge=200, le=599)] = 503
    content_type: Annotated[str, _like(r"[\x21-\x7e][\x20-\x7e]*", "a media type like application/json")] = (
        "application/json"
    )
    body: str = ""


class BreakerSettings(Section):
    enabled: bool = True
    use: str = "consecutive"
    failures: Positive = 5
    open_for: Seconds = 10.0
    probes: Positive = 3
    window: Positive = 100
    window_seconds: OptionalSeconds = None
    """failure_rate: calls as old as this no longer count; None: only their number bounds the window."""
    minimum_calls: Positive = 20
    failure_percent: Percent = 50.0
    slow_call: Seconds = 5.0
    slow_percent: Percent = 100.0
    fallback: FallbackSettings | None = None
    """A static answer while the breaker is open; without one it is a 503."""


class RetrySettings(Section):
    enabled: bool = True
    use: str = "backoff"
    backoff: Seconds = 0.05
    """The first pause is drawn from 0 to this many seconds, each further one from twice the range."""
    backoff_max: Seconds = 1.0
    budget_percent: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=100)] = 20.0
    """Retries per hundred exchanges of a service, at most."""
    budget_minimum: Count = 100
    """Retries of a service in ten seconds that are allowed however few its exchanges are."""


class BulkheadSettings(Section):
    enabled: bool = True
    use: str = "semaphore"
    max_concurrent: Positive = 1000
    """Exchanges in flight per service; one more is answered 503 at once."""


class LimitsSettings(Section):
    max_body: Count = 10_485_760
    max_message: Positive = 16_777_216
    max_connections: Positive = 2000
    drain: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1e9, allow_inf_nan=False)] = 10.0


class AdminSettings(Section):
    token: OptionalText = None


class Settings(Section):
    """The whole configuration; `Settings()` is the built-in one."""

    services: dict[Annotated[str, AfterValidator(_service_name)], ServiceSettings] = {
        name: ServiceSettings.model_validate(built_in) for name, built_in in BUILT_IN_SERVICES.items()
    }
    auth: AuthSettings = AuthSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    cache: CacheSettings = CacheSettings()
    bulkhead: BulkheadSettings = BulkheadSettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    limits: LimitsSettings = LimitsSettings()
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = []
    admin: AdminSettings = AdminSettings()


SectionName = Literal["auth", "rate_limit", "cache", "bulkhead", "breaker", "retry"]
"""The sections that are policies: what `PUT /admin/policies/{name}` can switch, swap and tune."""


# -- reading -------------------------------------------------------------------------------------------------

MAX_BYTES = 1_048_576
"""Of a configuration file."""
MAX_DEPTH = 20
MAX_VALUES = 100_000
"""A document's size once YAML's aliases are written out."""

_VARIABLE = re.compile(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_PREFIX = "GATEWAY__"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The configuration of this process. Raises `ConfigError`."""
    environ = os.environ if environ is None else environ
    path = environ.get("GATEWAY_CONFIG")
    document = read_file(Path(path)) if path else {}
    return build(document, environ, source=path or "built-in defaults")


def read_file(path: Path) -> dict[str, Any]:
    """The document in a JSON or YAML file. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")  # Windows' editors put a byte order mark in front
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes")
    document = _parse(text, str(path), as_json=path.suffix == ".json")
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a mapping of sections was expected, got {_kind(document)}")
    return document


class _Loader(yaml.SafeLoader):
    """YAML without what loses or multiplies data silently: repeated keys, and merges (`<<`)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            problem = ""
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "'<<' is not supported here; write the keys out"
            elif not isinstance(key_node, yaml.ScalarNode):
                problem = "a key must be a name"
            elif (key := self.construct_object(key_node)) in mapping:
                problem = f"the key '{key!s:.60}' stands twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ConfigError(f"the key '{key:.60}' stands twice")
        mapping[key] = value
    return mapping


def _parse(text: str, source: str, as_json: bool = False) -> Any:
    """The document in `text`. YAML includes JSON, except for details such as tabs."""
    where = ""
    try:
        if as_json and text.strip():
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, _Loader)
    except ConfigError as error:
        reason = str(error)
    except json.JSONDecodeError as error:
        where, reason = f" at line {error.lineno}, column {error.colno}", error.msg
    except yaml.YAMLError as error:
        if mark := getattr(error, "problem_mark", None):
            where = f" at line {mark.line + 1}, column {mark.column + 1}"
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        if mark and any("${" in line for line in text.splitlines()[mark.line : mark.line + 1]):
            reason += "; between { } or [ ] a ${NAME} needs quotes around it"
    except RecursionError:
        reason = "it is nested too deeply"
    except Exception:  # PyYAML lets ValueError, IndexError and more escape, as for 2024-13-45 or !!int ""
        reason = "it holds a value that does not fit its type"
    raise ConfigError(f"{source}: not readable as {'JSON' if as_json else 'YAML or JSON'}{where}: {reason}")


def build(document: dict[str, Any], environ: Mapping[str, str], source: str = "configuration") -> Settings:
    """Settings from a parsed document and an environment. Raises `ConfigError`."""
    expand = _Expansion(environ)
    try:
        document = _inherit(expand(document, ()), environ)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    overridden: dict[tuple[str | int, ...], str] = {}
    for variable in sorted(environ):
        if variable.startswith(_PREFIX):
            overridden[_override(document, variable, environ[variable])] = variable
            document = _inherit(document, environ)
    admin = document.get("admin", {})
    if isinstance(admin, dict) and environ.get("GATEWAY_ADMIN_TOKEN"):
        document["admin"] = {**admin, "token": environ["GATEWAY_ADMIN_TOKEN"]}
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        path = _path(error.errors()[0])
        while path and path not in overridden:
            path = path[:-1]
        raise ConfigError(f"{overridden.get(path, source)}: {describe(error, Settings)}") from None


class _Expansion:
    """Puts the environment into the strings of a document, and checks that it is of sane size and keys."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._values = 0

    def __call__(self, value: Any, path: tuple[str | int, ...]) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ConfigError(f"more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{dotted(path[:3])}: nested too deeply")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ConfigError(f"{dotted(path)}: the key {_shown(key)} is not text; put it in quotes")
            return {key: self(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item, (*path, i)) for i, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        return _VARIABLE.sub(lambda match: self._variable(match, path), value)

    def _variable(self, match: re.Match[str], path: tuple[str | int, ...]) -> str:
        name, fallback = match.groups()
        if name is None:
            raise ConfigError(f"{dotted(path)}: '${{' must go on as ${{NAME}} or ${{NAME:-fallback}}")
        value = self._environ.get(name)
        if fallback is not None:
            return value or cast(str, fallback)
        if value is None:
            hint = f"set it, or write ${{{name}:-fallback}}"
            raise ConfigError(f"{dotted(path)}: the environment variable {name} is not set; {hint}")
        return value


def _inherit(document: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """`document` with what an empty section, a service without address and auth without keys stand for.

    A built-in service keeps its address and its health check where the document only tunes it; one that is
    given an address of its own keeps nothing.
    """
    document = {section: value for section, value in document.items() if value is not None}
    services = document.setdefault("services", dict.fromkeys(BUILT_IN_SERVICES))
    if isinstance(services, dict):
        document["services"] = services = dict(services)
        for name, built_in in BUILT_IN_SERVICES.items():
            given = services.get(name, "absent")
            if given is None or (isinstance(given, dict) and "url" not in given):
                services[name] = {**built_in, **(given or {})}
    auth = document.setdefault("auth", {})
    if isinstance(auth, dict) and "keys" not in auth:
        document["auth"] = {**auth, "keys": _Expansion(environ)(BUILT_IN_KEYS, ("auth", "keys"))}
    return document


def _override(document: dict[str, Any], variable: str, text: str) -> tuple[str | int, ...]:
    """Put one `GATEWAY__…` variable into the document; the value is its path. Raises `ConfigError`."""
    if variable != variable.upper():
        raise ConfigError(f"{variable}: names are written in capitals here: {variable.upper()}")
    path: tuple[str | int, ...] = ()
    at: Any = document
    annotation: Any = Settings
    names = variable.removeprefix(_PREFIX).split("__")
    for i, name in enumerate(names):
        if i > 0:
            if at[path[-1]] is None:
                at[path[-1]] = {}
            at = at[path[-1]]
        key, annotation = _step(variable, name, path, at, annotation)
        path = (*path, key)
        if isinstance(at, dict):
            at.setdefault(key, None)
    at[path[-1]] = text if _is_scalar(annotation) else _Expansion({})(_parse(text, variable), path)
    return path


def _step(
    variable: str, name: str, path: tuple[str | int, ...], at: Any, annotation: Any
) -> tuple[str | int, Any]:
    """One part of an override's name: the key that it means in `at`, and what belongs there."""
    if isinstance(at, list) and get_origin(annotation) is list:
        candidates: dict[str, str | int] = {str(i): i for i in range(len(at))}
        annotation = get_args(annotation)[0]
    elif isinstance(at, dict) and get_origin(annotation) is dict:
        candidates = {re.sub(r"\W", "_", key).upper(): key for key in at}
        annotation = get_args(annotation)[1]
    elif isinstance(at, dict) and (section := _section(annotation)):
        candidates = {key.upper(): key for key in section.model_fields}
        annotation = section.model_fields[name.lower()].annotation if name in candidates else None
    else:
        raise ConfigError(f"{variable}: {dotted(path)} has no keys of its own")
    if name not in candidates:
        wrong = dotted((*path, name.lower()))
        raise ConfigError(f"{variable}: {wrong}: unknown key; {nearest(name, candidates.values())}")
    return candidates[name], annotation


# -- errors --------------------------------------------------------------------------------------------------


def dotted(path: Iterable[str | int]) -> str:
    """`('auth', 'keys', 0, 'name')` → `auth.keys[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part:.60}" if text else f"{part:.60}"
    return text or "(top level)"


def nearest(name: str, candidates: Any) -> str:
    """`did you mean …?` with the candidate that is most alike, or the list of all."""
    candidates = [str(c) for c in candidates]
    match = difflib.get_close_matches(name.lower()[:60], [c.lower() for c in candidates], n=1, cutoff=0.5)
    if match:
        return f"did you mean '{next(c for c in candidates if c.lower() == match[0])}'?"
    return f"valid: {', '.join(candidates)}" if candidates else "there are none here"


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake of a pydantic error, as one line with the key's path."""
    errors = error.errors(include_url=False)
    path = _path(errors[0])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{dotted(path)}: {_mistake(errors[0], path, model)}{more}"


EXPECTED: dict[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": f"a whole number of at most {LARGEST}",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_unicode": "readable text",
    "list_type": "a list",
    "dict_type": "a mapping of names",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "greater_than": "more than {gt:.16g}",
    "greater_than_equal": "at least {ge:.16g}",
    "less_than_equal": "at most {le:.16g}",
    "string_too_short": "text that is not empty",
}
"""What was expected, for each kind of pydantic's errors."""


def _mistake(error: ErrorDetails, path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(path[-1]), _fields_at(model, path[:-1]))}"
    if kind == "missing":
        return "missing; it has no default"
    if error["loc"][-1:] == ("[key]",):
        return error["msg"].removeprefix("Value error, ")
    if kind in EXPECTED:
        message = f"{EXPECTED[kind].format(**error.get('ctx', {}))} was expected"
    else:
        message = error["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
    value = error["input"]
    hidden = _SECRET.intersection(path) or (isinstance(value, str) and "@" in value)
    return f"{message}, got {_kind(value) if hidden or kind in _CONTAINERS else _shown(value)}"


_SECRET = frozenset({"key", "keys", "token"})
"""No value at or below a key of these names is ever shown."""
_CONTAINERS = frozenset({"list_type", "dict_type", "model_type", "model_attributes_type"})


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    # pydantic marks a mistake in a mapping's key by a further part.
    return error["loc"][:-1] if error["loc"][-1:] == ("[key]",) else error["loc"]


def _fields_at(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at `path`."""
    for part in path:
        if section := _section(model):
            field = section.model_fields.get(str(part))
            model = field.annotation if field else None
        else:
            model = (get_args(model) or (None,))[-1]
    section = _section(model)
    return list(section.model_fields) if section else []


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `Section`, `Section | None` or `Annotated[Section, …]`."""
    if get_origin(annotation) is Annotated or get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _section(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _is_scalar(annotation: Any) -> bool:
    """True where a key holds no mapping or list: its override is taken as the text that it is."""
    return _section(annotation) is None and get_origin(annotation) not in (list, dict)


def _kind(value: Any) -> str:
    names = {NoneType: "nothing", bool: "a boolean", int: "a number", float: "a number", str: "text"}
    return {**names, list: "a list", dict: "a mapping"}.get(type(value), "something else")


def _shown(value: Any) -> str:
    """A value the way the file has it, cut short; of lists and mappings the kind only."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a larger one" if value > 0 else "a smaller one"  # Python refuses to print the very large
    if isinstance(value, str | int | float):
        return f"{value!r:.60}"
    return _kind(value)
