"""Reading the fields that caching depends on: the edges that no whole request comes near."""

from __future__ import annotations

import pytest

from lab.model import Exchange
from lab.policies.cache import fields


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (b'"a"', b"a"),
        (b'""', b""),
        (b'"', b'"'),
        (b"", b""),
        (b"a", b"a"),
        (b'"a', b'"a'),
        (b'"a\\"b"', b'a"b'),
    ],
)
def test_a_quoted_string_is_its_content_and_all_else_is_itself(value: bytes, content: bytes) -> None:
    assert fields.unquoted(value) == content


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"2147483647", 2147483647),
        (b"2147483648", 2147483648),
        (b"2147483649", 2147483648),
        (b"9" * 10, 2147483648),
        (b"9" * 5000, 2147483648),
        (b"1.5", 0),
        (b"-1", 0),
        (None, 0),
    ],
)
def test_seconds_are_whole_and_end_at_two_to_the_31(argument: bytes | None, seconds: int) -> None:
    assert fields.seconds({"max-age": argument}, "max-age") == seconds


@pytest.mark.parametrize(("value", "seconds"), [(None, 0), (b"", 0), (b"0", 0), (b"x", 0), (b"5, 9", 5)])
def test_an_age_is_never_less_than_nothing(value: bytes | None, seconds: int) -> None:
    assert fields.age([] if value is None else [(b"age", value)]) == seconds


@pytest.mark.parametrize(
    ("value", "length", "satisfiable"),
    [(b"bytes=-0", 0, False), (b"bytes=-0", 10, False), (b"bytes=0-", 0, False), (b"bytes=-1", 10, True)],
)
def test_a_range_of_nothing_cannot_be_satisfied(value: bytes, length: int, satisfiable: bool) -> None:
    part = fields.byte_range(value, length)
    assert part is not None
    assert (part[0] <= part[1]) == satisfiable


def test_a_range_of_more_digits_than_any_body_has_is_ignored() -> None:
    assert fields.byte_range(b"bytes=0-" + b"9" * 18, 10) == (0, 9)
    assert fields.byte_range(b"bytes=0-" + b"9" * 19, 10) is None


@pytest.mark.parametrize("name", [b"host", b"x-forwarded-host"])
def test_what_the_gateway_writes_itself_counts_as_the_service_sees_it(name: bytes) -> None:
    def seen(host: bytes) -> tuple[bytes | None, ...]:
        return fields.selecting([name], Exchange("GET", b"/a/x", host=host, headers=[(name, b"forged")]))

    assert seen(b"one.example") == (b"one.example",)
    assert seen(b"two.example") == (b"two.example",)
    assert seen(b"") == (None,)


def test_the_name_of_the_key_counts_and_not_what_the_client_says_it_is() -> None:
    exchange = Exchange("GET", b"/a/x", headers=[(b"x-gateway-client", b"forged")])
    assert fields.selecting([b"x-gateway-client"], exchange) == (None,)
    exchange.identity = "ada"
    assert fields.selecting([b"x-gateway-client"], exchange) == (b"ada",)
