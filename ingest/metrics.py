"""What ingest counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from analytics_core import metric_names as names
from analytics_core.metric_names import make_counter, make_gauge

__all__ = ("Metrics",)


class Metrics:
    """The counters and gauges of one ingest process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.landed = make_counter(names.INGEST_HITS, registry)
        self.batches = make_counter(names.INGEST_BATCHES, registry)
        self.step_seconds = make_counter(names.INGEST_STEP_SECONDS, registry)
        self.lag_seconds = make_gauge(names.INGEST_LAG_SECONDS, registry)
        self.backlog_bytes = make_gauge(names.INGEST_BACKLOG_BYTES, registry)
        self.events = make_counter(names.INGEST_EVENTS, registry)
        self.event_batches = make_counter(names.INGEST_EVENT_BATCHES, registry)
        self.marked_events = make_counter(names.INGEST_MARKED_EVENTS, registry)
        self.event_lag_seconds = make_gauge(names.INGEST_EVENT_LAG_SECONDS, registry)
        self.event_backlog_bytes = make_gauge(names.INGEST_EVENT_BACKLOG_BYTES, registry)
        self.marks = make_gauge(names.INGEST_MARKS, registry)
        self.ledger_difference = make_gauge(names.INGEST_LEDGER_DIFFERENCE, registry)
        self.silent = make_gauge(names.INGEST_SILENT_TRACKER, registry)
        self.damaged = make_counter(names.INGEST_DAMAGED_SEGMENTS, registry)
        self.damaged_bytes = make_counter(names.INGEST_DAMAGED_BYTES, registry)
        self.damaged_hits = make_counter(names.INGEST_DAMAGED_HITS, registry)
        self.dead_letters = make_counter(names.INGEST_DEAD_LETTERS, registry)
        self.lists_damaged = make_gauge(names.INGEST_LISTS_DAMAGED, registry)
        self.shared_due = make_gauge(names.INGEST_SHARED_ADDRESSES_DUE, registry)
        self.polls = make_counter(names.INGEST_POLLS, registry)
        self.job_runs = make_counter(names.INGEST_JOB_RUNS, registry)
        self.job_seconds = make_counter(names.INGEST_JOB_SECONDS, registry)
        self.jobs_overdue_seconds = make_gauge(names.INGEST_JOBS_OVERDUE_SECONDS, registry)
        self.flights_at_risk = make_gauge(names.INGEST_FLIGHTS_AT_RISK, registry)
        self.flights_behind = make_gauge(names.INGEST_FLIGHTS_BEHIND, registry)
        self.mail_waiting = make_gauge(names.INGEST_MAIL_WAITING, registry)
        self.mail_oldest_seconds = make_gauge(names.INGEST_MAIL_OLDEST_SECONDS, registry)
        self.mail_sent = make_counter(names.INGEST_MAIL_SENT, registry)
        self.mail_retried = make_counter(names.INGEST_MAIL_RETRIED, registry)
        self.mail_failed = make_counter(names.INGEST_MAIL_FAILED, registry)
