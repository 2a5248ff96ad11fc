"""One regular expression takes the target apart."""

import re
from typing import NamedTuple

RESERVED = ("admin", "docs", "health", "metrics", "openapi.json")
TARGET = re.compile(r"/(?P<name>[^/?]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?", re.DOTALL)
DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


class BadTarget(ValueError):
    pass


class Route(NamedTuple):
    service: str
    path: str
    query: str
    url: str


class Router:
    def __init__(self, services):
        self._services = {name: url for name, url in services.items() if name not in RESERVED}

    def route(self, target):
        match = TARGET.fullmatch(target)
        if match is None:
            return None
        name, path, query = match["name"], match["path"] or "/", match["query"] or ""
        if DOTS.search("/" + name + path):
            raise BadTarget(f"dot segment in {target}")
        if name not in self._services:
            return None
        return Route(name, path, query, "?".join(filter(None, [self._services[name] + path, query])))
