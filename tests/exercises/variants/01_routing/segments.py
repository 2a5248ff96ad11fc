"""Splits the path into its segments; the URL is worked out when it is asked for."""

from dataclasses import dataclass, field

RESERVED = {"health", "metrics", "docs", "openapi.json", "admin"}


class BadTarget(Exception): ...


@dataclass(frozen=True)
class Route:
    service: str
    path: str
    query: str
    url: str = field(default="", compare=False)


class Router:
    def __init__(self, services: dict):
        self.services = dict(services)

    def route(self, target: str):
        at = target.find("?")
        path, query = (target, "") if at < 0 else (target[:at], target[at + 1 :])
        segments = path.split("/")
        for segment in segments:
            if segment.lower().replace("%2e", ".") in {".", ".."}:
                raise BadTarget(segment)
        name = segments[1] if len(segments) > 1 else ""
        if name in RESERVED or self.services.get(name) is None:
            return None
        rest = "/" + "/".join(segments[2:])
        return Route(name, rest, query, url=self.services[name] + rest + ("?" + query if query else ""))
