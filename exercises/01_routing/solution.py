"""Exercise 01, routing: the worked solution."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

RESERVED = {"health", "metrics", "docs", "openapi.json", "admin"}
"""First path segments that belong to the gateway itself."""


class BadTarget(Exception):
    """The target must not be forwarded; the gateway answers 400."""


@dataclass
class Route:
    """Where a request goes."""

    service: str
    path: str
    query: str
    url: str


class Router:
    """Finds the service for a request's target."""

    def __init__(self, services: dict[str, str]) -> None:
        """`services`: name → address, such as {"service-a": "http://127.0.0.1:8001"}."""
        self.services = services

    def route(self, target: str) -> Route | None:
        # The query begins at the first question mark; later ones belong to it (RFC 3986 §3.4).
        path, _, query = target.partition("?")
        # Only for the test is anything decoded: what is forwarded stays as the client wrote it.
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise BadTarget(target)
        _, _, path = path.partition("/")
        service, _, rest = path.partition("/")
        if service in RESERVED or service not in self.services:
            return None
        path = "/" + rest
        # Put together as text: joining URLs would follow a path like //elsewhere to another host.
        url = self.services[service] + path + (f"?{query}" if query else "")
        return Route(service, path, query, url)
