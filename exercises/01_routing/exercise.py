"""Exercise 01, routing: which service is meant, and what is it asked for? README.md has the task."""

from __future__ import annotations

from dataclasses import dataclass

RESERVED = {"health", "metrics", "docs", "openapi.json", "admin"}
"""First path segments that belong to the gateway itself."""


class BadTarget(Exception):
    """The target must not be forwarded; the gateway answers 400."""


@dataclass
class Route:
    """Where a request goes."""

    service: str
    """The service's name."""
    path: str
    """What the service is asked for: the path without the service's name. Never empty."""
    query: str
    """What follows the question mark; "" where there is none."""
    url: str
    """The service's address, with path and query."""


class Router:
    """Finds the service for a request's target."""

    def __init__(self, services: dict[str, str]) -> None:
        """`services`: name → address, such as {"service-a": "http://127.0.0.1:8001"}."""
        self.services = services

    def route(self, target: str) -> Route | None:
        """The route for a target such as `/service-a/items/1?color=red`; None where no service is meant (404).

        Raises BadTarget where a segment of the path is `.` or `..`, written out or escaped.
        """
        # TODO: take the target apart, look the service up, put the address together.
        raise NotImplementedError
