"""The address of a gateway or a service, as people type it."""

from __future__ import annotations

from urllib.parse import urlsplit

from lab.errors import UserError


def address(given: str) -> str:
    """`localhost:8000/` → `http://localhost:8000`. Raises `UserError` for what is no address."""
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        sane = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        sane = False
    if not sane or not url.isprintable() or " " in url:
        raise UserError(f"{given!r:.80}: an address such as http://127.0.0.1:8000 was expected")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise UserError(f"{given!r:.80}: an address without user, query or fragment was expected")
    return url.rstrip("/")
