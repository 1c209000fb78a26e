"""What a collector counts: nothing of it names a tenant, a key or a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector as MetricSource

from analytics_core import metric_names as names
from analytics_core.events import EventSource
from analytics_core.metric_names import make_counter, make_histogram
from analytics_core.registry_reader import RegistryReader
from analytics_core.spool_writer import SpoolWriter

__all__ = ("CollectorMetrics",)

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LIBRARIES: Final = frozenset({"castledger-python", "castledger-js"})
# What the libraries call it; a label must not be what anybody may write.
_LOSSES: Final = frozenset(
    {"queue_full", "unauthorized", "closed", "refused", "rejected", "too_large", "spool_corrupt"}
)


class _StateSource(MetricSource):
    """Numbers that are kept elsewhere, read when they are asked for."""

    def __init__(self, writer: SpoolWriter, reader: RegistryReader) -> None:
        self._writer = writer
        self._reader = reader

    def collect(self) -> Iterable[Metric]:
        """Name them all."""
        writer, reader = self._writer, self._reader
        for metric, value in (
            (names.COLLECTOR_AT_RISK_EVENTS, writer.totals.at_risk),
            (names.COLLECTOR_SPOOL_BYTES, writer.written_bytes),
        ):
            yield CounterMetricFamily(metric.name, metric.help, value=value)
        for metric, value in (
            (names.COLLECTOR_SPOOL_FAILING, int(writer.fault is not None)),
            (names.COLLECTOR_REGISTRY_VERSION, reader.registry.version),
            (names.COLLECTOR_REGISTRY_STALE, int(reader.fault is not None)),
        ):
            yield GaugeMetricFamily(metric.name, metric.help, value=value)


class CollectorMetrics:
    """The collector's metrics, in a registry of their own."""

    def __init__(self, writer: SpoolWriter, reader: RegistryReader) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_StateSource(writer, reader))
        self._requests = make_counter(names.COLLECTOR_REQUESTS, self.registry)
        self._seconds = make_histogram(names.COLLECTOR_REQUEST_SECONDS, self.registry, bounds=_BUCKETS)
        self._events = make_counter(names.COLLECTOR_EVENTS, self.registry)
        self._refused = make_counter(names.COLLECTOR_REFUSED_EVENTS, self.registry)
        self._unrecorded = make_counter(names.COLLECTOR_UNRECORDED_PIXELS, self.registry)
        self._batches = make_counter(names.COLLECTOR_BATCHES, self.registry)
        self._ignored = make_counter(names.COLLECTOR_IGNORED_FIELDS, self.registry)
        self._lost = make_counter(names.COLLECTOR_SENDER_LOST_EVENTS, self.registry)
        self._limited = make_counter(names.COLLECTOR_RATE_LIMITED, self.registry)

    def observe(self, route: str | None, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route or "none", str(status)).inc()
        self._seconds.labels(route or "none").observe(seconds)

    def note_events(self, source: EventSource, events: int) -> None:
        """Count events that were recorded."""
        self._events.labels(source.name.lower()).inc(events)

    def note_refused(self, reason: str, events: int) -> None:
        """Count events that were refused, by a word of ours."""
        self._refused.labels(reason).inc(events)

    def note_unrecorded(self, reason: str) -> None:
        """Count a pixel that left no event, by a word of ours."""
        self._unrecorded.labels(reason).inc()

    def note_batch(self, library: str, lost: Mapping[str, int], ignored_fields: int) -> None:
        """Count what a batch says of its sender."""
        name = library.partition("/")[0]
        self._batches.labels(name if name in _LIBRARIES else "other").inc()
        self._ignored.inc(ignored_fields)
        for reason, events in lost.items():
            self._lost.labels(reason if reason in _LOSSES else "other").inc(events)

    def note_limited(self, by: str) -> None:
        """Count a request that was refused for its rate."""
        self._limited.labels(by).inc()
