"""Figures of a run four times a second, as JSON lines on standard output, for who started Locust.

Standard input is the other way round: when it ends, whoever started us is gone, and so are we.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import deque
from typing import Any

import gevent
from gevent.threadpool import ThreadPool
from locust.runners import WorkerRunner
from locust.stats import calculate_response_time_percentile, diff_response_time_dicts

from lab.load.clients import LIMITED

EVERY = 0.25
"""Seconds between two lines."""
WINDOW = 2.0
"""Seconds over which rates and percentiles are taken."""


def start(environment: Any) -> None:
    """Begin to write; the last line comes when Locust quits."""
    die_with_parent()
    if isinstance(environment.runner, WorkerRunner):
        return  # the master has the figures of all
    report = Report(environment)

    def keep_writing() -> None:
        while True:
            report.write()
            gevent.sleep(EVERY)

    def end_at_once() -> None:
        report.write(final=True)
        os._exit(0)

    def quitting(**_: object) -> None:
        told.cancel()
        report.write(final=True)

    gevent.spawn(keep_writing)
    # Locust listens to SIGTERM only once the shape is over: until then it would die without a last word.
    told = gevent.signal_handler(signal.SIGTERM, end_at_once)
    environment.events.quitting.add_listener(quitting)


def die_with_parent() -> None:
    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    # A real thread: it must end the process also when the greenlets are too busy.
    pool = ThreadPool(1)
    pool.spawn(follow)


class Report:
    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.began = time.monotonic()
        self.past: deque[tuple[float, int, int, int, dict[int, int]]] = deque()

    def write(self, final: bool = False) -> None:
        stats, now = self.environment.stats, time.monotonic() - self.began
        total = stats.total
        limited = sum(
            error.occurrences for error in stats.errors.values() if LIMITED.search(str(error.error))
        )
        mark = (now, total.num_requests, total.num_failures - limited, limited, dict(total.response_times))
        self.past.append(mark)
        while len(self.past) > 2 and self.past[1][0] <= now - WINDOW:
            self.past.popleft()
        then = self.past[0] if not final else (0.0, 0, 0, 0, {})
        seconds = max(now - then[0], EVERY)
        times = diff_response_time_dicts(mark[4], then[4])
        count = sum(times.values())
        line = {
            "figures": 1,
            "final": final,
            "time": round(now, 3),
            "users": self.environment.runner.user_count if self.environment.runner else 0,
            "requests": mark[1],
            "failures": mark[2],
            "limited": mark[3],
            "rate": round((mark[1] - then[1]) / seconds, 1),
            "failure_rate": round((mark[2] - then[2]) / seconds, 1),
            "limited_rate": round((mark[3] - then[3]) / seconds, 1),
            "errors": {str(e.error)[:200]: e.occurrences for e in list(stats.errors.values())[:10]}
            if final
            else {},
        }
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            line[name] = calculate_response_time_percentile(times, count, share) / 1000 if count else None
        print(json.dumps(line), flush=True)
