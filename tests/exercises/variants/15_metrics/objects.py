# A small library: families with children, each of which renders itself.
import math

KNOWN = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def quoted(value):
    return '"' + "".join({"\\": "\\\\", '"': '\\"', "\n": "\\n"}.get(char, char) for char in str(value)) + '"'


def labels(**values):
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in values.items()) + "}"


class Count:
    def __init__(self):
        self.value = 0

    def lines(self, name, values):
        yield f"{name}{labels(**values)} {self.value}"


class Histogram:
    def __init__(self, bounds):
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.all = 0
        self.seconds = []

    def add(self, seconds):
        self.all += 1
        self.seconds = [math.fsum([*self.seconds, seconds])]
        for at, bound in enumerate(self.bounds):
            self.counts[at] += seconds <= bound

    def lines(self, name, values):
        for bound, count in [*zip(self.bounds, self.counts, strict=True), ("+Inf", self.all)]:
            yield f"{name}_bucket{labels(**values, le=bound)} {count}"
        yield f"{name}_sum{labels(**values)} {math.fsum(self.seconds)!r}"
        yield f"{name}_count{labels(**values)} {self.all}"


class Family:
    def __init__(self, name, kind, make):
        self.name, self.kind, self.make = name, kind, make
        self.children = {}

    def of(self, **values):
        return self.children.setdefault(tuple(values.items()), self.make())

    def lines(self):
        yield f"# HELP {self.name} {self.kind} of the gateway"
        yield f"# TYPE {self.name} {self.kind}"
        for values, child in self.children.items():
            yield from child.lines(self.name, dict(values))


class Metrics:
    def __init__(self, buckets=(0.1, 0.5, 1.0)):
        self.requests = Family("gateway_requests_total", "counter", Count)
        self.durations = Family(
            "gateway_request_duration_seconds", "histogram", lambda: Histogram(tuple(buckets))
        )

    def observe(self, method, service, status, seconds):
        method = method if method in KNOWN else "OTHER"
        self.requests.of(method=method, service=service, status=status).value += 1
        self.durations.of(service=service).add(seconds)

    def render(self):
        return "".join(f"{line}\n" for family in (self.requests, self.durations) for line in family.lines())
