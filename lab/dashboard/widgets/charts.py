"""The lab's charts: what each shows, the same on every screen."""

from __future__ import annotations

from typing import Any

from lab.dashboard import text
from lab.dashboard.widgets.chart import Chart, Series


def answers(**options: Any) -> Chart:
    """Requests a second by what the client got; failures on top."""
    series = [
        Series("ok", "ok", "ok"),
        Series("4xx", "client_error", "one", "░"),
        Series("429", "limited", "warn", "▒"),
        Series("5xx", "server_error", "bad", "▓"),
    ]
    return Chart("answers", series, text.rate, least=5, filled=True, **options)


def latency(**options: Any) -> Chart:
    """Seconds from a request's arrival to the end of its answer."""
    series = [Series("p99", "p99", "three"), Series("p95", "p95", "two"), Series("p50", "p50", "one")]
    return Chart("latency", series, text.duration, least=0.01, **options)


def hit_ratio(**options: Any) -> Chart:
    """Hits among the answers that the cache looked for."""
    series = [Series("hits", "hit_ratio", "ok")]
    return Chart("cache", series, text.percent, least=1, most=1, filled=True, **options)


def calls(**options: Any) -> Chart:
    """Requests a second that clients sent, and that services were asked in turn."""
    series = [Series("by clients", "requests", "one"), Series("to services", "upstream", "two")]
    return Chart("calls", series, text.rate, least=5, **options)
