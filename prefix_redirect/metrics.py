"""The tracker's numbers for Prometheus, read from the running totals when someone asks: a request pays nothing."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from prefix_redirect.registry_reader import RegistryReader
from prefix_redirect.tracker import Tracker

__all__ = ("TrackerCollector", "build_metrics")


class TrackerCollector(Collector):
    """Turns a tracker's state into metrics."""

    def __init__(self, tracker: Tracker, reader: RegistryReader, *, slot: int) -> None:
        self._tracker = tracker
        self._reader = reader
        self._slot = str(slot)

    def collect(self) -> Iterator[Metric]:
        """Read the state; each number may be a few microseconds older than the next."""
        tracker, slot = self._tracker, self._slot
        writer, totals = tracker.writer, tracker.writer.totals
        answers = CounterMetricFamily("castledger_tracker_answers", "Answers by status.", labels=("slot", "status"))
        for status, count in sorted({**tracker.recorder.others, 302: totals.answered}.items()):
            answers.add_metric((slot, str(status)), count)
        yield answers
        lost = CounterMetricFamily(
            "castledger_tracker_lost_hits", "Redirected but not recorded, by reason.", labels=("slot", "reason")
        )
        for reason in ("disk_full", "flood", "write_error"):
            lost.add_metric((slot, reason), totals.lost.get(reason, 0))
        yield lost
        for name, text, count in (
            ("castledger_tracker_redirected_hits", "Requests answered with 302.", totals.answered),
            ("castledger_tracker_recorded_hits", "Hits appended to the spool.", totals.recorded),
            ("castledger_tracker_at_risk_hits", "Hits that a failed sync left unsure.", totals.at_risk),
            ("castledger_tracker_spool_bytes", "Bytes appended to the spool.", writer.written_bytes),
        ):
            counter = CounterMetricFamily(name, text, labels=("slot",))
            counter.add_metric((slot,), count)
            yield counter
        for name, text, value in (
            ("castledger_tracker_connections", "Open connections.", len(tracker.connections)),
            ("castledger_tracker_sync_seconds", "How long the last sync took.", tracker.turns.last_sync_s),
            ("castledger_tracker_registry_version", "Version of the snapshot in force.", tracker.registry.version),
            (
                "castledger_tracker_registry_stale",
                "1 when the snapshot cannot be read.",
                self._reader.fault is not None,
            ),
            ("castledger_tracker_spool_failing", "1 while hits are being lost.", writer.fault is not None),
        ):
            gauge = GaugeMetricFamily(name, text, labels=("slot",))
            gauge.add_metric((slot,), value)
            yield gauge


def build_metrics(tracker: Tracker, reader: RegistryReader, *, slot: int) -> CollectorRegistry:
    """Make the collector registry that the admin server serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TrackerCollector(tracker, reader, slot=slot))
    return registry
