"""Every metric that a service exports: its name, what it tells and its labels, in one place.

Services make their metrics from these; the page docs/operations.md, the Grafana dashboard and the alert rules are made
from them too. No label names a tenant, a podcast, a listener or a path: a metric is about the installation.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = (
    "API_RATE_LIMITED",
    "API_RATE_LIMITS_ALONE",
    "API_REQUESTS",
    "API_REQUEST_SECONDS",
    "COLLECTOR_AT_RISK_EVENTS",
    "COLLECTOR_BATCHES",
    "COLLECTOR_EVENTS",
    "COLLECTOR_IGNORED_FIELDS",
    "COLLECTOR_RATE_LIMITED",
    "COLLECTOR_REFUSED_EVENTS",
    "COLLECTOR_REGISTRY_STALE",
    "COLLECTOR_REGISTRY_VERSION",
    "COLLECTOR_REQUESTS",
    "COLLECTOR_REQUEST_SECONDS",
    "COLLECTOR_SENDER_LOST_EVENTS",
    "COLLECTOR_SPOOL_BYTES",
    "COLLECTOR_SPOOL_FAILING",
    "COLLECTOR_UNRECORDED_PIXELS",
    "INGEST_BACKLOG_BYTES",
    "INGEST_BATCHES",
    "INGEST_DAMAGED_BYTES",
    "INGEST_DAMAGED_HITS",
    "INGEST_DAMAGED_SEGMENTS",
    "INGEST_DEAD_LETTERS",
    "INGEST_EVENTS",
    "INGEST_EVENT_BACKLOG_BYTES",
    "INGEST_EVENT_BATCHES",
    "INGEST_EVENT_LAG_SECONDS",
    "INGEST_FLIGHTS_AT_RISK",
    "INGEST_FLIGHTS_BEHIND",
    "INGEST_HITS",
    "INGEST_JOBS_OVERDUE_SECONDS",
    "INGEST_JOB_RUNS",
    "INGEST_JOB_SECONDS",
    "INGEST_LAG_SECONDS",
    "INGEST_LEDGER_DIFFERENCE",
    "INGEST_LISTS_DAMAGED",
    "INGEST_MAIL_FAILED",
    "INGEST_MAIL_OLDEST_SECONDS",
    "INGEST_MAIL_RETRIED",
    "INGEST_MAIL_SENT",
    "INGEST_MAIL_WAITING",
    "INGEST_MARKED_EVENTS",
    "INGEST_MARKS",
    "INGEST_POLLS",
    "INGEST_SHARED_ADDRESSES_DUE",
    "INGEST_SILENT_TRACKER",
    "INGEST_STEP_SECONDS",
    "METRICS",
    "TRACKER_ACCEPT_FAILURES",
    "TRACKER_ANSWERS",
    "TRACKER_ANSWER_SECONDS",
    "TRACKER_AT_RISK_HITS",
    "TRACKER_CONNECTIONS",
    "TRACKER_DISK_FREE_BYTES",
    "TRACKER_HITS",
    "TRACKER_LOST_HITS",
    "TRACKER_OLDEST_HIT_SECONDS",
    "TRACKER_RECORDED_HITS",
    "TRACKER_REDIRECTED_HITS",
    "TRACKER_REGISTRY_STALE",
    "TRACKER_REGISTRY_VERSION",
    "TRACKER_RESERVE_HELD",
    "TRACKER_SPOOL_BYTES",
    "TRACKER_SPOOL_FAILING",
    "TRACKER_SYNC_SECONDS",
    "Metric",
    "MetricKind",
    "make_counter",
    "make_gauge",
    "make_histogram",
)


class MetricKind(enum.StrEnum):
    """What a number may do: only grow, go up and down, or be counted into buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One metric.

    >>> TRACKER_LOST_HITS.series, TRACKER_ANSWER_SECONDS.buckets
    ('castledger_tracker_lost_hits_total', 'castledger_tracker_answer_seconds_bucket')

    Attributes:
        name: As it is declared, without the suffixes of its series.
        help: What it tells, in a sentence.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        """Who exports it: ``tracker``, ``ingest``, ``api`` or ``collector``."""
        return self.name.split("_")[1]

    @property
    def series(self) -> str:
        """The name by which its values are asked for."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name

    @property
    def buckets(self) -> str:
        """The name by which a histogram's buckets are asked for."""
        return f"{self.name}_bucket"


def make_counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """Make a counter as it is declared here."""
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def make_gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    """Make a gauge as it is declared here."""
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def make_histogram(metric: Metric, registry: CollectorRegistry, *, bounds: Sequence[float]) -> Histogram:
    """Make a histogram as it is declared here."""
    return Histogram(metric.name, metric.help, metric.labels, buckets=bounds, registry=registry)


_COUNTER: Final = MetricKind.COUNTER
_GAUGE: Final = MetricKind.GAUGE
_HISTOGRAM: Final = MetricKind.HISTOGRAM

TRACKER_ANSWERS: Final = Metric("castledger_tracker_answers", _COUNTER, "Answers by status.", ("slot", "status"))
TRACKER_ANSWER_SECONDS: Final = Metric(
    "castledger_tracker_answer_seconds",
    _HISTOGRAM,
    "From a request's bytes being read to its answer being handed to the socket.",
    ("slot",),
)
TRACKER_REDIRECTED_HITS: Final = Metric(
    "castledger_tracker_redirected_hits", _COUNTER, "Requests answered with 302.", ("slot",)
)
TRACKER_RECORDED_HITS: Final = Metric(
    "castledger_tracker_recorded_hits", _COUNTER, "Hits appended to the spool.", ("slot",)
)
TRACKER_HITS: Final = Metric(
    "castledger_tracker_hits", _COUNTER, "Hits recorded, by kind: request or click.", ("slot", "kind")
)
TRACKER_LOST_HITS: Final = Metric(
    "castledger_tracker_lost_hits",
    _COUNTER,
    "Redirected but not recorded, by reason: disk_full, write_error or flood.",
    ("slot", "reason"),
)
TRACKER_AT_RISK_HITS: Final = Metric(
    "castledger_tracker_at_risk_hits", _COUNTER, "Hits that a failed sync left unsure.", ("slot",)
)
TRACKER_SPOOL_FAILING: Final = Metric(
    "castledger_tracker_spool_failing", _GAUGE, "1 while hits are being lost.", ("slot",)
)
TRACKER_SPOOL_BYTES: Final = Metric(
    "castledger_tracker_spool_bytes", _COUNTER, "Bytes appended to the spool.", ("slot",)
)
TRACKER_SYNC_SECONDS: Final = Metric(
    "castledger_tracker_sync_seconds", _GAUGE, "How long the last sync took.", ("slot",)
)
TRACKER_OLDEST_HIT_SECONDS: Final = Metric(
    "castledger_tracker_oldest_hit_seconds",
    _GAUGE,
    "Age of the oldest hit in a segment that ingest has not removed; up to a minute is usual.",
    ("slot",),
)
TRACKER_DISK_FREE_BYTES: Final = Metric(
    "castledger_tracker_disk_free_bytes", _GAUGE, "Room left on the disk of the spool, beside the reserve.", ("slot",)
)
TRACKER_RESERVE_HELD: Final = Metric(
    "castledger_tracker_reserve_held",
    _GAUGE,
    "1 while the room that is kept for a full disk (`SPOOL_RESERVE_MB`) is there, or none is to be kept.",
    ("slot",),
)
TRACKER_CONNECTIONS: Final = Metric("castledger_tracker_connections", _GAUGE, "Open connections.", ("slot",))
TRACKER_ACCEPT_FAILURES: Final = Metric(
    "castledger_tracker_accept_failures", _COUNTER, "How often no client could be taken in.", ("slot",)
)
TRACKER_REGISTRY_VERSION: Final = Metric(
    "castledger_tracker_registry_version", _GAUGE, "Version of the snapshot in force.", ("slot",)
)
TRACKER_REGISTRY_STALE: Final = Metric(
    "castledger_tracker_registry_stale", _GAUGE, "1 when the snapshot cannot be read.", ("slot",)
)

INGEST_HITS: Final = Metric("castledger_ingest_hits", _COUNTER, "Hits that landed, by verdict.", ("verdict",))
INGEST_BATCHES: Final = Metric(
    "castledger_ingest_batches",
    _COUNTER,
    "Batches by what became of them: landed, fenced (another shipper had landed it), retried, failed, rejudged (a "
    "podcast had moved to another tenant), split (some of their hits were refused).",
    ("outcome",),
)
INGEST_EVENTS: Final = Metric(
    "castledger_ingest_events",
    _COUNTER,
    "Attribution events by what became of them: event (it landed), duplicate (its id had landed before), "
    "lost:no_tenant (the tenant was erased meanwhile).",
    ("account",),
)
INGEST_EVENT_BATCHES: Final = Metric(
    "castledger_ingest_event_batches",
    _COUNTER,
    "Batches of events by what became of them: landed, fenced (another shipper had landed it), retried.",
    ("outcome",),
)
INGEST_MARKED_EVENTS: Final = Metric(
    "castledger_ingest_marked_events",
    _COUNTER,
    "Events that may be conversions by what became of them: conversion, repeated (it was there already), differs (it "
    "says something else under the same name), signal (it tells what led a customer in), refund, waiting (a refund "
    "without its purchase so far), no_purchase, other_currency, bot, unknown_sponsor, unknown_click, unknown_link, "
    "unknown_code (what it names is no sponsor's), no_sponsor (it names nothing), no_action, gone, refused.",
    ("outcome",),
)
INGEST_EVENT_LAG_SECONDS: Final = Metric(
    "castledger_ingest_event_lag_seconds", _GAUGE, "Age of the oldest event that has not landed."
)
INGEST_EVENT_BACKLOG_BYTES: Final = Metric(
    "castledger_ingest_event_backlog_bytes", _GAUGE, "Bytes in the spools of collectors that have not landed."
)
INGEST_STEP_SECONDS: Final = Metric(
    "castledger_ingest_step_seconds", _COUNTER, "Seconds spent in each step.", ("step",)
)
INGEST_LAG_SECONDS: Final = Metric(
    "castledger_ingest_lag_seconds", _GAUGE, "Age of the instant before which all has landed."
)
INGEST_BACKLOG_BYTES: Final = Metric(
    "castledger_ingest_backlog_bytes", _GAUGE, "Bytes in the spool that have not landed."
)
INGEST_MARKS: Final = Metric("castledger_ingest_marks", _GAUGE, "Days of episodes whose rollups wait to be recomputed.")
INGEST_LEDGER_DIFFERENCE: Final = Metric(
    "castledger_ingest_ledger_difference",
    _GAUGE,
    "Answers of yesterday and today of which nothing is known to have become; below 0, more became of them than there "
    "were. Always 0 unless something is wrong.",
)
INGEST_SILENT_TRACKER: Final = Metric(
    "castledger_ingest_silent_tracker",
    _GAUGE,
    "1 for a tracker that has not been heard of for three minutes though it did not stop.",
    ("source",),
)
INGEST_DAMAGED_SEGMENTS: Final = Metric(
    "castledger_ingest_damaged_segments", _COUNTER, "Segments that were set aside as damaged."
)
INGEST_DAMAGED_BYTES: Final = Metric(
    "castledger_ingest_damaged_bytes", _COUNTER, "Bytes of the spool that could not be read, between what could."
)
INGEST_DAMAGED_HITS: Final = Metric(
    "castledger_ingest_damaged_hits",
    _COUNTER,
    "Hits that are missing where the spool was damaged, as far as running totals tell.",
)
INGEST_DEAD_LETTERS: Final = Metric(
    "castledger_ingest_dead_letters",
    _COUNTER,
    "Hits that could not be judged or that the database refuses, by step and reason (a SQLSTATE or the name of an "
    "exception).",
    ("step", "reason"),
)
INGEST_LISTS_DAMAGED: Final = Metric(
    "castledger_ingest_lists_damaged",
    _GAUGE,
    "1 while lists or databases on the disk cannot be used and those before stay in force.",
)
INGEST_SHARED_ADDRESSES_DUE: Final = Metric(
    "castledger_ingest_shared_addresses_due",
    _GAUGE,
    "Entries of shared.txt whose last validation is 75 days old or older; from 90 days on they act no longer.",
)
INGEST_POLLS: Final = Metric(
    "castledger_ingest_polls", _COUNTER, "Feeds polled, by outcome: changed, unchanged, failed.", ("outcome",)
)
INGEST_JOB_RUNS: Final = Metric(
    "castledger_ingest_job_runs",
    _COUNTER,
    "Runs of jobs, by kind and outcome: done, failed, lost (it outlived its lease, and another has it).",
    ("kind", "outcome"),
)
INGEST_JOB_SECONDS: Final = Metric("castledger_ingest_job_seconds", _COUNTER, "Seconds spent in jobs.", ("kind",))
INGEST_JOBS_OVERDUE_SECONDS: Final = Metric(
    "castledger_ingest_jobs_overdue_seconds",
    _GAUGE,
    "How long the job has waited that is due longest; 0 when none is due.",
)
INGEST_FLIGHTS_AT_RISK: Final = Metric(
    "castledger_ingest_flights_at_risk",
    _GAUGE,
    "Flights that are behind and were not projected to make up for it when they were last looked at.",
)
INGEST_FLIGHTS_BEHIND: Final = Metric(
    "castledger_ingest_flights_behind",
    _GAUGE,
    "Flights that have begun, still count, and have delivered less than 0.9 of what was expected by now.",
)
INGEST_MAIL_WAITING: Final = Metric("castledger_ingest_mail_waiting", _GAUGE, "Mail that has not gone yet.")
INGEST_MAIL_OLDEST_SECONDS: Final = Metric(
    "castledger_ingest_mail_oldest_seconds",
    _GAUGE,
    "How long the mail has waited that waits longest; 0 when none waits.",
)
INGEST_MAIL_SENT: Final = Metric("castledger_ingest_mail_sent", _COUNTER, "Mail that a server took.")
INGEST_MAIL_RETRIED: Final = Metric(
    "castledger_ingest_mail_retried",
    _COUNTER,
    "Attempts that failed and are made again, by reason: unreachable, tls, sign_in, sender, later.",
    ("reason",),
)
INGEST_MAIL_FAILED: Final = Metric(
    "castledger_ingest_mail_failed",
    _COUNTER,
    "Mail that was given up, by reason: refused by the server for good, expired after two days.",
    ("reason",),
)

API_REQUESTS: Final = Metric(
    "castledger_api_requests",
    _COUNTER,
    "Requests answered, by route as it is written in the documentation, `none` where there is no such route.",
    ("method", "route", "status"),
)
API_REQUEST_SECONDS: Final = Metric(
    "castledger_api_request_seconds", _HISTOGRAM, "Time from a request to the end of its answer.", ("route",)
)
API_RATE_LIMITED: Final = Metric(
    "castledger_api_rate_limited",
    _COUNTER,
    "Requests refused because their `key` or `network` asks too often.",
    ("by",),
)
API_RATE_LIMITS_ALONE: Final = Metric(
    "castledger_api_rate_limits_alone",
    _COUNTER,
    "Requests whose rate a process judged by itself because Redis did not answer.",
)

COLLECTOR_REQUESTS: Final = Metric(
    "castledger_collector_requests",
    _COUNTER,
    "Requests answered, by route; `none` where there is no such route.",
    ("route", "status"),
)
COLLECTOR_REQUEST_SECONDS: Final = Metric(
    "castledger_collector_request_seconds",
    _HISTOGRAM,
    "From a request's head to its answer, its body included.",
    ("route",),
)
COLLECTOR_EVENTS: Final = Metric(
    "castledger_collector_events",
    _COUNTER,
    "Events recorded, by who sent them: server, browser or pixel.",
    ("source",),
)
COLLECTOR_REFUSED_EVENTS: Final = Metric(
    "castledger_collector_refused_events",
    _COUNTER,
    "Events refused one by one, by what was wrong first.",
    ("reason",),
)
COLLECTOR_UNRECORDED_PIXELS: Final = Metric(
    "castledger_collector_unrecorded_pixels",
    _COUNTER,
    "Pixels answered that left no event: privacy (Do Not Track or Global Privacy Control), prefetch, key, invalid, "
    "rate, spool.",
    ("reason",),
)
COLLECTOR_BATCHES: Final = Metric(
    "castledger_collector_batches",
    _COUNTER,
    "Batches, by the library that sent them: castledger-python, castledger-js or other.",
    ("library",),
)
COLLECTOR_IGNORED_FIELDS: Final = Metric(
    "castledger_collector_ignored_fields", _COUNTER, "Fields that are not known here: of newer libraries, or misspelt."
)
COLLECTOR_SENDER_LOST_EVENTS: Final = Metric(
    "castledger_collector_sender_lost_events",
    _COUNTER,
    "Events that senders say they lost before they could send them, by reason; `other` where it is none that we know.",
    ("reason",),
)
COLLECTOR_RATE_LIMITED: Final = Metric(
    "castledger_collector_rate_limited",
    _COUNTER,
    "Requests refused because their `key` or `network` sends too much.",
    ("by",),
)
COLLECTOR_AT_RISK_EVENTS: Final = Metric(
    "castledger_collector_at_risk_events", _COUNTER, "Events that a failed sync left unsure."
)
COLLECTOR_SPOOL_BYTES: Final = Metric("castledger_collector_spool_bytes", _COUNTER, "Bytes appended to the spool.")
COLLECTOR_SPOOL_FAILING: Final = Metric(
    "castledger_collector_spool_failing", _GAUGE, "1 while events are refused because they cannot be recorded."
)
COLLECTOR_REGISTRY_VERSION: Final = Metric(
    "castledger_collector_registry_version", _GAUGE, "Version of the snapshot in force."
)
COLLECTOR_REGISTRY_STALE: Final = Metric(
    "castledger_collector_registry_stale", _GAUGE, "1 when the snapshot cannot be read."
)

METRICS: Final[tuple[Metric, ...]] = (
    TRACKER_ANSWERS,
    TRACKER_ANSWER_SECONDS,
    TRACKER_REDIRECTED_HITS,
    TRACKER_RECORDED_HITS,
    TRACKER_HITS,
    TRACKER_LOST_HITS,
    TRACKER_AT_RISK_HITS,
    TRACKER_SPOOL_FAILING,
    TRACKER_SPOOL_BYTES,
    TRACKER_SYNC_SECONDS,
    TRACKER_OLDEST_HIT_SECONDS,
    TRACKER_DISK_FREE_BYTES,
    TRACKER_RESERVE_HELD,
    TRACKER_CONNECTIONS,
    TRACKER_ACCEPT_FAILURES,
    TRACKER_REGISTRY_VERSION,
    TRACKER_REGISTRY_STALE,
    INGEST_HITS,
    INGEST_BATCHES,
    INGEST_EVENTS,
    INGEST_EVENT_BATCHES,
    INGEST_MARKED_EVENTS,
    INGEST_EVENT_LAG_SECONDS,
    INGEST_EVENT_BACKLOG_BYTES,
    INGEST_STEP_SECONDS,
    INGEST_LAG_SECONDS,
    INGEST_BACKLOG_BYTES,
    INGEST_MARKS,
    INGEST_LEDGER_DIFFERENCE,
    INGEST_SILENT_TRACKER,
    INGEST_DAMAGED_SEGMENTS,
    INGEST_DAMAGED_BYTES,
    INGEST_DAMAGED_HITS,
    INGEST_DEAD_LETTERS,
    INGEST_LISTS_DAMAGED,
    INGEST_SHARED_ADDRESSES_DUE,
    INGEST_POLLS,
    INGEST_JOB_RUNS,
    INGEST_JOB_SECONDS,
    INGEST_JOBS_OVERDUE_SECONDS,
    INGEST_FLIGHTS_AT_RISK,
    INGEST_FLIGHTS_BEHIND,
    INGEST_MAIL_WAITING,
    INGEST_MAIL_OLDEST_SECONDS,
    INGEST_MAIL_SENT,
    INGEST_MAIL_RETRIED,
    INGEST_MAIL_FAILED,
    API_REQUESTS,
    API_REQUEST_SECONDS,
    API_RATE_LIMITED,
    API_RATE_LIMITS_ALONE,
    COLLECTOR_REQUESTS,
    COLLECTOR_REQUEST_SECONDS,
    COLLECTOR_EVENTS,
    COLLECTOR_REFUSED_EVENTS,
    COLLECTOR_UNRECORDED_PIXELS,
    COLLECTOR_BATCHES,
    COLLECTOR_IGNORED_FIELDS,
    COLLECTOR_SENDER_LOST_EVENTS,
    COLLECTOR_RATE_LIMITED,
    COLLECTOR_AT_RISK_EVENTS,
    COLLECTOR_SPOOL_BYTES,
    COLLECTOR_SPOOL_FAILING,
    COLLECTOR_REGISTRY_VERSION,
    COLLECTOR_REGISTRY_STALE,
)
"""All of them, by service, in the order in which they are read about."""
