# rejected by: test_the_first_segment_names_the_service
# recognised as: first-segment
# Looks for a service anywhere in the path.
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
        names = [segment for segment in path.split("/") if segment in self.services]
        if not names or path.split("/")[0] in RESERVED or path.split("/")[0] not in self.services:
            return None
        service = names[-1]
        path = "/" + path.partition("/")[2]
        url = self.services[service] + path + (f"?{query}" if query else "")
        return Route(service, path, query, url)
