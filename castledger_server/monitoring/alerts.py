"""Alerts worth being woken by, and those that can wait for the morning; docs/operations.md tells what to do."""

from __future__ import annotations

import textwrap
from typing import Final, Literal, NamedTuple

from analytics_core import metric_names as names
from analytics_core.metric_names import Metric

__all__ = ("ALERTS", "Alert", "write_rules")

_RUNBOOK: Final = "docs/operations.md"


class Alert(NamedTuple):
    """One rule.

    Attributes:
        expression: In PromQL; true for as long as something is wrong.
        minutes: How long it has to be so.
        severity: ``page`` wakes somebody, ``ticket`` waits for the morning.
        summary: What is wrong, in a sentence.
        meaning: What follows from it.
        action: What to do.
    """

    name: str
    expression: str
    minutes: int
    severity: Literal["page", "ticket"]
    summary: str
    meaning: str
    action: str


def _grew(metric: Metric, window: str, *, by: tuple[str, ...] = ()) -> str:
    """Say that a counter has grown, be it from nothing: a series that has just begun has no growth for Prometheus."""
    added = f"sum by ({', '.join(by)})" if by else "sum"
    grown = f"{added} (increase({metric.series}[{window}])) > 0"
    return f"{grown} or {added} ({metric.series} unless {metric.series} offset {window}) > 0" if by else grown


_REQUESTS: Final = names.API_REQUESTS.series
_ERRORS: Final = f'sum(rate({_REQUESTS}{{status=~"5.."}}[5m]))'
_LOST: Final = names.TRACKER_LOST_HITS.series
_FREE: Final = names.TRACKER_DISK_FREE_BYTES.series
_ANSWERING: Final = f"sum by (le) (rate({names.TRACKER_ANSWER_SECONDS.buckets}[10m]))"
_SERVING: Final = f'sum by (le) (rate({names.API_REQUEST_SECONDS.buckets}{{route=~"/api/.*"}}[10m]))'
_FAILED: Final = f'increase({names.INGEST_JOB_RUNS.series}{{outcome="failed"}}[1h])'

ALERTS: Final = (
    Alert(
        "CastledgerServiceDown",
        'up{job=~"castledger-.*"} == 0',
        2,
        "page",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer.",
        "The process is gone or hangs. Without a tracker players get no episode; without a collector senders keep "
        "their events; without ingest hits wait in the spool; without the API nobody reads figures.",
        "Look at its log and at `castledger doctor`. `up`, systemd and compose start it again by themselves, so find "
        "out why that does not help: a port that is taken, a full disk, a setting that is refused.",
    ),
    Alert(
        "CastledgerTrackerSilent",
        f"max by (source) ({names.INGEST_SILENT_TRACKER.series}) == 1",
        1,
        "page",
        "Nothing is heard of {{ $labels.source }}, though it did not stop.",
        "A tracker writes to its spool once a minute, hits or not. This one hangs, died, or its folder is not reached.",
        "See whether it runs and what `/health/ready` on port 8081 says; restart it. When it was taken away for good, "
        "it is given up after a week.",
    ),
    Alert(
        "CastledgerLedgerOffBalance",
        f"max(abs({names.INGEST_LEDGER_DIFFERENCE.series})) > 0",
        5,
        "page",
        "{{ $value }} answers of yesterday and today are unaccounted for.",
        "What trackers answered and what became of it is counted twice and has to be equal. It is a fault of ours, or "
        "somebody changed rows by hand.",
        "`GET /api/v1/ledger?interval=minute` names the minutes. Keep the spool and the log of ingest, and report it.",
    ),
    Alert(
        "CastledgerHitsLost",
        f'sum by (reason) (increase({_LOST}{{reason!="flood"}}[10m])) > 0',
        0,
        "page",
        "Hits are redirected and not recorded: {{ $labels.reason }}.",
        "Listeners notice nothing; these downloads are counted nowhere, and the ledger says so.",
        "`disk_full`: make room on the disk of the spool, at once. `write_error`: see what the tracker's log says of "
        "its folder: rights, a disk that is gone, one that was mounted read-only.",
    ),
    Alert(
        "CastledgerEventsRefused",
        f"max({names.COLLECTOR_SPOOL_FAILING.series}) == 1",
        1,
        "page",
        "Events cannot be recorded, and are refused.",
        "Senders keep them and try again, for as long as their queues have room; a page that is closed has sent its "
        "last.",
        "Make room on the disk of `COLLECTOR_SPOOL_DIR`, or see what the collector's log says of that folder: rights, "
        "a disk that is gone, one that was mounted read-only.",
    ),
    Alert(
        "CastledgerFlood",
        f'sum(rate({_LOST}{{reason="flood"}}[15m])) > 0.1 * sum(rate({names.TRACKER_REDIRECTED_HITS.series}[15m]))',
        30,
        "ticket",
        "More than a tenth of all requests is left out as a flood.",
        "One network asks more often than `TRACKER_FLOOD_RATE` allows; its requests are redirected and only counted.",
        "When it is a proxy of many listeners, raise `TRACKER_FLOOD_RATE` or set `TRACKER_TRUSTED_PROXIES`, so that "
        "the listeners' own addresses are seen.",
    ),
    Alert(
        "CastledgerHitsAtRisk",
        _grew(names.TRACKER_AT_RISK_HITS, "15m"),
        0,
        "page",
        "The disk of the spool refused to keep what it was given.",
        "A sync failed: should the machine lose power now, the hits since the last one are gone.",
        "Look at the kernel's log for faults of the disk, and move the spool to another one.",
    ),
    Alert(
        "CastledgerSpoolReserveGone",
        f"min({names.TRACKER_RESERVE_HELD.series}) == 0",
        5,
        "page",
        "The disk of the spool is full up to its reserve.",
        "The room of `SPOOL_RESERVE_MB` is used up or could not be taken. When it is used up, hits are lost.",
        "Make room. When ingest lags as well, mend that first: what has landed leaves the spool by itself.",
    ),
    Alert(
        "CastledgerDiskFilling",
        f"min({_FREE}) < 1e9 or min(predict_linear({_FREE}[6h], 86400)) < 0",
        30,
        "ticket",
        "The disk of the spool will be full within a day.",
        "Less than 1 GB is left, or there will be none by tomorrow if it goes on as in the last six hours.",
        "See what grows: the spool (then ingest lags), the database (`CASTLEDGER_HITS_MONTHS`), backups, logs.",
    ),
    Alert(
        "CastledgerIngestLag",
        f"max({names.INGEST_LAG_SECONDS.series}) > 300 or max({names.TRACKER_OLDEST_HIT_SECONDS.series}) > 300",
        5,
        "page",
        "Hits wait for {{ $value | humanizeDuration }} before they land.",
        "Figures stand still. Nothing is lost while the spool has room.",
        "See `/health/ready` of ingest (port 8083) and its log: the database is down, refuses something, or is too "
        "slow.",
    ),
    Alert(
        "CastledgerHitsDamaged",
        _grew(names.INGEST_DAMAGED_BYTES, "15m") + " or " + _grew(names.INGEST_DAMAGED_HITS, "15m"),
        0,
        "ticket",
        "Parts of the spool cannot be read.",
        "What is damaged is set aside, the rest lands, and what is missing stands in the ledger as `lost:damaged`.",
        "`castledger doctor` names the files (docs/spool.md, Damage). Look at the disk.",
    ),
    Alert(
        "CastledgerDeadLetters",
        _grew(names.INGEST_DEAD_LETTERS, "15m", by=("step", "reason")),
        0,
        "ticket",
        "Hits could not land: {{ $labels.step }}, {{ $labels.reason }}.",
        "Each is kept in `ops.dead_letters` for 30 days, with the reason; all others landed.",
        "Read them (docs/running.md, Dead letters) and report them: a hit that cannot land is a fault of ours.",
    ),
    Alert(
        "CastledgerJobsOverdue",
        f"max({names.INGEST_JOBS_OVERDUE_SECONDS.series}) > 600",
        10,
        "page",
        "No ingest comes to its jobs.",
        "Partitions of coming days, finality, retention, erasures and restatements wait.",
        "`castledger jobs ls` says which job waits or runs for long; see the log of ingest.",
    ),
    Alert(
        "CastledgerJobFailing",
        f"sum by (kind) ({_FAILED}) > 3",
        0,
        "ticket",
        "The job {{ $labels.kind }} fails again and again.",
        "It is tried again after longer and longer pauses; what it does is not done.",
        "`castledger jobs ls` shows why its last runs failed; `castledger jobs run KIND` has it tried at once.",
    ),
    Alert(
        "CastledgerMailWaiting",
        f"max({names.INGEST_MAIL_OLDEST_SECONDS.series}) > 3600",
        5,
        "ticket",
        "Mail has waited for {{ $value | humanizeDuration }}.",
        "Invitations, confirmations of addresses, links to set a password anew and word of flights that are behind do "
        "not go out; after two days they are given up.",
        "`castledger_ingest_mail_retried_total` by `reason` says why; docs/mail.md tells how the mail server is tried.",
    ),
    Alert(
        "CastledgerRegistryStale",
        f"max({names.TRACKER_REGISTRY_STALE.series}) == 1",
        5,
        "ticket",
        "A tracker cannot read the registry.",
        "The last good one stays in force: new links, hosts and domains are not known there.",
        "See whether ingest runs and writes it, and whether the tracker may read its folder.",
    ),
    Alert(
        "CastledgerTrackerSlow",
        f"histogram_quantile(0.99, {_ANSWERING}) > 0.05",
        10,
        "ticket",
        "One of a hundred redirects takes longer than 50 ms.",
        "The machine is short of processor time, or its disk takes long to write.",
        "Look at `castledger_tracker_sync_seconds` and at what else runs there; give the tracker more workers.",
    ),
    Alert(
        "CastledgerClientsTurnedAway",
        _grew(names.TRACKER_ACCEPT_FAILURES, "5m"),
        0,
        "page",
        "A tracker has no descriptor left for new clients.",
        "They wait, and idle ones are let go.",
        "Raise the limit of open files (`ulimit -n`, `LimitNOFILE=`) or lower `TRACKER_MAX_CONNECTIONS`.",
    ),
    Alert(
        "CastledgerApiErrors",
        f"{_ERRORS} / sum(rate({_REQUESTS}[5m])) > 0.02 and {_ERRORS} > 0.05",
        5,
        "page",
        "{{ $value | humanizePercentage }} of the API's answers are errors of ours.",
        "503 is a database that does not answer, 500 something that nobody foresaw.",
        'The log has a line with `"event": "error"` for each, with the request\'s id that the client was told.',
    ),
    Alert(
        "CastledgerRatesJudgedAlone",
        _grew(names.API_RATE_LIMITS_ALONE, "15m"),
        5,
        "ticket",
        "Redis does not answer the API.",
        "Each process judges by itself how often clients may ask, and lets half as much pass. No request fails for it.",
        "See what `castledger doctor` says of Redis: start it, or mend `REDIS_URL`.",
    ),
    Alert(
        "CastledgerApiSlow",
        f"histogram_quantile(0.95, {_SERVING}) > 2",
        15,
        "ticket",
        "One of twenty answers of the API takes longer than 2 seconds.",
        "The database is busy, or somebody compares or explains very long ranges.",
        "The dashboard shows which route it is; look there for what the database does (`pg_stat_activity`).",
    ),
)
"""All rules, trackers first."""


def _quote(text: str) -> str:
    """Write a text as YAML's single-quoted scalar."""
    return "'" + text.replace("'", "''") + "'"


def write_rules() -> str:
    """Write the rules as Prometheus reads them."""
    lines = [
        "# Alert rules for Prometheus, generated by `python -m tests.docs.generate --write` from",
        "# castledger_server/monitoring/alerts.py; docs/operations.md tells what to do about each.",
        "groups:",
        "  - name: castledger",
        "    rules:",
    ]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            "        expr: >-",
            *textwrap.wrap(
                alert.expression,
                108,
                initial_indent=" " * 10,
                subsequent_indent=" " * 10,
                break_long_words=False,
                break_on_hyphens=False,
            ),
            f"        for: {alert.minutes}m",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {_quote(alert.summary)}",
            f"          description: {_quote(f'{alert.meaning} {alert.action}')}",
            f"          runbook: {_RUNBOOK}#{alert.name.lower()}",
        ]
    return "\n".join([*lines, ""])
