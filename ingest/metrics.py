"""What ingest counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ("Metrics",)


class Metrics:
    """The counters and gauges of one ingest process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.landed = Counter(
            "castledger_ingest_hits", "Hits that landed, by verdict.", ("verdict",), registry=self.registry
        )
        self.batches = Counter(
            "castledger_ingest_batches",
            "Batches by what became of them: landed, fenced (another shipper had landed it), retried, failed, "
            "rejudged (a podcast had moved to another tenant), split (some of their hits were refused).",
            ("outcome",),
            registry=self.registry,
        )
        self.step_seconds = Counter(
            "castledger_ingest_step_seconds", "Seconds spent in each step.", ("step",), registry=self.registry
        )
        self.lag_seconds = Gauge(
            "castledger_ingest_lag_seconds", "Age of the instant before which all has landed.", registry=self.registry
        )
        self.backlog_bytes = Gauge(
            "castledger_ingest_backlog_bytes", "Bytes in the spool that have not landed.", registry=self.registry
        )
        self.marks = Gauge(
            "castledger_ingest_marks", "Days of episodes whose rollups wait to be recomputed.", registry=self.registry
        )
        self.damaged = Counter(
            "castledger_ingest_damaged_segments", "Segments that were set aside as damaged.", registry=self.registry
        )
        self.lists_damaged = Gauge(
            "castledger_ingest_lists_damaged",
            "1 while lists or databases on the disk cannot be used and those before stay in force.",
            registry=self.registry,
        )
        self.shared_due = Gauge(
            "castledger_ingest_shared_addresses_due",
            "Entries of shared.txt whose last validation is 75 days old or older; from 90 days on they act no longer.",
            registry=self.registry,
        )
        self.silent = Gauge(
            "castledger_ingest_silent_tracker",
            "1 for a tracker that has not been heard of for three minutes though it did not stop.",
            ("source",),
            registry=self.registry,
        )
        self.damaged_bytes = Counter(
            "castledger_ingest_damaged_bytes",
            "Bytes of the spool that could not be read, between what could.",
            registry=self.registry,
        )
        self.damaged_hits = Counter(
            "castledger_ingest_damaged_hits",
            "Hits that are missing where the spool was damaged, as far as running totals tell.",
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "castledger_ingest_dead_letters",
            "Hits that could not be judged or that the database refuses, by step and reason (a SQLSTATE or the name of "
            "an exception).",
            ("step", "reason"),
            registry=self.registry,
        )
        self.polls = Counter(
            "castledger_ingest_polls",
            "Feeds polled, by outcome: changed, unchanged, failed.",
            ("outcome",),
            registry=self.registry,
        )
        self.job_runs = Counter(
            "castledger_ingest_job_runs",
            "Runs of jobs, by kind and outcome: done, failed, lost (it outlived its lease, and another has it).",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self.job_seconds = Counter(
            "castledger_ingest_job_seconds", "Seconds spent in jobs.", ("kind",), registry=self.registry
        )
        self.jobs_overdue_seconds = Gauge(
            "castledger_ingest_jobs_overdue_seconds",
            "How long the job has waited that is due longest; 0 when none is due.",
            registry=self.registry,
        )
        self.mail_waiting = Gauge(
            "castledger_ingest_mail_waiting", "Mail that has not gone yet.", registry=self.registry
        )
        self.mail_oldest_seconds = Gauge(
            "castledger_ingest_mail_oldest_seconds",
            "How long the mail has waited that waits longest; 0 when none waits.",
            registry=self.registry,
        )
        self.mail_sent = Counter("castledger_ingest_mail_sent", "Mail that a server took.", registry=self.registry)
        self.mail_retried = Counter(
            "castledger_ingest_mail_retried",
            "Attempts that failed and are made again, by reason: unreachable, tls, sign_in, sender, later.",
            ("reason",),
            registry=self.registry,
        )
        self.mail_failed = Counter(
            "castledger_ingest_mail_failed",
            "Mail that was given up, by reason: refused by the server for good, expired after two days.",
            ("reason",),
            registry=self.registry,
        )
