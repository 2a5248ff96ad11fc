# rejected by: test_the_service_is_asked_without_its_name
# recognised as: prefix
# Asks the service with its own name in front.
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
        if service in RESERVED or service not in self.services:
            return None
        path = "/" + path if rest else "/"
        url = self.services[service] + path + (f"?{query}" if query else "")
        return Route(service, path, query, url)
