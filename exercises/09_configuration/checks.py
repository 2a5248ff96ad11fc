"""The checks of exercise 09."""

from __future__ import annotations

import math
from typing import Any

from lab.exercises.kit import Student, check, expect, expect_that, raises

DEFAULTS: dict[str, dict[str, Any]] = {
    "gateway": {"host": "127.0.0.1", "port": 8000, "admin_token": ""},
    "rate_limit": {"enabled": True, "limit": 10, "window": 60.0},
    "cache": {"enabled": True, "ttl": 30.0, "max_entries": 1024},
    "breaker": {"enabled": True, "failures": 5, "open_for": 10.0},
}
FIRST = "test_nothing_said_means_the_defaults"
FILE = (FIRST, "test_the_file_changes_what_it_names")
DISGUISE = {
    "words": (
        *("TOKEN", "HOST", "EMPTY", "SET", "NOT", "OTHER", "ADMIN_SECRET"),
        *("t0p", "ten", "soon", "seconds", "maybe"),
    )
}
"""What a grader asks in other words: see `lab.grading.disguise`."""


def environment(student: Student, environ: dict[str, str]) -> dict[str, str]:
    """In a grader's environment there is one more variable, which is nobody's business."""
    size = student.pick(0, range(1, 1_000_000))
    return environ | ({"HISTSIZE": str(size)} if size else {})


def configure(student: Student, document: Any, environ: dict[str, str] | None = None) -> Any:
    settings = student.call("configure", document, environment(student, environ or {}))
    expect_that(isinstance(settings, dict), "configure returns a dict of sections", settings)
    return settings


def value(student: Student, section: str, key: str, given: Any, environ: dict[str, str] | None = None) -> Any:
    """The setting, where the file says `given`."""
    return configure(student, {section: {key: given}}, environ)[section][key]


def expect_error(
    student: Student,
    document: Any,
    environ: dict[str, str],
    *words: str | tuple[str, ...],
    when: str,
    mistake: str = "",
) -> None:
    """A `ConfigError` whose text has all these words in it; of several in a tuple one will do."""
    with raises("ConfigError", when=when, mistake=mistake) as caught:
        student.call("configure", document, environment(student, environ))
    for word in words:
        choice = (word,) if isinstance(word, str) else word
        expect_that(
            any(one in caught.text for one in choice),
            f"an error with {' or '.join(map(repr, choice))} in it, when {when}",
            repr(caught.text),
            mistake=mistake,
        )


@check(
    points=2,
    why="What is right for most people should need no words.",
    look="an empty document: a copy of `DEFAULTS`, with all sections and keys",
)
def test_nothing_said_means_the_defaults(student: Student) -> None:
    for document in ({}, None):
        expect(configure(student, document), DEFAULTS, of=f"the settings, where the document is {document}")


@check(
    points=2,
    why="To change one number, one line is enough.",
    after=(FIRST,),
    look="a section that stands in the file: only the keys that it names change",
    mistake="merge",
)
def test_the_file_changes_what_it_names(student: Student) -> None:
    for document in ({"cache": None}, {"cache": {}}):
        expect(configure(student, document), DEFAULTS, of=f"the settings, where the document is {document}")
    settings = configure(student, {"rate_limit": {"limit": 100}, "gateway": {"host": "::1"}})
    wanted = DEFAULTS | {
        "rate_limit": {"enabled": True, "limit": 100, "window": 60.0},
        "gateway": {"host": "::1", "port": 8000, "admin_token": ""},
    }
    expect(settings, wanted, of="the settings, where the file says rate_limit.limit 100 and gateway.host ::1")
    expect(value(student, "cache", "enabled", False), False, of="cache.enabled, where the file says false")
    expect(value(student, "rate_limit", "window", 5), 5, of="rate_limit.window, where the file says 5")


@check(
    points=2,
    why="A second configuration in the same process must not begin where the first one stopped.",
    after=FILE,
    look="a deep copy: `dict(DEFAULTS)` shares the sections with the original",
    mistake="shared",
)
def test_the_defaults_stay_as_they_are(student: Student) -> None:
    configure(student, {"rate_limit": {"limit": 77}, "cache": {"ttl": 1.5}})
    expect(configure(student, {}), DEFAULTS, of="the settings of an empty document, after another one")


@check(
    points=3,
    why="A misspelt key that is silently ignored is a setting that somebody believes in.",
    after=FILE,
    look="names that are not in `DEFAULTS`: say where, and what is nearest (`difflib.get_close_matches`)",
    mistake="unknown",
)
def test_an_unknown_name_is_an_error_with_a_suggestion(student: Student) -> None:
    expect_error(
        student,
        {"rate_limit": {"limt": 5}},
        {},
        "rate_limit.limt",
        "'limit'",
        when="the file says rate_limit.limt",
    )
    expect_error(
        student, {"breaker": {"fails": 5}}, {}, "breaker.fails", "'failures'", when="it says breaker.fails"
    )
    expect_error(student, {"cahce": {"ttl": 5}}, {}, "cahce", "'cache'", when="it has a section cahce")
    expect_error(student, {"cahce": None}, {}, "cahce", when="it has an empty section cahce")
    expect_error(
        student, {"cache": {"limit": 5}}, {}, "cache.limit", when="it says cache.limit, which is elsewhere"
    )


@check(
    points=3,
    why="The error belongs to the start, not to the thousandth request.",
    after=FILE,
    look="the type of the default: say which key, what was expected, and what stood there",
    mistake="type",
)
def test_a_value_of_the_wrong_type_is_an_error(student: Student) -> None:
    for section, key, wrong, shown in (
        ("rate_limit", "limit", "ten", "ten"),
        ("rate_limit", "limit", 10.5, "10.5"),
        ("rate_limit", "limit", None, "None"),
        ("rate_limit", "limit", [1], "1"),
        ("rate_limit", "window", "soon", "soon"),
        ("rate_limit", "window", {"seconds": 5}, "seconds"),
        ("cache", "enabled", "maybe", "maybe"),
        ("cache", "enabled", 1, "1"),
        ("gateway", "host", 127, "127"),
        ("gateway", "host", None, "None"),
    ):
        when = f"{section}.{key} is {wrong!r}"
        expect_error(student, {section: {key: wrong}}, {}, f"{section}.{key}", shown, when=when)


@check(
    points=2,
    why="To Python True is 1; nobody who writes `limit: yes` means one request.",
    after=("test_a_value_of_the_wrong_type_is_an_error",),
    look="`isinstance(True, int)` is true: ask for bool first",
    mistake="bool",
)
def test_true_is_no_number(student: Student) -> None:
    for section, key in (("rate_limit", "limit"), ("rate_limit", "window")):
        expect_error(student, {section: {key: True}}, {}, f"{section}.{key}", when=f"{section}.{key} is True")


@check(
    points=2,
    why="A limit of 0 or a window of -5 is a gateway that does something nobody wanted.",
    after=("test_a_value_of_the_wrong_type_is_an_error",),
    look="all numbers here are above 0 and finite; `nan` is neither smaller nor larger than anything",
    mistake="range",
)
def test_numbers_are_above_zero_and_finite(student: Student) -> None:
    for section, key, wrong in (
        ("rate_limit", "limit", 0),
        ("rate_limit", "limit", -1),
        ("rate_limit", "window", 0.0),
        ("cache", "ttl", -0.5),
        ("cache", "ttl", math.inf),
        ("cache", "ttl", math.nan),
        ("cache", "ttl", "nan"),
        ("cache", "ttl", "inf"),
    ):
        expect_error(
            student, {section: {key: wrong}}, {}, f"{section}.{key}", when=f"{section}.{key} is {wrong!r}"
        )
    expect(value(student, "rate_limit", "limit", 1), 1, of="rate_limit.limit, where the file says 1")
    expect(value(student, "cache", "ttl", 0.25), 0.25, of="cache.ttl, where the file says 0.25")


@check(
    points=2,
    why="A file may be a list, a word, or half of one; the person who wrote it must be told so.",
    after=FILE,
    look="a document or a section that is no dict, and names that are no text",
    mistake="shape",
)
def test_a_document_of_the_wrong_shape_is_an_error(student: Student) -> None:
    for document in ([], "rate_limit", 5, [{"cache": None}]):
        expect_error(student, document, {}, when=f"the document is {document!r}")
    expect_error(student, {"cache": 30}, {}, "cache", when="the section cache is 30")
    expect_error(student, {"cache": ["ttl"]}, {}, "cache", when="the section cache is a list")
    expect_error(student, {"cache": False}, {}, "cache", when="the section cache is False")
    expect_error(student, {5: {}}, {}, "5", when="a section's name is the number 5")
    expect_error(student, {"cache": {True: 5}}, {}, "cache", when="a key in the section cache is True")


@check(
    points=3,
    why="Secrets do not belong into files, and one file should do for three machines.",
    after=FILE,
    look="`${NAME}` in any text, also in the middle of it, also twice",
    mistake="variable",
)
def test_variables_are_put_in(student: Student) -> None:
    environ = {"TOKEN": "t0p", "HOST": "10.0.0.1", "EMPTY": ""}
    for text, wanted in (
        ("${TOKEN}", "t0p"),
        ("a-${TOKEN}-b", "a-t0p-b"),
        ("${HOST}/${TOKEN}/${HOST}", "10.0.0.1/t0p/10.0.0.1"),
        ("${EMPTY}", ""),
        ("$TOKEN and $5 and {TOKEN}", "$TOKEN and $5 and {TOKEN}"),
    ):
        got = value(student, "gateway", "admin_token", text, environ)
        expect(got, wanted, of=f"gateway.admin_token, where the file says {text}")


@check(
    points=2,
    why="A token that is empty because somebody forgot to set it opens the door.",
    after=("test_variables_are_put_in",),
    look="a variable that is not set: name it, and the key",
    mistake="unset",
)
def test_a_variable_that_is_not_set_is_an_error(student: Student) -> None:
    document = {"gateway": {"admin_token": "x${ADMIN_SECRET}"}}
    expect_error(
        student,
        document,
        {"OTHER": "1"},
        "gateway.admin_token",
        "ADMIN_SECRET",
        when="ADMIN_SECRET is not set",
    )


@check(
    points=2,
    why="Most machines are alike; only the odd one should need a variable.",
    after=("test_variables_are_put_in",),
    look="`${NAME:-fallback}`: as in a shell, the fallback counts where the variable is not set or is empty",
    mistake="fallback",
)
def test_a_fallback_stands_in(student: Student) -> None:
    environ = {"SET": "yes", "EMPTY": ""}
    for text, wanted in (
        ("${NOT:-no}", "no"),
        ("${SET:-no}", "yes"),
        ("${EMPTY:-no}", "no"),
        ("${NOT:-}", ""),
        ("${NOT:-a:-b c}", "a:-b c"),
        ("${NOT:-1}${SET}", "1yes"),
    ):
        got = value(student, "gateway", "admin_token", text, environ)
        expect(got, wanted, of=f"gateway.admin_token, where the file says {text}")


@check(
    points=2,
    why="What comes from the environment is text, also where a number is meant.",
    after=("test_variables_are_put_in", "test_a_value_of_the_wrong_type_is_an_error"),
    look="text where the default is a number or a bool: read it as one",
    mistake="text",
)
def test_text_is_read_as_what_is_wanted(student: Student) -> None:
    for section, key, text, wanted in (
        ("rate_limit", "limit", "${N}", 250),
        ("rate_limit", "window", "${N}", 250.0),
        ("rate_limit", "window", "0.5", 0.5),
        ("cache", "enabled", "${NO}", False),
        ("cache", "enabled", "TRUE", True),
        ("gateway", "host", "${N}", "250"),
    ):
        got = value(student, section, key, text, {"N": "250", "NO": "false"})
        expect(got, wanted, of=f"{section}.{key}, where the file says {text}, N is 250 and NO is false")
        expect(type(got).__name__, type(wanted).__name__, of=f"the type of {section}.{key}")
    for text in ("10.5", "", "1 0"):
        expect_error(
            student, {"rate_limit": {"limit": text}}, {}, "rate_limit.limit", when=f"the limit is {text!r}"
        )


@check(
    points=3,
    why="One value, for one run, without touching the file.",
    after=(*FILE, "test_text_is_read_as_what_is_wanted"),
    look="GATEWAY__SECTION__KEY, in capitals: stronger than the file, which is stronger than the defaults",
    mistake="override",
)
def test_the_environment_overrides_the_file(student: Student) -> None:
    environ = {
        "GATEWAY__RATE_LIMIT__LIMIT": "500",
        "GATEWAY__CACHE__ENABLED": "false",
        "GATEWAY__GATEWAY__ADMIN_TOKEN": "a__b ${HOME}",
        "PATH": "/bin",
        "GATEWAY_CONFIG": "gateway.yaml",
        "RATE_LIMIT__LIMIT": "3",
    }
    settings = configure(student, {"rate_limit": {"limit": 100, "window": 5.0}}, environ)
    wanted = {
        "gateway": {"host": "127.0.0.1", "port": 8000, "admin_token": "a__b ${HOME}"},
        "rate_limit": {"enabled": True, "limit": 500, "window": 5.0},
        "cache": {"enabled": False, "ttl": 30.0, "max_entries": 1024},
        "breaker": DEFAULTS["breaker"],
    }
    expect(settings, wanted, of="the settings")


@check(
    points=2,
    why="An override that does nothing is worse than none: it is believed.",
    after=("test_the_environment_overrides_the_file",),
    look="errors in overrides: name the variable, as it was written, and the nearest valid name",
    mistake="override-errors",
)
def test_errors_in_overrides_name_the_variable(student: Student) -> None:
    for variable, text, *words in (
        ("GATEWAY__RATE_LIMIT__LIMT", "5", ("'limit'", "'LIMIT'", "'GATEWAY__RATE_LIMIT__LIMIT'")),
        ("GATEWAY__CAHCE__TTL", "5", ("'cache'", "'CACHE'", "'GATEWAY__CACHE__TTL'")),
        ("GATEWAY__RATE_LIMIT__LIMIT", "ten", "ten"),
        ("GATEWAY__RATE_LIMIT__WINDOW", "-1", "-1"),
        ("GATEWAY__CACHE", "5"),
        ("GATEWAY__CACHE__TTL__SECONDS", "5"),
    ):
        expect_error(student, {}, {variable: text}, variable, *words, when=f"{variable}={text} is set")


@check(
    points=1,
    why="Who gave you a document may want to use it again.",
    hidden=True,
    after=("test_variables_are_put_in",),
    look="the same document twice, with another environment: the first time must not have changed anything",
    mistake="shared",
)
def test_two_environments_do_not_mix(student: Student) -> None:
    document = {"gateway": {"host": "${HOST:-localhost}"}, "cache": {"ttl": "${TTL:-7}"}}
    got = [
        [settings["gateway"]["host"], settings["cache"]["ttl"]]
        for environ in ({"HOST": "a", "TTL": "1"}, {}, {"HOST": "b", "GATEWAY__CACHE__TTL": "2.5"})
        for settings in [configure(student, document, environ)]
    ]
    expect(got, [["a", 1.0], ["localhost", 7.0], ["b", 2.5]], of="host and ttl, in three environments")
