"""The tracker's numbers for Prometheus, read from the running totals when someone asks: a request pays nothing.

Worker slots are processes of their own. Each leaves its numbers in the spool's folder every few seconds, and whichever
is asked answers for all: one address to scrape, a label `slot`, and no port more. A slot that has died is left out
after a minute; a restarted one begins at zero, as Prometheus expects of counters.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from analytics_core import metric_names as names
from analytics_core.registry_reader import RegistryReader
from prefix_redirect.acceptor import Acceptor
from prefix_redirect.tracker import Tracker

__all__ = ("SlotFiles", "SlotsCollector", "TrackerCollector", "build_metrics", "write_own")

_FRESH_S: Final = 60.0
_PREFIX: Final = "metrics-"


def _counter(metric: names.Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)


class TrackerCollector(Collector):
    """Turns one slot's state into metrics."""

    def __init__(self, tracker: Tracker, reader: RegistryReader, acceptor: Acceptor, *, slot: int) -> None:
        self._tracker = tracker
        self._reader = reader
        self._acceptor = acceptor
        self._slot = str(slot)

    def collect(self) -> Iterator[Metric]:
        """Read the state; each number may be a few microseconds older than the next."""
        tracker, slot = self._tracker, self._slot
        writer, totals = tracker.writer, tracker.writer.totals
        answers = _counter(names.TRACKER_ANSWERS)
        for status, count in sorted({**tracker.recorder.others, 302: totals.answered}.items()):
            answers.add_metric((slot, str(status)), count)
        yield answers
        hits = _counter(names.TRACKER_HITS)
        for kind, count in (("request", totals.recorded - tracker.recorder.clicks), ("click", tracker.recorder.clicks)):
            hits.add_metric((slot, kind), count)
        yield hits
        lost = _counter(names.TRACKER_LOST_HITS)
        for reason in ("disk_full", "flood", "write_error"):
            lost.add_metric((slot, reason), totals.lost.get(reason, 0))
        yield lost
        yield self._latencies()
        for metric, count in (
            (names.TRACKER_REDIRECTED_HITS, totals.answered),
            (names.TRACKER_RECORDED_HITS, totals.recorded),
            (names.TRACKER_AT_RISK_HITS, totals.at_risk),
            (names.TRACKER_SPOOL_BYTES, writer.written_bytes),
            (names.TRACKER_ACCEPT_FAILURES, self._acceptor.failures),
        ):
            counter = _counter(metric)
            counter.add_metric((slot,), count)
            yield counter
        for metric, value in (
            (names.TRACKER_CONNECTIONS, len(tracker.connections)),
            (names.TRACKER_SYNC_SECONDS, tracker.turns.last_sync_s),
            (names.TRACKER_REGISTRY_VERSION, tracker.registry.version),
            (names.TRACKER_REGISTRY_STALE, self._reader.fault is not None),
            (names.TRACKER_SPOOL_FAILING, writer.fault is not None),
            (names.TRACKER_OLDEST_HIT_SECONDS, tracker.oldest_hit_s),
            (names.TRACKER_DISK_FREE_BYTES, writer.reserve.free_bytes()),
            (names.TRACKER_RESERVE_HELD, writer.reserve.is_held() or not writer.reserve.is_wanted),
        ):
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            gauge.add_metric((slot,), value)
            yield gauge

    def _latencies(self) -> Metric:
        latencies = self._tracker.turns.latencies
        below = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, latencies.BOUNDS_S), "+Inf"), latencies.counts, strict=True):
            below += count
            buckets.append((bound, below))
        metric = names.TRACKER_ANSWER_SECONDS
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        histogram.add_metric((self._slot,), buckets, latencies.sum_s)
        return histogram


class SlotFiles:
    """The numbers of all slots, a file each, in the folder that they share.

    Args:
        folder: The spool's.
        slot: Which is ours.
    """

    def __init__(self, folder: Path, slot: int) -> None:
        self._folder = folder
        self._own = folder / f"{_PREFIX}{slot}"

    def write(self, text: bytes) -> None:
        """Leave our numbers for the others; a disk that takes nothing is told of elsewhere."""
        new = self._own.with_suffix(".new")
        with contextlib.suppress(OSError):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            new.replace(self._own)

    def remove(self) -> None:
        """Take our numbers away, at an orderly end."""
        with contextlib.suppress(OSError):
            self._own.unlink(missing_ok=True)

    def others(self) -> Iterator[Metric]:
        """Read what other slots have left within the last minute."""
        for path in sorted(self._folder.glob(f"{_PREFIX}[0-9]*")):
            if path == self._own or path.suffix:
                continue
            try:
                if time.time() - path.stat().st_mtime > _FRESH_S:
                    continue
                text = path.read_text()
            except OSError:
                continue
            yield from text_string_to_metric_families(text)


class SlotsCollector(Collector):
    """Our slot's metrics, joined with those of the others."""

    def __init__(self, own: Collector, files: SlotFiles) -> None:
        self._own = own
        self._files = files

    def collect(self) -> Iterable[Metric]:
        """Read all slots."""
        families = {family.name: family for family in self._own.collect()}
        for family in self._files.others():
            # Of a version that knows others, while slots restart one by one.
            known = families.setdefault(family.name, family)
            if known is not family:
                known.samples.extend(family.samples)
        return families.values()


def build_metrics(collector: TrackerCollector, files: SlotFiles | None) -> CollectorRegistry:
    """Make the registry that the admin server serves: of our slot, or of all where there are several."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector if files is None else SlotsCollector(collector, files))
    return registry


def write_own(collector: TrackerCollector) -> bytes:
    """Write our slot's metrics for the others."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
