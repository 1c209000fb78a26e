"""What is counted of requests: by route template, never by path."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector

from analytics_core.metric_names import (
    API_RATE_LIMITED,
    API_RATE_LIMITS_ALONE,
    API_REQUEST_SECONDS,
    API_REQUESTS,
    make_counter,
    make_histogram,
)

__all__ = ("RequestMetrics",)

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RequestMetrics:
    """The API's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = make_counter(API_REQUESTS, self.registry)
        self._seconds = make_histogram(API_REQUEST_SECONDS, self.registry, bounds=_BUCKETS)
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._limited = make_counter(API_RATE_LIMITED, self.registry)
        self._alone = make_counter(API_RATE_LIMITS_ALONE, self.registry)

    def note_limited(self, by: str) -> None:
        """Count a request that was refused for its rate, by what it was judged: key or network."""
        self._limited.labels(by).inc()

    def note_alone(self) -> None:
        """Count a request whose rate was judged without Redis."""
        self._alone.inc()

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request; methods and paths that no route has share one label."""
        # Found by their labels each time, the two would cost as much as writing the line of the log does.
        labels = (method if route else "any", route or "none", status)
        found = self._found.get(labels)
        if found is None:
            found = self._requests.labels(*labels[:2], str(status)), self._seconds.labels(labels[1])
            self._found[labels] = found
        requests, duration = found
        requests.inc()
        duration.observe(seconds)
