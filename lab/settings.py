"""The configuration: one file, overrides from the environment, and errors that name the key.

`load()` reads the file that `GATEWAY_CONFIG` names (JSON or YAML), puts `${NAME}` and `${NAME:-fallback}` in
from the environment, applies overrides such as `GATEWAY__RATE_LIMIT__LIMIT=100`, and checks the result. Each
mistake raises `ConfigError`, one line that says which key, what was expected and the nearest valid key.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

RESERVED = frozenset({"health", "metrics", "docs", "openapi.json", "admin"})
"""First path segments that belong to the gateway itself."""

BUILT_IN: dict[str, dict[str, Any]] = {
    "service-a": {"url": "http://127.0.0.1:8001", "health": "/health"},
    "service-b": {"url": "http://127.0.0.1:8002", "health": "/health"},
}


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line for the person who wrote it."""


def _no_bool(value: Any) -> Any:
    # YAML's `yes` and JSON's `true` are integers to Python; nobody means `limit: 1` by them.
    if isinstance(value, bool):
        raise ValueError("a number was expected, not a boolean")
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Positive = Annotated[int, BeforeValidator(_no_bool), Field(gt=0)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors; a section is never changed, only replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceSettings(Section):
    """A service behind the gateway."""

    url: str
    health: str | None = None
    """The path that answers 2xx while the service is well; without one the service is never marked down."""
    timeout: Seconds = 10.0
    """Seconds until the response head, for all attempts together."""
    retries: Count = 1
    """Further attempts after the first."""
    pool: Positive = 100
    """Connections at most."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address like http://127.0.0.1:8001 was expected")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("an address without user, query or fragment was expected")
        _ = parts.port  # raises ValueError past 65535
        return value.rstrip("/")

    @field_validator("health")
    @classmethod
    def _health(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"/[\x21-\x7e]*", value):
            raise ValueError("a path like /health was expected")
        return value


class KeySettings(Section):
    """An API key: who may do what."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")]
    key: Annotated[str, Field(min_length=1)]
    """The key itself, or `sha256:` and the hex digest of it."""
    allow: list[Annotated[str, Field(pattern=r"^(\*|[A-Z]+) /\S*$")]] = ["* /**"]
    """`METHOD path-glob` entries; the key may do what one of them matches."""
    active: bool = True


class AuthSettings(Section):
    enabled: bool = False
    keys: list[KeySettings] = [KeySettings(name="demo", key="my-secret-key")]
    public: list[Annotated[str, Field(pattern=r"^/\S*$")]] = ["/health/**"]


class RouteLimit(Section):
    match: Annotated[str, Field(pattern=r"^/\S*$")]
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
    ttl: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)] = 30.0
    max_entries: Positive = 1024
    max_body: Count = 1_048_576


class BreakerSettings(Section):
    enabled: bool = True
    use: str = "consecutive"
    failures: Positive = 5
    open_for: Seconds = 10.0
    probes: Positive = 3
    window: Positive = 100
    minimum_calls: Positive = 20
    failure_percent: Percent = 50.0
    slow_call: Seconds = 5.0
    slow_percent: Percent = 100.0


class RetrySettings(Section):
    enabled: bool = True
    use: str = "backoff"
    backoff: Seconds = 0.05
    """The first pause is drawn from 0 to this many seconds, each further one from twice the range."""
    backoff_max: Seconds = 1.0
    budget_percent: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=100)] = 20.0
    """Retries per hundred exchanges of a service, at most."""


class BulkheadSettings(Section):
    enabled: bool = True
    use: str = "semaphore"
    max_concurrent: Positive = 1000
    """Exchanges in flight per service; one more is answered 503 at once."""


class LimitsSettings(Section):
    max_body: Count = 10_485_760
    max_message: Positive = 16_777_216
    max_connections: Positive = 2000
    drain: Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)] = 10.0


class AdminSettings(Section):
    token: str | None = None


class Settings(Section):
    """The whole configuration; `Settings()` is the built-in one."""

    services: dict[str, ServiceSettings] = {name: ServiceSettings(**s) for name, s in BUILT_IN.items()}
    auth: AuthSettings = AuthSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    cache: CacheSettings = CacheSettings()
    bulkhead: BulkheadSettings = BulkheadSettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    limits: LimitsSettings = LimitsSettings()
    trusted_proxies: list[str] = []
    admin: AdminSettings = AdminSettings()

    @field_validator("services")
    @classmethod
    def _names(cls, value: dict[str, ServiceSettings]) -> dict[str, ServiceSettings]:
        for name in value:
            check_service_name(name)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network, strict=False)
        return value


def check_service_name(name: str) -> None:
    """Raise ValueError where `name` cannot be a service's first path segment."""
    if name in RESERVED:
        raise ValueError(f"'{name}' is a path of the gateway itself; choose another name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~-]*", name):
        raise ValueError(f"'{name}' is no service name: letters, digits, '-', '.', '_' and '~' only")


# -- reading -------------------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PREFIX = "GATEWAY__"
BUILT_IN_KEY = "${LAB_DEMO_KEY:-my-secret-key}"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The configuration of this process. Raises `ConfigError`."""
    environ = os.environ if environ is None else environ
    path = environ.get("GATEWAY_CONFIG")
    document = read_file(Path(path)) if path else {}
    return build(document, environ, source=path or "built-in defaults")


def read_file(path: Path) -> dict[str, Any]:
    """The document in a JSON or YAML file. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    try:
        document = yaml.load(text, _Loader)  # a subclass of SafeLoader; JSON is a subset of YAML
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ConfigError(f"{path}: not readable as YAML or JSON{where}: {reason}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a mapping of sections was expected, got {_kind(document)}")
    return document


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


def build(document: dict[str, Any], environ: Mapping[str, str], source: str = "configuration") -> Settings:
    """Settings from a parsed document and an environment. Raises `ConfigError`."""
    document = _expand(document, environ, ())
    _inherit(document)
    for name in sorted(environ):
        if name.startswith(_PREFIX):
            _override(document, name, environ[name])
    if token := environ.get("GATEWAY_ADMIN_TOKEN"):
        admin = document.setdefault("admin", {})
        if isinstance(admin, dict):
            admin["token"] = token
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe(error, Settings)}") from None


def _expand(value: Any, environ: Mapping[str, str], path: tuple[str | int, ...]) -> Any:
    """`value` with every `${NAME}` in its strings replaced."""
    if isinstance(value, dict):
        return {str(k): _expand(v, environ, (*path, str(k))) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, environ, (*path, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, fallback = match.groups()
        if environ.get(name) or (name in environ and fallback is None):
            return environ[name]
        if fallback is not None:
            return cast(str, fallback)
        raise ConfigError(f"{dotted(path)}: the environment variable {name} is not set; set it, or write ${{{name}:-fallback}}")

    return _VARIABLE.sub(replace, value)


def _inherit(document: dict[str, Any]) -> None:
    """The built-in services keep their address where the file only tunes them, and auth its built-in key."""
    services = document.get("services")
    if isinstance(services, dict):
        for name, built_in in BUILT_IN.items():
            given = services.get(name)
            if given is None and name in services:
                given = {}
            if isinstance(given, dict) and "url" not in given:
                services[name] = built_in | given


def _override(document: dict[str, Any], variable: str, text: str) -> None:
    """Put one `GATEWAY__…` variable into the document. Raises `ConfigError` where it names no key."""
    names = [part.lower() for part in variable.removeprefix(_PREFIX).split("__")]
    model: Any = Settings
    at: dict[str, Any] = document
    path: list[str] = []
    for i, name in enumerate(names):
        last = i == len(names) - 1
        if isinstance(model, type) and issubclass(model, Section):
            fields = model.model_fields
            if name not in fields:
                raise ConfigError(_unknown(variable, (*path, name), fields))
            key, annotation = name, fields[name].annotation
        elif get_origin(model) is dict:
            if path == ["services"] and "services" not in document:
                document["services"] = at = {k: dict(v) for k, v in BUILT_IN.items()}
            known = {k.lower().replace("-", "_"): k for k in at}
            if name not in known:
                raise ConfigError(_unknown(variable, (*path, name), list(at)))
            key, annotation = known[name], get_args(model)[1]
        else:
            raise ConfigError(f"{variable}: {dotted(path)} has no keys of its own")
        path.append(key)
        if last:
            at[key] = _parse(variable, text, annotation)
            return
        if at.get(key) is None:
            at[key] = {}
        if not isinstance(at[key], dict):
            raise ConfigError(f"{variable}: {dotted(path)} is no section")
        at, model = at[key], annotation


def _parse(variable: str, text: str, annotation: Any) -> Any:
    # Text stays text where the key wants text ("1234" may be a token); elsewhere it is read like the file.
    options = get_args(annotation) or (annotation,)
    if annotation is str or (str in options and get_origin(annotation) not in (list, dict)):
        return text
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"{variable}: the value is not readable as YAML or JSON") from None


# -- errors --------------------------------------------------------------------------------------------------


def dotted(path: tuple[str | int, ...] | list[str]) -> str:
    """`('auth', 'keys', 0, 'name')` → `auth.keys[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(top level)"


def nearest(name: str, candidates: Any) -> str:
    """`did you mean …?` with the candidate that is most alike, or the list of all."""
    candidates = [str(c) for c in candidates]
    match = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], n=1, cutoff=0.5)
    if match:
        return f"did you mean '{next(c for c in candidates if c.lower() == match[0])}'?"
    return f"valid: {', '.join(candidates)}"


def _unknown(source: str, path: tuple[str | int, ...], fields: Any) -> str:
    return f"{source}: {dotted(path)}: unknown key; {nearest(str(path[-1]), fields)}"


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake of a pydantic error, as one line with the key's path."""
    errors = error.errors(include_url=False)
    first = errors[0]
    path = tuple(p for p in first["loc"] if p not in ("str", "int"))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{dotted(path)}: unknown key; {nearest(str(path[-1]), _fields_at(model, path[:-1]))}{more}"
    if first["type"] == "missing":
        return f"{dotted(path)}: missing; it has no default{more}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    shown = "" if _secret(path) or first["type"].startswith("model") else f", got {first['input']!r:.80}"
    return f"{dotted(path)}: {message}{shown}{more}"


def _secret(path: tuple[str | int, ...]) -> bool:
    return bool(path) and path[-1] in ("key", "token", "keys")


def _fields_at(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at `path`."""
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        else:
            arguments = get_args(model)
            model = arguments[-1] if arguments else None
    if get_origin(model) is Annotated:
        model = get_args(model)[0]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _kind(value: Any) -> str:
    return {list: "a list", str: "text", int: "a number", float: "a number", bool: "a boolean"}.get(type(value), "something else")


SectionName = Literal["auth", "rate_limit", "cache", "bulkhead", "breaker", "retry"]
"""The sections that are policies: what `PUT /admin/policies/{name}` can switch, swap and tune."""
