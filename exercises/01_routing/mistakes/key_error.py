# rejected by: test_an_unknown_service_has_no_route
# recognised as: unknown
# Looks the service up and does not expect that it is not there.
from dataclasses import dataclass
from urllib.parse import unquote

RESERVED = {"health", "metrics", "docs", "openapi.json", "admin"}


class BadTarget(Exception):
    pass


@dataclass
class Route:
    service: str
    path: str
    query: str
    url: str


class Router:
    def __init__(self, services: dict[str, str]) -> None:
        self.services = services

    def route(self, target: str) -> Route | None:
        path, _, query = target.partition("?")
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise BadTarget(target)
        _, _, path = path.partition("/")
        service, _, rest = path.partition("/")
        if service in RESERVED:
            return None
        path = "/" + rest
        url = self.services[service] + path + (f"?{query}" if query else "")
        return Route(service, path, query, url)
