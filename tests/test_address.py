"""What people may type for an address."""

from __future__ import annotations

import pytest

from lab.address import address
from lab.errors import UserError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost"),
        ("http://localhost:9000/", "http://localhost:9000"),
        ("https://gateway.example", "https://gateway.example"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_may_be_short(given: str, meant: str) -> None:
    assert address(given) == meant


@pytest.mark.parametrize(
    "given",
    ["", "foo bar", "ftp://host", "http://", "host:port", "host:99999", "host:0", "http://[::1", "h\x1bost"],
)
def test_what_is_no_address_is_one_line(given: str) -> None:
    with pytest.raises(UserError, match="an address such as http") as caught:
        address(given)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("given", ["http://me:secret@host", "http://host/?a=1", "http://host/#a"])
def test_an_address_has_nothing_but_host_port_and_path(given: str) -> None:
    with pytest.raises(UserError, match="without user, query or fragment"):
        address(given)
