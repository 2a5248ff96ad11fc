# rejected by: test_a_name_must_match_as_a_whole
# recognised as: whole-segment
# Compares the beginning of the path instead of the whole segment.
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
        for service in self.services:
            if path.startswith(service):
                break
        else:
            return None
        if path.partition("/")[0] in RESERVED:
            return None
        path = "/" + path.partition("/")[2]
        url = self.services[service] + path + (f"?{query}" if query else "")
        return Route(service, path, query, url)
