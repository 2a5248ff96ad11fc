"""All rules of a key in one regular expression of method and path, made once."""

import re

from lab.model import problem


def pattern(glob):
    made = ""
    for token in re.findall(r"/\*\*$|\*|[^*]", glob):
        made += {"/**": r"(?:/[\s\S]*)?", "*": "[^/]*"}.get(token, re.escape(token))
    return made


def matches(glob, path):
    return bool(re.fullmatch(pattern(glob), path))


class Key:
    def __init__(self, name, key, allow, active=True):
        self.name, self.active = name, active
        rules = []
        for entry in allow:
            method, glob = entry.split()
            methods = {"*": r"\S+", "GET": "(?:GET|HEAD)"}.get(method, method)
            rules.append(f"{methods} {pattern(glob)}")
        self.rule = re.compile("|".join(f"(?:{rule})" for rule in rules) or r"(?!)")


class Authentication:
    def __init__(self, keys, public=()):
        self.keys = {key["key"].encode("utf-8"): Key(**key) for key in keys}
        self.public = re.compile("|".join(f"(?:{pattern(glob)})" for glob in public) or r"(?!)")

    async def __call__(self, exchange, call_next):
        shown = [value for name, value in exchange.headers if name == b"x-api-key"]
        exchange.headers = [(name, value) for name, value in exchange.headers if name != b"x-api-key"]
        key = self.keys.get(shown[0]) if len(shown) == 1 else None
        if key and key.active:
            exchange.identity = key.name
        if not self.public.fullmatch(exchange.path):
            if exchange.identity is None:
                return problem(401, "unauthorized", "no", headers=[(b"www-authenticate", b"ApiKey")])
            if not key.rule.fullmatch(f"{exchange.method} {exchange.path}"):
                return problem(403, "forbidden", f"{key.name} may not")
        return await call_next(exchange)
