"""Exercise 15, metrics: counters and a histogram, as Prometheus reads them. README.md has the task."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that get a label of their own; all others are `OTHER`."""


class Metrics:
    """Counts requests, and how long they took.

    `buckets` are the upper bounds of the histogram in seconds, from small to large, without `+Inf`.
    """

    def __init__(self, buckets: tuple[float, ...] = (0.1, 0.5, 1.0)) -> None:
        self.buckets = tuple(buckets)
        # TODO: what has to be remembered? Not every request.

    def observe(self, method: str, service: str, status: int, seconds: float) -> None:
        """One request has been answered."""
        # TODO
        raise NotImplementedError

    def render(self) -> str:
        """All that was counted, in the text format of Prometheus, version 0.0.4."""
        # TODO
        raise NotImplementedError
