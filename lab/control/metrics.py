"""What is counted, in Prometheus' text format; the library writes the format, the gateway counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lab.policies.access_log import BUCKETS, Histogram, Tally
from lab.proxy.services import Directory

BREAKER_STATES = ("closed", "open", "half_open")


class Metrics(Collector):
    """Reads the gateway's counters when somebody asks; nothing is done per request."""

    def __init__(
        self,
        tally: Tally,
        services: Directory,
        breakers: Callable[[], Mapping[str, Any]],
        connections: Callable[[], Mapping[str, int]],
    ) -> None:
        self._tally = tally
        self._services = services
        self._breakers = breakers
        self._connections = connections
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        tally = self._tally
        requests = CounterMetricFamily(
            "gateway_requests", "Finished requests.", labels=["method", "service", "status"]
        )
        for (method, service, status), count in tally.requests.items():
            requests.add_metric([method, service, str(status)], count)
        yield requests

        durations = HistogramMetricFamily(
            "gateway_request_duration_seconds",
            "From a request's head to its response's last byte.",
            labels=["method", "service"],
        )
        for (method, service), histogram in tally.durations.items():
            _add(durations, [method, service], histogram)
        yield durations

        upstream = HistogramMetricFamily(
            "gateway_upstream_duration_seconds",
            "From an attempt's start to its response head.",
            labels=["service"],
        )
        for name, entry in self._services.items():
            _add(upstream, [name], entry.durations)
        yield upstream

        active = GaugeMetricFamily("gateway_active_connections", "Open client connections.", labels=["kind"])
        for kind, count in self._connections().items():
            active.add_metric([kind], count)
        yield active

        health = GaugeMetricFamily(
            "gateway_service_health", "1 up, 0 down; 1 while unknown.", labels=["service"]
        )
        pool = GaugeMetricFamily(
            "gateway_upstream_pool_connections", "Connections to services.", labels=["service", "state"]
        )
        for name, entry in self._services.items():
            health.add_metric([name], 0 if entry.down else 1)
            figures = entry.figures
            pool.add_metric([name, "in_use"], figures.in_use)
            pool.add_metric([name, "idle"], figures.idle)
            pool.add_metric([name, "waiting"], figures.waiting)
        yield health
        yield pool

        state = GaugeMetricFamily(
            "gateway_circuit_breaker_state", "1 for the state the breaker is in.", labels=["service", "state"]
        )
        failures = CounterMetricFamily(
            "gateway_circuit_breaker_failures", "Failures that a breaker counted.", labels=["service"]
        )
        for name, breaker in self._breakers().items():
            for possible in BREAKER_STATES:
                state.add_metric([name, possible], 1 if breaker.get("state") == possible else 0)
            failures.add_metric([name], breaker.get("failures_total", 0))
        yield state
        yield failures

        limited = CounterMetricFamily(
            "gateway_rate_limit_requests", "Requests that the limiter saw.", labels=["limited"]
        )
        totals = tally.totals
        limited.add_metric(["true"], totals["limited"])
        limited.add_metric(["false"], totals["admitted"])
        yield limited

        hits = CounterMetricFamily("gateway_cache_hits", "Answers from the cache.", labels=["service"])
        misses = CounterMetricFamily("gateway_cache_misses", "Cacheable but not cached.", labels=["service"])
        services: Mapping[str, Mapping[str, int]] = tally.services
        for name in self._services:
            counts = services.get(name, {})
            hits.add_metric([name], counts.get("hits", 0))
            misses.add_metric([name], counts.get("misses", 0))
        yield hits
        yield misses


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum)
