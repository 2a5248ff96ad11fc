# rejected by: test_buckets_are_cumulative
# recognised as: inf
# Has no bucket for what took longer than the largest bound.
from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that get a label of their own; all others are `OTHER`."""


class Metrics:
    """Counts requests, and how long they took."""

    def __init__(self, buckets: tuple[float, ...] = (0.1, 0.5, 1.0)) -> None:
        self.buckets = tuple(buckets)
        self._requests: Counter[tuple[str, str, int]] = Counter()
        # For each service how many fell into each bucket alone; the last one has no upper bound.
        self._fell: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, method: str, service: str, status: int, seconds: float) -> None:
        # A client can invent methods, and every label value is a series that is kept for ever.
        self._requests[method if method in METHODS else "OTHER", service, status] += 1
        fell = self._fell.setdefault(service, [0] * (len(self.buckets) + 1))
        fell[bisect_left(self.buckets, seconds)] += 1
        self._sums[service] = self._sums.get(service, 0.0) + seconds

    def render(self) -> str:
        lines = [
            "# HELP gateway_requests_total Requests that were answered.",
            "# TYPE gateway_requests_total counter",
        ]
        for (method, service, status), count in self._requests.items():
            labels = f'method="{method}",service="{escape(service)}",status="{status}"'
            lines.append(f"gateway_requests_total{{{labels}}} {count}")
        name = "gateway_request_duration_seconds"
        lines += [f"# HELP {name} Seconds from request to answer.", f"# TYPE {name} histogram"]
        for service, fell in self._fell.items():
            label = f'service="{escape(service)}"'
            for bound, count in zip(self.buckets, accumulate(fell), strict=False):
                lines.append(f'{name}_bucket{{{label},le="{bound}"}} {count}')
            lines.append(f"{name}_sum{{{label}}} {self._sums[service]}")
            lines.append(f"{name}_count{{{label}}} {sum(fell)}")
        return "\n".join(lines) + "\n"


def escape(value: str) -> str:
    """A label's value as it stands between the quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
