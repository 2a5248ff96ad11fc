"""The configuration: what loads, what inherits, what overrides, and how each mistake is told."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.settings import (
    BUILT_IN_SERVICES,
    AuthSettings,
    ConfigError,
    ServiceSettings,
    Settings,
    check_service_name,
    describe,
    dotted,
    load,
    nearest,
    read_file,
)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """A function that writes a configuration file, loads it under an environment, and gives the settings."""

    def write_and_load(text: str | bytes, suffix: str = ".yaml", **environ: str) -> Settings:
        path = tmp_path / f"gateway{suffix}"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load({"GATEWAY_CONFIG": str(path), **environ})

    return write_and_load


@pytest.fixture
def complaint(config: Any) -> Any:
    """The one line that a file and an environment are answered with, without the file's name."""

    def told(text: str | bytes, suffix: str = ".yaml", **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            config(text, suffix, **environ)
        line = str(caught.value)
        assert line.isprintable()
        return line.partition(f"gateway{suffix}: ")[2] or line

    return told


# -- defaults and inheritance --------------------------------------------------------------------------------


def test_without_a_file_the_built_in_configuration_holds() -> None:
    assert load({}) == Settings()


@pytest.mark.parametrize("text", ["", "{}", "cache:\nservices:\ntrusted_proxies:\nauth:\n", "# nothing\n"])
def test_an_empty_file_or_section_means_the_defaults(config: Any, text: str) -> None:
    assert config(text) == Settings()


def test_the_demo_key_comes_from_the_environment() -> None:
    assert load({"LAB_DEMO_KEY": "other"}).auth.keys[0].key == "other"
    assert load({"LAB_DEMO_KEY": ""}).auth.keys[0].key == "my-secret-key"


def test_the_demo_key_stays_where_only_the_rest_of_auth_is_set(config: Any) -> None:
    settings = config("auth: {enabled: true}", LAB_DEMO_KEY="other")
    assert settings.auth.enabled
    assert [key.key for key in settings.auth.keys] == ["other"]
    assert config("auth: {keys: []}").auth.keys == []


def test_a_built_in_service_that_is_only_tuned_keeps_its_address_and_health(config: Any) -> None:
    services = config("services: {service-a: {timeout: 1}, service-b: }").services
    assert services["service-a"] == ServiceSettings(**BUILT_IN_SERVICES["service-a"], timeout=1)
    assert services["service-b"] == ServiceSettings(**BUILT_IN_SERVICES["service-b"])


def test_a_built_in_service_with_its_own_address_inherits_nothing(config: Any) -> None:
    assert config("services: {service-a: {url: 'http://x:1'}}").services["service-a"].health is None


def test_a_map_of_services_replaces_the_built_in_one(config: Any) -> None:
    assert list(config("services: {orders: {url: 'http://x:1/'}}").services) == ["orders"]
    assert config("services: {}").services == {}


def test_an_address_loses_its_last_slash() -> None:
    assert ServiceSettings(url="http://x:1/").url == "http://x:1"


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_json_is_read_whatever_the_file_is_called(config: Any, suffix: str) -> None:
    assert config('{"cache": {"ttl": 5}}', suffix).cache.ttl == 5


def test_json_may_be_indented_by_tabs_and_begin_with_a_byte_order_mark(config: Any) -> None:
    assert config(b'\xef\xbb\xbf{\n\t"cache": {\n\t\t"ttl": 5}}', ".json").cache.ttl == 5


# -- the environment -----------------------------------------------------------------------------------------


def test_variables_are_put_into_strings(config: Any) -> None:
    text = "services: {a: {url: 'http://${HOST}:${PORT:-80}', timeout: '${T}'}}"
    service = config(text, HOST="example", T="2.5").services["a"]
    assert service == ServiceSettings(url="http://example:80", timeout=2.5)


def test_an_empty_variable_takes_the_fallback_but_is_set(config: Any) -> None:
    text = "services: {a: {url: 'http://x/${A}y${B:-z}'}}"
    assert config(text, A="", B="").services["a"].url == "http://x/yz"


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("GATEWAY__RATE_LIMIT__LIMIT", "100", "rate_limit.limit", 100),
        ("GATEWAY__CACHE__TTL", "1e-2", "cache.ttl", 0.01),
        ("GATEWAY__AUTH__ENABLED", "true", "auth.enabled", True),
        ("GATEWAY__CACHE__MAX_BODY", "010", "cache.max_body", 10),
        ("GATEWAY__ADMIN__TOKEN", "1234", "admin.token", "1234"),
        ("GATEWAY__ADMIN__TOKEN", "", "admin.token", None),
        ("GATEWAY_ADMIN_TOKEN", "null", "admin.token", "null"),
        ("GATEWAY__TRUSTED_PROXIES", "[10.0.0.0/8]", "trusted_proxies", ["10.0.0.0/8"]),
        ("GATEWAY__RATE_LIMIT", "{limit: 3}", "rate_limit.limit", 3),
        ("GATEWAY__CACHE", "null", "cache.ttl", 30.0),
        ("GATEWAY__BREAKER__FALLBACK__STATUS", "200", "breaker.fallback.status", 200),
    ],
)
def test_any_value_can_be_overridden(variable: str, text: str, path: str, value: object) -> None:
    found: Any = load({variable: text})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_an_override_of_a_built_in_service_changes_that_key_only() -> None:
    services = load({"GATEWAY__SERVICES__SERVICE_A__URL": "http://127.0.0.1:9001"}).services
    assert services["service-a"] == ServiceSettings(url="http://127.0.0.1:9001", health="/health")
    assert services["service-b"] == Settings().services["service-b"]


def test_an_override_of_a_built_in_service_that_the_file_tunes(config: Any) -> None:
    override = {"GATEWAY__SERVICES__SERVICE_A__URL": "http://127.0.0.1:9001"}
    service = config("services: {service-a: {timeout: 1}}", **override).services["service-a"]
    assert service == ServiceSettings(url="http://127.0.0.1:9001", health="/health", timeout=1)


def test_an_override_of_a_service_that_the_file_adds(config: Any) -> None:
    override = {"GATEWAY__SERVICES__MY_ORDERS__TIMEOUT": "3"}
    assert config("services: {my-orders: {url: 'http://x'}}", **override).services["my-orders"].timeout == 3


def test_a_key_of_the_list_is_overridden_by_its_position() -> None:
    assert load({"GATEWAY__AUTH__KEYS__0__KEY": "other"}).auth.keys[0].key == "other"


def test_a_section_is_overridden_before_its_keys() -> None:
    cache = load({"GATEWAY__CACHE__MAX_BODY": "4", "GATEWAY__CACHE": "{ttl: 3, max_body: 5}"}).cache
    assert (cache.ttl, cache.max_body) == (3, 4)


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("GATEWAY__CACHE__TLT", "1", "GATEWAY__CACHE__TLT: cache.tlt: unknown key; did you mean 'ttl'?"),
        ("GATEWAY__CACHE__TTL__X", "1", "GATEWAY__CACHE__TTL__X: cache.ttl has no keys of its own"),
        ("GATEWAY__CACHE__TTL", "ten", "GATEWAY__CACHE__TTL: cache.ttl: a number was expected, got 'ten'"),
        (
            "GATEWAY__cache__ttl",
            "1",
            "GATEWAY__cache__ttl: names are written in capitals here: GATEWAY__CACHE__TTL",
        ),
        (
            "GATEWAY__SERVICES__SERVICE_C__URL",
            "http://x",
            "GATEWAY__SERVICES__SERVICE_C__URL: services.service_c: unknown key; did you mean 'service-b'?",
        ),
        (
            "GATEWAY__AUTH__KEYS__1__KEY",
            "s3cret",
            "GATEWAY__AUTH__KEYS__1__KEY: auth.keys.1: unknown key; valid: 0",
        ),
    ],
)
def test_an_override_that_cannot_be_used_stops_the_start(variable: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({variable: text})
    assert str(caught.value) == line


@pytest.mark.parametrize("variable", ["GATEWAY__", "GATEWAY____", "GATEWAY__CACHE__", "GATEWAY____CACHE"])
def test_an_override_without_a_name_stops_the_start(variable: str) -> None:
    with pytest.raises(ConfigError, match="unknown key; valid: "):
        load({variable: "1"})


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ratelimit: 1", "ratelimit: unknown key; did you mean 'rate_limit'?"),
        ("rate_limit: {limits: 5}", "rate_limit.limits: unknown key; did you mean 'limit'?"),
        (
            "rate_limit: {routes: [{match: /a, limit: 1, windw: 3}]}",
            "rate_limit.routes[0].windw: unknown key; did you mean 'window'?",
        ),
        (
            "services: {o: {url: 'http://x', timout: 3}}",
            "services.o.timout: unknown key; did you mean 'timeout'?",
        ),
        (
            "breaker: {fallback: {stat: 3}}",
            "breaker.fallback.stat: unknown key; did you mean 'status'?",
        ),
        ("rate_limit: {limit: ten}", "rate_limit.limit: a whole number was expected, got 'ten'"),
        ("rate_limit: {limit: 1.5}", "rate_limit.limit: a whole number was expected, got 1.5"),
        ("rate_limit: {limit: true}", "rate_limit.limit: a number was expected, got true"),
        ("rate_limit: {limit: }", "rate_limit.limit: a whole number was expected, got nothing"),
        ("rate_limit: {limit: -1}", "rate_limit.limit: more than 0 was expected, got -1"),
        ("rate_limit: [1]", "rate_limit: a mapping of keys was expected, got a list"),
        ("rate_limit: {routes: 3}", "rate_limit.routes: a list was expected, got a number"),
        ("cache: {ttl: .inf}", "cache.ttl: at most 1000000000 was expected, got inf"),
        ("cache: {ttl: .nan}", "cache.ttl: at least 0 was expected, got nan"),
        ("cache: {enabled: maybe}", "cache.enabled: true or false was expected, got 'maybe'"),
        ("services: {o: {}}", "services.o.url: missing; it has no default"),
        (
            "services: {health: {url: 'http://x'}}",
            "services.health: this path is the gateway's own; choose another name",
        ),
        (
            "services: {'a/b': {url: 'http://x'}}",
            "services.a/b: a service name is made of letters, digits, '-', '.', '_' and '~'",
        ),
        ("services: 3", "services: a mapping of names was expected, got a number"),
        (
            "trusted_proxies: [1.2.3]",
            "trusted_proxies[0]: an address or a network like 10.0.0.0/8 was expected, got '1.2.3'",
        ),
        (
            "auth: {public: [health]}",
            "auth.public[0]: a path pattern like /service-a/** was expected, got 'health'",
        ),
        (
            "cache: {a: 1, b: 2}\nc: 3",
            "cache.a: unknown key; valid: enabled, use, ttl, max_entries, max_body, stale_if_error, coalesce"
            " (and 2 more)",
        ),
        (
            "cache: {ttl: '${NOPE}'}",
            "cache.ttl: the environment variable NOPE is not set; set it, or write ${NOPE:-fallback}",
        ),
        ("cache: {ttl: '${A-5}'}", "cache.ttl: '${' must go on as ${NAME} or ${NAME:-fallback}"),
        ("1: 2", "(top level): the key 1 is not text; put it in quotes"),
        ("cache: {on: 2}", "cache: the key true is not text; put it in quotes"),
        ("- a", "a mapping of sections was expected, got a list"),
        ("a: &a [*a]", "a[0][0]: nested too deeply"),
    ],
)
def test_a_mistake_names_the_key_what_was_expected_and_what_came(
    complaint: Any, text: str, line: str
) -> None:
    assert complaint(text) == line


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "http://",
        "http://x:0",
        "http://x:99999",
        "http://[::1",
        "http://x y",
        "http://x\ny",
        "http://x?q",
        "http://x#f",
    ],
)
def test_an_address_must_be_one_that_can_be_dialled(complaint: Any, url: str) -> None:
    assert complaint(json.dumps({"services": {"a": {"url": url}}})).startswith("services.a.url: an address ")


@pytest.mark.parametrize(
    "text",
    [
        "auth: {keys: [hunter2]}",
        "auth: {keys: hunter2}",
        "auth: {keys: [{name: a, key: [hunter2]}]}",
        "auth: {keys: [{name: a, key: {hunter2: 1}}]}",
        "auth: {keys: [{name: 'hunter2 ', key: x}]}",
        "auth: hunter2",
        "admin: hunter2",
        "admin: {token: [hunter2]}",
        "services: {a: {url: 'http://user:hunter2@host'}}",
        "auth: {keys: [{name: a, key: '${hunter2'}]}",
    ],
)
def test_a_secret_is_never_repeated(complaint: Any, text: str) -> None:
    assert "hunter2" not in complaint(text)


@pytest.mark.parametrize(
    ("text", "suffix", "part"),
    [
        ("[", ".yaml", "not readable as YAML or JSON at line 1, column 2: "),
        ("{", ".json", "not readable as JSON at line 1, column 2: "),
        ("cache: {ttl: 1, ttl: 2}", ".yaml", "at line 1, column 17: the key 'ttl' stands twice"),
        ('{"cache": {"ttl": 1, "ttl": 2}}', ".yaml", "the key 'ttl' stands twice"),
        ('{"cache": {"ttl": 1, "ttl": 2}}', ".json", "the key 'ttl' stands twice"),
        ("? [a]\n: 1", ".yaml", "a key must be a name"),
        ("cache: {ttl: ${TTL:-5}}", ".yaml", "between { } or [ ] a ${NAME} needs quotes around it"),
        ("cache:\n  ttl: ${TTL:-5}\n[", ".yaml", "at line 3, column 1"),
        ("a: &a {x: 1}\ncache:\n  <<: *a", ".yaml", "'<<' is not supported here"),
        ("x: !!python/object:os.system x", ".yaml", "could not determine a constructor"),
        ("a: 2024-13-45", ".yaml", "a value that does not fit its type"),
        ('a: !!int ""', ".yaml", "a value that does not fit its type"),
        ("[" * 5000, ".yaml", "nested too deeply"),
        ("[" * 100_000, ".json", "nested too deeply"),
        ("cache: {ttl: " + "9" * 5000 + "}", ".yaml", "a value that does not fit its type"),
        ("cache: {max_body: 0x" + "f" * 9000 + "}", ".yaml", "at most 9007199254740991 was expected"),
        ('{"cache": {"ttl": NaN}}', ".json", "at least 0 was expected, got nan"),
        ('{"cache": {"ttl": 1e999}}', ".json", "at most 1000000000 was expected, got inf"),
        (b"\xff\xfe", ".yaml", "is not UTF-8 text"),
        ("a: \x00", ".yaml", "special characters are not allowed"),
        ('"a\\nb": 1', ".yaml", r"a\nb: unknown key"),
        ('{"\\ud800": 1}', ".json", "readable text was expected"),
        ("#" * 1_100_000, ".yaml", "is larger than 1048576 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    complaint: Any, text: str | bytes, suffix: str, part: str
) -> None:
    assert part in complaint(text, suffix)


def test_aliases_that_multiply_are_stopped(complaint: Any) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert complaint("a0: &a0 [1]\n" + "\n".join(levels)) == "more than 100000 values"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError) as caught:
        load({"GATEWAY_CONFIG": str(missing)})
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: "):
        read_file(tmp_path)


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_names = (
    st.sampled_from([*Settings.model_fields, *AuthSettings.model_fields, "service-a", "url", "limit"])
    | st.text()
)
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)


def outcome(environ: dict[str, str]) -> Settings | str:
    """The settings, or the line that an environment is answered with; another exception fails the test."""
    try:
        return load(environ)
    except ConfigError as error:
        return str(error)


@given(document=_documents)
@example(document={"services": {"service-a": {"url": "http://[/"}}})
@example(document={"rate_limit": {"limit": 10**4000}})
def test_any_json_document_loads_or_is_answered_with_one_line(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        found = outcome({"GATEWAY_CONFIG": str(path)})
    assert isinstance(found, Settings) or (found.startswith(f"{path}: ") and found.isprintable())


@given(
    name=st.from_regex(r"[A-Z0-9_]{0,12}(__[A-Z0-9_]{0,8}){0,2}", fullmatch=True)
    | st.sampled_from([f"{section.upper()}__ENABLED" for section in Settings.model_fields]),
    text=st.text(max_size=20),
)
def test_any_override_loads_or_is_answered_with_one_line(name: str, text: str) -> None:
    found = outcome({f"GATEWAY__{name}": text})
    assert isinstance(found, Settings) or (found.startswith(f"GATEWAY__{name}: ") and found.isprintable())


# -- the pieces that others use ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["health", "metrics", "docs", "openapi.json", "admin", "", "a/b", "-a", "ä", "a b"]
)
def test_names_that_no_service_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_service_name(name)


def test_dotted_paths() -> None:
    assert dotted(("auth", "keys", 0, "name")) == "auth.keys[0].name"
    assert dotted(()) == "(top level)"


def test_the_nearest_name_or_all_of_them() -> None:
    assert nearest("windw", ["limit", "window"]) == "did you mean 'window'?"
    assert nearest("zzz", ["limit", "window"]) == "valid: limit, window"
    assert nearest("zzz", []) == "there are none here"


def test_describe_knows_the_keys_of_the_model_that_was_asked() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is looked at
        AuthSettings.model_validate({"keys": [{"name": "a", "key": "b", "alow": []}]})
    assert describe(caught.value, AuthSettings) == "keys[0].alow: unknown key; did you mean 'allow'?"  # type: ignore[arg-type]
